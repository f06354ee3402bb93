"""What stands where in exported files, and what an export does to the folder it writes into."""

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from fingerprints.measure import glb_tree
from photoscene.export.formats import EXPORTERS
from photoscene.runs.transaction import locked
from scene.store import Store
from support.placed_runs import letters, write_placed_run
from support.run_folders import contents
from support.small_photo import call

# The letter F reaches from -0.3 to 0.35, -0.45 to 0.45, -0.25 to 0.1; twice that at (0, 0.5, 3).
WIDTH, HEIGHT, DEPTH = 1.3, 1.8, 0.7
LEFT, BELOW_CAMERA, NEAR = -0.6, 1.4, 2.5  # 1.5 - 1.4 above the floor


@pytest.fixture
def run(tmp_path: Path) -> Path:
    names = letters("cup", "red mug", "red/mug", "杯子")
    return write_placed_run(tmp_path / "my run", Store(tmp_path / "store"), names)


def exported(run: Path, *options: object) -> tuple[Path, list[str]]:
    done = call("export", run, "--json", *options)
    assert done.exit_code == 0, done.stderr
    made = json.loads(done.stdout)
    return Path(made["folder"]), made["files"]


def loaded(path: Path) -> trimesh.Scene:
    return trimesh.load_scene(path, process=False)


def corners(path: Path, name: str) -> np.ndarray:
    """The box of a file's object: (2, 3)."""
    scene = loaded(path)
    matrix, geometry = scene.graph[name]
    vertices = scene.geometry[geometry].vertices @ matrix[:3, :3].T + matrix[:3, 3]
    return np.array([vertices.min(0), vertices.max(0)])


def test_the_help_names_every_format() -> None:
    assert ",".join(EXPORTERS) in "".join(call("export", "--help").stdout.split())


def test_formats_that_leave_no_choice_are_named(run: Path) -> None:
    done = call("export", run, "--format", "glb,ply,stl", "--up", "z", "--unit", "mm")
    (note,) = done.stderr.splitlines()
    assert note == "photoscene: glb is in m with y up, whatever is asked for"


def test_formats_without_bodies_are_named_where_bodies_are_asked_for(run: Path) -> None:
    done = call("export", run, "--format", "glb,mjcf", "--density", "500")
    (note,) = done.stderr.splitlines()
    said = "glb: no place for bodies, so --density changes nothing there"
    assert note == f"photoscene: {said}"


def test_a_record_says_which_files_it_describes(run: Path, tmp_path: Path) -> None:
    exported(run, "-o", tmp_path, "--format", "obj")
    exported(run, "-o", tmp_path, "--size", "1=18in")
    record = json.loads((tmp_path / "my_run.export.json").read_bytes())
    assert record["describes"] == ["my_run.glb"]
    assert {"my_run.glb", "my_run.obj"} < {*record["files"]}


def test_a_scene_stands_upright_on_the_floor_below_the_camera(run: Path) -> None:
    folder, files = exported(run)
    assert folder == run / "export" and files == ["my_run.glb", "my_run.export.json"]
    low, high = corners(folder / "my_run.glb", "cup")
    np.testing.assert_allclose(low, [LEFT, 1.5 - BELOW_CAMERA, -NEAR - DEPTH], atol=1e-5)
    np.testing.assert_allclose(high - low, [WIDTH, HEIGHT, DEPTH], atol=1e-5)
    camera, _ = loaded(folder / "my_run.glb").graph["photo_camera"]
    np.testing.assert_allclose(camera[:3, 3], [0, 1.5, 0], atol=1e-6)
    assert loaded(folder / "my_run.glb").graph.nodes >= {"cup", "red mug", "杯子"}


@pytest.mark.parametrize(
    ("options", "low"),
    [
        (("--frame", "camera"), [LEFT, -BELOW_CAMERA, -NEAR - DEPTH]),
        (("--frame", "camera", "--up", "z"), [LEFT, NEAR, -BELOW_CAMERA]),
        (("--up", "z"), [LEFT, NEAR, 1.5 - BELOW_CAMERA]),
        (("--up", "z", "--unit", "cm"), [100 * LEFT, 100 * NEAR, 10]),
        (("--origin", "camera"), [LEFT, -BELOW_CAMERA, -NEAR - DEPTH]),
        (("--origin", "object"), [-(3 * 3 + WIDTH) / 2, 0, -DEPTH / 2]),
        (("--size", "red mug=36cm"), [LEFT / 5, 0.1 / 5, (-NEAR - DEPTH) / 5]),
        (("--size", "1=18in"), [LEFT * 0.254, 0.0254, (-NEAR - DEPTH) * 0.254]),
    ],
)
def test_frame_axes_unit_origin_and_size(run: Path, options: tuple[str], low: list[float]) -> None:
    folder, _ = exported(run, "--format", "obj", *options)
    found = corners(folder / "my_run.obj", "cup")
    np.testing.assert_allclose(found[0], low, atol=2e-5 * np.abs(low).max())


def test_every_object_has_a_file_with_its_base_at_the_origin(run: Path) -> None:
    folder, files = exported(run, "--format", "glb", "--per-object")
    names = ["my_run_cup", "my_run_red_mug", "my_run_red_mug_2", "my_run_object"]
    assert sorted(files) == sorted([*(f"{n}.glb" for n in names), "my_run.export.json"])
    half = [WIDTH / 2, HEIGHT, DEPTH / 2]
    for name in ("cup", "red mug"):
        file = folder / f"my_run_{name.replace(' ', '_')}.glb"
        np.testing.assert_allclose(corners(file, name), [[-half[0], 0, -half[2]], half], atol=1e-5)


def test_the_camera_still_sees_the_pixels_that_it_saw(run: Path) -> None:
    """A vertex in the exported camera's own frame is where it was in the photo's."""
    folder, _ = exported(run)
    scene = loaded(folder / "my_run.glb")
    pose, _ = scene.graph["photo_camera"]
    found = corners(folder / "my_run.glb", "cup")
    seen = (found - pose[:3, 3]) @ pose[:3, :3]
    assert sorted(-seen[:, 2]) == pytest.approx([NEAR, NEAR + DEPTH], abs=1e-5)


def test_textures_and_metadata_come_along(run: Path) -> None:
    folder, files = exported(run, "--format", "obj,glb", "--per-object")
    assert "my_run_cup_textures/cup_base_colour.png" in files
    for suffix in ("obj", "glb"):
        (mesh,) = loaded(folder / f"my_run_cup.{suffix}").geometry.values()
        material = mesh.visual.material
        image = getattr(material, "baseColorTexture", None) or material.image
        colours = {tuple(c) for c in np.asarray(image.convert("RGB")).reshape(-1, 3)}
        assert colours == {(255, 0, 0), (0, 0, 255)}
    tree = glb_tree((folder / "my_run_cup.glb").read_bytes())
    (extras,) = (node["extras"] for node in tree["nodes"] if node.get("name") == "cup")
    assert (extras["label"], extras["grade"]) == ("cup", "good")


def test_an_export_again_replaces_its_own_files_alone(run: Path, tmp_path: Path) -> None:
    folder, files = exported(run, "-o", tmp_path / "out", "--format", "obj")
    (folder / "notes.txt").write_text("mine")
    before = contents(folder)
    exported(run, "-o", folder, "--format", "obj")
    assert contents(folder) == before
    exported(run, "-o", folder, "--format", "obj", "--unit", "cm")
    after = contents(folder)
    assert {n for n in before if before[n] != after[n]} == {"my_run.obj", "my_run.export.json"}
    (folder / "my_run.mtl").write_text("my own")
    before = contents(folder)
    refused = call("export", run, "-o", folder, "--format", "obj,glb")
    assert refused.exit_code == 2 and "my_run.mtl" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert contents(folder) == before


def test_what_a_killed_export_left_is_removed_and_nothing_else(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    left, used = out / f".exporting-{'0' * 32}", out / f".exporting-{'1' * 32}"
    mine = out / ".exporting-mine"
    for folder in (left, used, mine):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    with locked(used):
        exported(run, "-o", out)
    assert not left.exists() and (used / "file").exists() and (mine / "file").exists()


def test_files_of_a_killed_move_are_replaced(run: Path, tmp_path: Path) -> None:
    """Its record lists what it was about to write, beside what was there before."""
    folder, files = exported(run, "-o", tmp_path / "out")
    record = folder / "my_run.export.json"
    new = (folder / "my_run.glb").read_bytes()
    lists = json.loads(record.read_bytes())
    lists |= {"writing": lists["files"], "files": {"my_run.glb": "0" * 64}}
    record.write_text(json.dumps(lists))
    exported(run, "-o", folder)
    assert (folder / "my_run.glb").read_bytes() == new
    assert "writing" not in json.loads(record.read_bytes())


def test_a_run_folder_without_its_store_exports_the_same(run: Path, tmp_path: Path) -> None:
    exported(run, "-o", tmp_path / "one")
    exported(run, "-o", tmp_path / "two", "--store", tmp_path / "no store")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    (run / "objects" / "01_cup" / "mesh.glb").write_bytes(b"edited")
    refused = call("export", run, "-o", tmp_path / "three", "--store", tmp_path / "no store")
    assert refused.exit_code == 3 and len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "three").exists()


def test_lost_objects_and_relative_sizes_are_reported(tmp_path: Path) -> None:
    meshes = {**letters("cup"), "plate": None}
    store = Store(tmp_path / "store")
    run = write_placed_run(tmp_path / "run", store, meshes, metric=False, world=None)
    done = call("export", run)
    assert done.exit_code == 1
    assert "plate is not exported, it was lost: nothing is left" in done.stderr
    assert "not metric: --size OBJECT=0.12m" in done.stderr
    assert "no support plane: exported in the photo camera's frame" in done.stderr
    low, _ = corners(run / "export" / "run.glb", "cup")
    np.testing.assert_allclose(low, [LEFT, -BELOW_CAMERA, -NEAR - DEPTH], atol=1e-5)
