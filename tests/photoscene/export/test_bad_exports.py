"""Each bad export is one line that says what to do, and changes nothing."""

import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from photoscene.runs import folder as run_folder
from scene.scene_json import scene_to_json
from scene.store import Store
from scene.types import ObjectMesh
from support.placed_runs import letters, write_placed_run
from support.run_folders import contents
from support.shapes import box_mesh
from support.small_photo import call

BAD_INPUT, ENVIRONMENT = 2, 3


def open_box() -> ObjectMesh:
    """A box without its lid."""
    whole = box_mesh((-0.4, -0.4, -0.4), (0.4, 0.4, 0.4))
    return replace(whole, faces=whole.faces[2:])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def run(tmp_path: Path, store: Store) -> Path:
    return write_placed_run(tmp_path / "run", store, {**letters("cup"), "spoon": None})


def refused(run: Path, out: Path, status: int, *options: object) -> str:
    """The one line with which an export is refused; nothing was written or removed."""
    before = contents(out.parent)
    done = call("export", run, "-o", out, *options)
    (line,) = done.stderr.splitlines()
    assert (done.exit_code, done.stdout) == (status, ""), line
    assert contents(out.parent) == before
    return line


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ("--format", "gltf"),
            "expected some of glb, obj, ply, usd, usdz, stl, 3mf, fbx, mjcf, urdf",
        ),
        (("--format", "glb,skp"), "--format glb,skp: expected some of"),
        (("--format", ""), "expected some of"),
        (("--frame", "sideways"), "--frame sideways: expected camera or world"),
        (("--unit", "inch"), "--unit inch: expected m or cm or mm"),
        (("--up", "x"), "--up x: expected y or z"),
        (("--origin", "sun"), "--origin sun: expected camera or floor or object"),
        (("--faces", 0), "--faces 0: expected 100 to 2000000"),
        (("--faces", 10**9), "--faces 1000000000: expected 100 to"),
        (("--faces", "many"), "should be a valid integer"),
        (("--textures", 1), "--textures 1: expected 16 to 8192"),
        (("--textures", 10**6), "--textures 1000000: expected 16 to 8192"),
        (("--size", "cup"), "--size cup: expected OBJECT=LENGTH"),
        (("--size", "cup=12"), "in m, cm, mm, in or ft: cup=0.12m"),
        (("--size", "cup=12parsec"), "in m, cm, mm, in or ft: cup=0.12m"),
        (("--size", "cup=0m"), "expected a length from 0.1 mm"),
        (("--size", "cup=1e9m"), "to 1e+06 m"),
        (("--size", "fork=1m"), "--size fork: the run has 1 (cup), 2 (spoon)"),
        (("--size", "spoon=1m"), "this object was lost, so it has no size"),
        (("--size", "cup=1m", "--size", "cup=2m"), "one length sets the scale of the whole scene"),
        (("--format", "fbx", "--blender", "no/such/blender"), "no such program: install Blender"),
        (("--format", "fbx", "--blender", sys.executable), "this Python has no bpy"),
    ],
)
def test_bad_options(run: Path, tmp_path: Path, options: tuple[str], line: str) -> None:
    assert line in refused(run, tmp_path / "out", BAD_INPUT, *options)


@pytest.mark.parametrize("options", [("--frame", "world"), ("--origin", "floor")])
def test_what_is_upright_is_not_known(tmp_path: Path, store: Store, options: tuple[str]) -> None:
    run = write_placed_run(tmp_path / "run", store, letters("cup"), world=None)
    assert "use --" in refused(run, tmp_path / "out", BAD_INPUT, *options)


@pytest.mark.parametrize("meshes", [{}, {"cup": None}])
def test_runs_without_a_placed_object(
    tmp_path: Path, store: Store, meshes: dict[str, None]
) -> None:
    run = write_placed_run(tmp_path / "run", store, {**meshes})
    assert "has no placed object" in refused(run, tmp_path / "out", BAD_INPUT)


def test_folders_that_are_no_runs(run: Path, tmp_path: Path) -> None:
    assert "not a run folder" in refused(tmp_path, tmp_path / "out", BAD_INPUT)
    assert "not a run folder" in refused(tmp_path / "nowhere", tmp_path / "out", BAD_INPUT)
    (run / "scene.json").write_text("{}")
    assert f"{run}: scene.json has format None" in refused(run, tmp_path / "out", BAD_INPUT)
    (run / "scene.json").write_text("{")
    assert "missing or damaged" in refused(run, tmp_path / "out", BAD_INPUT)


def test_a_run_that_stopped_before_meshes(run: Path, tmp_path: Path) -> None:
    scene = run_folder.read_scene(run)
    (run / "scene.json").write_text(json.dumps(scene_to_json(replace(scene, camera=None))))
    assert "no placed object" in refused(run, tmp_path / "out", BAD_INPUT)


def test_a_mesh_that_is_nowhere(run: Path, tmp_path: Path, store: Store) -> None:
    mesh = run_folder.read_scene(run).objects[0].mesh
    assert mesh is not None
    store.path(mesh).unlink()
    (run / "objects" / "01_cup" / "mesh.glb").unlink()
    assert "run again to remake it" in refused(run, tmp_path / "out", ENVIRONMENT)


def test_a_changed_or_deleted_copy_of_a_mesh_is_said_and_does_not_count(
    run: Path, tmp_path: Path
) -> None:
    copy, outs = run / "objects" / "01_cup" / "mesh.glb", [tmp_path / n for n in "abc"]
    said = ["", "was changed: the mesh that the run made", "is gone: the mesh that the run made"]
    for out, words in zip(outs, said, strict=True):
        done = call("export", run, "-o", out)
        assert words in done.stderr and (str(copy) in done.stderr) == bool(words)
        copy.write_bytes(b"mine") if not words else copy.unlink(missing_ok=True)
    first, *others = [(out / "run.glb").read_bytes() for out in outs]
    assert others == [first, first]


def put_file(out: Path) -> None:
    out.mkdir()
    (out / "run.glb").write_bytes(b"mine")


def put_link(out: Path) -> None:
    out.mkdir()
    (out / "run.glb").symlink_to("nowhere")


def put_folder(out: Path) -> None:
    (out / "run.glb").mkdir(parents=True)


def put_link_for_textures(out: Path) -> None:
    (out / "elsewhere").mkdir(parents=True)
    (out / "run_textures").symlink_to("elsewhere")


def put_record(out: Path) -> None:
    out.mkdir()
    (out / "run.export.json").write_text("{}")


@pytest.mark.parametrize("put", [put_file, put_link, put_folder, put_link_for_textures, put_record])
def test_what_is_in_the_way_stays(run: Path, tmp_path: Path, put: Callable[[Path], None]) -> None:
    put(tmp_path / "out")
    line = refused(run, tmp_path / "out", BAD_INPUT, "--format", "obj,glb")
    assert "or give another -o" in line


def test_places_where_nothing_can_be_written(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    assert "notes.txt is no folder" in refused(run, file, BAD_INPUT)
    assert "notes.txt is no folder" in refused(run, file / "below", BAD_INPUT)
    for inside in (run, run / "objects" / "out"):
        assert "inside the run's own folder" in refused(run, inside, BAD_INPUT)
    assert call("export", run, "-o", "/proc/exported").exit_code == ENVIRONMENT


@pytest.mark.parametrize(
    ("name", "library", "brings"),
    [("usdz", "pxr", "[export]"), ("3mf", "lib3mf", "[export]"), ("stl", "numba", "[finish]")],
)
def test_missing_libraries(
    tmp_path: Path,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    library: str,
    brings: str,
) -> None:
    run = write_placed_run(tmp_path / "run", store, {"crate": open_box()})
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == library else found(n))
    line = refused(run, tmp_path / "out", ENVIRONMENT, "--format", name)
    assert f"needs {library}: pip install -e '.{brings}'" in line


def test_no_blender_on_the_search_path(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    line = refused(run, tmp_path / "out", ENVIRONMENT, "--format", "glb,fbx")
    assert "format fbx needs Blender: install Blender, or its library by" in line


def test_a_blender_that_fails(run: Path, tmp_path: Path) -> None:
    program = tmp_path / "blender"
    program.write_text("#!/bin/sh\necho no display >&2\nexit 1\n")
    program.chmod(0o755)
    line = refused(run, tmp_path / "out", ENVIRONMENT, "--format", "glb,fbx", "--blender", program)
    assert line.endswith("blender failed and reported: no display")


def test_a_solid_too_far_away_for_the_numbers_of_stl(tmp_path: Path, store: Store) -> None:
    run = write_placed_run(tmp_path / "run", store, letters("cup"))
    scene = run_folder.read_scene(run)
    (cup,) = scene.objects
    assert cup.camera_from_object is not None
    far = replace(cup.camera_from_object, translation=np.array([0, 0, 1e7]))
    moved = replace(scene, objects=(replace(cup, camera_from_object=far),))
    (run / "scene.json").write_text(json.dumps(scene_to_json(moved)))
    line = refused(run, tmp_path / "out", BAD_INPUT, "--format", "stl")
    assert "cup is not closed in single precision" in line
