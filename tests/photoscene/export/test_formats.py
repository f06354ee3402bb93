"""What every format says of the same scene, by a reader that is not its writer."""

import importlib
import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import trimesh

from scene.seams import is_closed
from scene.store import Store
from scene.types import Material, ObjectMesh
from support.extras import VALIDATOR
from support.placed_runs import letters, write_placed_run
from support.shapes import box_mesh, letter_f
from support.small_photo import call

SIZE_MM = np.array([1300.0, 700, 1800])  # of the letter F with z up
ASSET = {
    "photo": {"licence": "CC0 -- mine"},
    "given": {"camera": None},
    "steps": [{"stage": "photo", "seeds": [1, 2]}],
}
CORE = "{http://schemas.microsoft.com/3dmanufacturing/core/2015/02}"


def exported(tmp_path: Path, meshes: dict[str, ObjectMesh | None], *options: object) -> Path:
    run = write_placed_run(tmp_path / "run", Store(tmp_path / "store"), meshes)
    scene = json.loads((run / "scene.json").read_bytes())
    scene["asset"] = ASSET  # as the runs of photos have it
    (run / "scene.json").write_text(json.dumps(scene))
    done = call("export", run, *options, "--json")
    assert done.exit_code == 0, done.stderr
    return Path(json.loads(done.stdout)["folder"])


def shiny() -> ObjectMesh:
    """The letter F with all maps there are."""
    ramp = np.tile(np.arange(8, dtype=np.uint8) * 30, (8, 1))
    flat = np.full((8, 8, 3), (128, 128, 255), np.uint8)
    material = Material(ramp, np.dstack([ramp, 255 - ramp]), flat, double_sided=True)
    return replace(letter_f(), material=material)


def test_stl_has_closed_solids_in_millimetres_with_z_up(tmp_path: Path) -> None:
    folder = exported(tmp_path, letters("cup", "mug"), "--format", "stl")
    read = trimesh.load_mesh(folder / "run.stl")
    assert read.is_watertight and read.volume > 0 and len(read.split()) == 6
    np.testing.assert_allclose(read.extents, SIZE_MM + [3000, 0, 0], rtol=1e-6)


def test_ply_has_a_colour_at_every_vertex(tmp_path: Path) -> None:
    folder = exported(tmp_path, {"cup": shiny(), "mug": shiny()}, "--format", "ply", "--up", "z")
    read = trimesh.load_mesh(folder / "run.ply", process=False)
    np.testing.assert_allclose(read.extents * 1000, SIZE_MM + [3000, 0, 0], rtol=1e-6)
    assert {tuple(c) for c in read.visual.vertex_colors[:, :3]} == {(255, 0, 0), (0, 0, 255)}
    text = (folder / "run.ply").read_bytes().partition(b"end_header")[0].decode()
    assert "comment photoscene: z up, unit m, scale metric" in text
    assert "comment object mug, grade good: faces 36 to 71" in text


def test_obj_has_all_maps_of_a_material(tmp_path: Path) -> None:
    folder = exported(tmp_path, {"cup": shiny()}, "--format", "obj", "--textures", 16)
    words = [line.split() for line in (folder / "run.mtl").read_text().splitlines()]
    maps = {w[0]: w[1] for w in words if len(w) > 1 and w[1].endswith(".png")}
    assert maps.keys() == {"map_Kd", "map_d", "map_Pr", "map_Pm", "norm"}
    assert all((folder / file).is_file() for file in maps.values())


def test_the_asset_record_is_in_every_format_with_a_place_for_it(tmp_path: Path) -> None:
    folder = exported(tmp_path, letters("cup"), "--format", "glb,obj,ply,mjcf,urdf")
    data = (folder / "run.glb").read_bytes()
    tree = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    assert tree["scenes"][0]["extras"]["asset"] == ASSET
    assert tree["asset"]["copyright"] == "CC0 -- mine"
    for name, words in (("obj", b"# asset "), ("ply", b"comment asset "), ("urdf", b"<!-- asset ")):
        line = (folder / f"run.{name}").read_bytes().split(words)[1].split(b"\n")[0]
        assert json.loads(line.removesuffix(b" -->")) == ASSET
    assert ElementTree.parse(folder / "run.urdf").getroot().get("name") == "run"
    text = ElementTree.parse(folder / "run.xml").find("custom/text[@name='asset']")
    assert text is not None and json.loads(text.get("data", "")) == ASSET


@pytest.mark.extra("validator")
def test_glb_is_valid(tmp_path: Path) -> None:
    meshes = {"red mug": shiny(), **letters("photo camera")}
    folder = exported(tmp_path, meshes, "--format", "glb")
    report = json.loads(
        subprocess.run(
            ["node", VALIDATOR / "validate.js", folder / "run.glb"],
            capture_output=True, text=True, check=True,
        ).stdout
    )  # fmt: skip
    assert (report["issues"]["numErrors"], report["issues"]["numWarnings"]) == (0, 0)


@pytest.mark.extra("usd")
@pytest.mark.parametrize(("name", "unit"), [("usd", "cm"), ("usdz", "cm")])
def test_usd_is_valid_and_stands_where_it_says(tmp_path: Path, name: str, unit: str) -> None:
    Usd, UsdGeom, UsdValidation = (
        importlib.import_module(f"pxr.{m}") for m in ("Usd", "UsdGeom", "UsdValidation")
    )
    meshes = {"red mug": shiny(), **letters("杯子", "photo camera")}
    folder = exported(tmp_path, meshes, "--format", name, "--unit", unit)
    stage = Usd.Stage.Open(str(folder / f"run.{name}"))
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    assert not UsdValidation.ValidationContext(validators).Validate(stage)
    metres = 1 if name == "usdz" else 0.01  # Quick Look takes metres
    assert UsdGeom.GetStageMetersPerUnit(stage) == metres
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    assert json.loads(stage.GetPrimAtPath("/run").GetCustomData()["asset"]) == ASSET
    mug = stage.GetPrimAtPath("/run/red_mug")
    assert (mug.GetDisplayName(), mug.GetCustomData()["grade"]) == ("red mug", "good")
    assert _size_of(stage, "/run/red_mug/red_mug", UsdGeom) == pytest.approx(
        SIZE_MM[[0, 2, 1]] / 1000 / metres
    )
    files = [p.Get() for s in stage.Traverse() if (p := s.GetAttribute("inputs:file"))]
    assert len(files) == 7 and all(f.resolvedPath for f in files)
    assert stage.GetPrimAtPath("/run/object/object")
    assert stage.GetPrimAtPath("/run/photo_camera").GetTypeName() == "Camera"
    assert stage.GetPrimAtPath("/run/photo_camera_2/photo_camera_2")


def _size_of(stage: Any, path: str, UsdGeom: Any) -> list[float]:
    mesh = stage.GetPrimAtPath(path)
    matrix = np.array(UsdGeom.Xformable(mesh).ComputeLocalToWorldTransform(0))
    points = np.array(UsdGeom.Mesh(mesh).GetPointsAttr().Get()) @ matrix[:3, :3]
    return np.ptp(points, axis=0).tolist()


@pytest.mark.extra("lib3mf")
def test_3mf_has_named_solids_with_textures(tmp_path: Path) -> None:
    folder = exported(tmp_path, letters("red mug", "cup"), "--format", "3mf")
    with zipfile.ZipFile(folder / "run.3mf") as archive:
        model = ElementTree.fromstring(archive.read("3D/3dmodel.model"))
        assert "3D/Textures/red_mug.png" in archive.namelist()
    assert model.get("unit") == "millimeter"
    said = {m.get("name", "").split(":")[-1]: m.text or "" for m in model.iter(f"{CORE}metadata")}
    assert json.loads(said["asset"]) == ASSET and said["LicenseTerms"] == "CC0 -- mine"
    solids = model.findall(f".//{CORE}object")
    assert [s.get("name") for s in solids] == ["red mug", "cup"]
    places = [i.get("transform") for i in model.findall(f".//{CORE}item")]
    assert np.array(places[1].split(), float)[-3:] == pytest.approx([3000 + 50, 2850, 100])
    for solid in solids:
        rows = solid.findall(f".//{CORE}vertex")
        vertices = np.array([[float(r.get(axis)) for axis in "xyz"] for r in rows])
        rows = solid.findall(f".//{CORE}triangle")
        faces = np.array([[int(r.get(f"v{k}")) for k in (1, 2, 3)] for r in rows])
        assert is_closed(vertices, faces) and all(r.get("p1") for r in rows)
        np.testing.assert_allclose(np.ptp(vertices, axis=0), SIZE_MM, rtol=1e-5)


@pytest.mark.extra("usd")
@pytest.mark.extra("lib3mf")
def test_the_same_scene_is_the_same_bytes(tmp_path: Path) -> None:
    formats = ("--format", "glb,obj,ply,usd,usdz,stl,3mf", "--per-object")
    folder = exported(tmp_path, letters("cup"), *formats)
    first = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    for path in (folder / "run_cup_textures").iterdir():
        path.unlink()
    exported(tmp_path, letters("cup"), *formats)
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == first


@pytest.mark.extra("numba")
def test_an_open_mesh_is_closed_for_printers_and_left_open_for_others(tmp_path: Path) -> None:
    whole = box_mesh((-0.4, -0.4, -0.4), (0.4, 0.4, 0.4))
    crate = replace(whole, faces=whole.faces[2:])
    run = write_placed_run(tmp_path / "run", Store(tmp_path / "store"), {"crate": crate})
    done = call("export", run, "--format", "stl,glb", "--faces", 500)
    assert "crate: open, so the solid is a closed shell around it" in done.stderr
    printed = trimesh.load_mesh(run / "export" / "run.stl")
    assert printed.is_watertight and printed.volume > 0 and len(printed.faces) <= 500
    np.testing.assert_allclose(printed.extents, [1600] * 3, rtol=0.02)
    shown = trimesh.load_scene(run / "export" / "run.glb", process=False).to_mesh()
    assert len(shown.faces) == 10


@pytest.mark.extra("blender")
def test_fbx_keeps_names_textures_and_centimetres(tmp_path: Path) -> None:
    folder = exported(tmp_path, {"red mug": shiny(), **letters("cup")}, "--format", "fbx")
    (tmp_path / "read.py").write_text(READ_FBX)
    command = ["blender", "--background", "--factory-startup", "--python", tmp_path / "read.py"]
    done = subprocess.run([*command, "--", folder / "run.fbx"], capture_output=True, text=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("{")]
    read = json.loads(line)
    assert read.keys() == {"red mug", "cup"}
    for size, grade in read.values():  # in Blender's metres, z up
        assert (grade, size) == ("good", pytest.approx(SIZE_MM / 1000, rel=1e-4))
    data = (folder / "run.fbx").read_bytes()
    assert data.count(b"\x89PNG") >= 2 and b"UnitScaleFactor" in data


READ_FBX = """
import bpy, json, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.fbx(filepath=sys.argv[-1])
bpy.context.view_layer.update()
meshes = [o for o in bpy.data.objects if o.type == "MESH"]
sizes = {}
for o in meshes:
    ends = [o.matrix_world @ v.co for v in o.data.vertices]
    size = [max(e[i] for e in ends) - min(e[i] for e in ends) for i in range(3)]
    sizes[o.name] = size, o["grade"]
print(json.dumps(sizes))
"""
