"""Does the hand-off page say what is there, how good it is, and what is still open?"""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from photoscene.provenance.asset import asset_record
from photoscene.provenance.brief import Purpose, brief_page, make_brief
from photoscene.runs.folder import read_run, read_scene
from scene.placed import PlacedMesh
from scene.types import Artifact, FitReport, Scene, Similarity
from support import DATA
from support.shapes import box_mesh
from support.small_photo import call

ASSET = {
    "generator": "photoscene 1", "photo": {"sha256": "a" * 64, "licence": "CC0"},
    "measured": ["outline"], "guessed": ["backs"], "cleanup": ["finish"], "weights": [],
}  # fmt: skip
FIT = FitReport(1.0, 3.0, 0.01, 0.02, 0.9, 500, 0.987)
READY = Purpose("web viewer", "glb", 100, 64)
UPRIGHT = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 1], [0, 0, 0, 1]])
SCENE = Scene(Artifact("photo", "b" * 64, ".png"), world_from_camera=UPRIGHT)
CUP = PlacedMesh(
    "1", "cup", "cup", box_mesh((-0.1, -0.2, -0.3), (0.1, 0.2, 0.3)),
    Similarity(2.0, np.eye(3), np.array([0.0, 0.0, 4.0])), FIT,
)  # fmt: skip


def test_a_brief_without_open_points_says_so() -> None:
    brief = make_brief("photo.jpg", READY, SCENE, [CUP], {}, True, ASSET)
    assert brief.open_points == () and brief.unit == "m" and "They are metres" in brief_page(brief)
    page = brief_page(brief)
    assert "## Open points\n\nNone.\n" in page
    assert "| cup | 0.4 x 0.8 x 1.2 | 12 | 8 | yes | good | 0.987 |" in page
    assert "Destination: web viewer" in page and "Photo: CC0" in page
    assert "100 faces an object, textures of 64 px" in page


def test_what_the_rubric_found_is_an_open_point() -> None:
    rows = [
        {
            "name": "stands",
            "subject": "cup",
            "text": "9%",
            "verdict": "fail",
            "limits": "at most 1%",
        },
        {
            "name": "stands",
            "subject": "plate",
            "text": "3%",
            "verdict": "fail",
            "limits": "at most 1%",
        },
        {"name": "scale", "subject": "scene", "text": "relative", "verdict": "check", "limits": ""},
        {"name": "closed", "subject": "cup", "text": "yes", "verdict": "pass", "limits": ""},
        {
            "name": "read back",
            "subject": "fbx",
            "text": "",
            "verdict": "not measured",
            "limits": "",
        },
    ]
    counts = {"pass": 1, "check": 1, "fail": 2, "not measured": 1}
    quality = {"rows": rows, "counts": counts, "remedies": {"stands": "fix it"}}
    brief = make_brief("photo.jpg", READY, SCENE, [CUP], {}, True, ASSET, quality)
    assert brief.open_points == (
        "Full check, stands: fail (at most 1%): cup 9%, plate 3%: fix it",
        "Full check, scale: check: scene relative",
    )  # fmt: skip
    assert "standing: 1 pass, 1 check, 2 fail, 1 not measured (fbx)." in brief_page(brief)
    unscaled = make_brief("photo.jpg", READY, SCENE, [CUP], {}, False, ASSET, quality)
    assert not any("scale" in point for point in unscaled.open_points)  # it is one already
    plain = make_brief("photo.jpg", READY, SCENE, [CUP], {}, True, ASSET)
    assert "standing: not done, or not kept; the last command" in brief_page(plain)


@pytest.mark.parametrize("world", [None, UPRIGHT])
def test_sizes_are_width_height_and_depth_in_either_frame(world: np.ndarray | None) -> None:
    scene = replace(SCENE, world_from_camera=world)
    brief = make_brief("photo.jpg", READY, scene, [CUP], {}, True, ASSET)
    assert brief.subjects[0].size == (0.4, 0.8, 1.2)


def test_everything_that_a_person_has_to_settle_is_an_open_point() -> None:
    mesh = replace(CUP.mesh, faces=CUP.mesh.faces[1:])
    doubtful = replace(CUP, mesh=mesh, fit=replace(FIT, grade="check", warnings=("seen edge on",)))
    weights = [
        {"name": "sam3", "licence": "SAM License", "restrictions": "no military use",
         "stages": ["segment"], "source": "hub", "revision": "c" * 40},
        {"name": "weights of older", "licence": "unknown", "restrictions": "",
         "stages": ["generate"], "source": "unknown", "revision": None},
    ]  # fmt: skip
    asset = {**ASSET, "photo": {"sha256": "a" * 64, "licence": ""}, "weights": weights}
    scene = replace(SCENE, world_from_camera=None)
    brief = make_brief(
        "photo.jpg", Purpose(faces=5, texture_px=4), scene, [doubtful], {"lamp": "no mesh"}, False,
        asset,
    )  # fmt: skip
    expected = (
        "licence is not known", "where this goes", "file format", "Sizes have no real unit",
        "floor or table was not found", "lamp is missing: no mesh", "cup is graded check",
        "seen edge on",
        "cup is not closed", "over the budget of 5", "over the budget of 4", "no military use",
        "weights of older is unknown",
    )  # fmt: skip
    for words in expected:
        assert sum(words in point for point in brief.open_points) == 1, words
    assert len(brief.open_points) == len(expected) - 1  # grade and warning are one
    # What a reader has to settle names no option; those are with the commands.
    assert not any("--" in point or "`" in point for point in brief.open_points)
    page = brief_page(brief)
    for option in ("--licence", "--destination", '--size "cup=', "--faces 5", "--textures 4"):
        assert page.count(option) == 1 and option in page.split("## Commands")[1]
    assert (
        "1 of 2 objects of one photo" in page
        and "| lamp | - | - | - | - | missing | no mesh |" in page
    )


def test_units_of_the_scene_are_explained() -> None:
    scene = replace(SCENE, notes=("unit: the camera is 1 above the ground", "dark"))
    page = brief_page(make_brief("photo.jpg", READY, scene, [CUP], {}, False, ASSET))
    assert "units of this scene only: the camera is 1 above the ground, so 0.5 is" in page
    assert "- Note: dark." in page and "Note: unit" not in page


def test_names_cannot_break_the_page() -> None:
    hostile = replace(CUP, name="a|b <img src=x> [c](d) *e*")
    page = brief_page(make_brief("x\n# y", READY, SCENE, [hostile], {}, True, ASSET))
    assert "| a\\|b \\<img src=x\\> \\[c\\](d) \\*e\\* |" in page
    assert "# Hand-off: x \\# y\n" in page


def test_the_command_writes_page_and_values_beside_the_users_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(DATA / "run_folder.zip") as packed:
        packed.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    older = call("brief", "run", "--store", "store")
    assert older.exit_code == 2 and "has no asset record" in older.stderr
    run, file = read_run(Path("run")), Path("run/scene.json")
    asset = asset_record(run.request, run.record.steps, read_scene(Path("run")), None)
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), "asset": asset}))

    made = call("brief", "run", "--store", "store", "--destination", "game", "--json")
    assert made.exit_code == 0, made.stderr
    value = json.loads(made.stdout)
    assert value == json.loads(Path("run/brief.json").read_text("utf-8"))
    assert len(value["subjects"]) == 2 and value["purpose"]["destination"] == "game"
    first = Path("run/brief.md").read_bytes()
    assert call("brief", "run", "--store", "store", "--destination", "game").exit_code == 0
    assert Path("run/brief.md").read_bytes() == first
    Path("run/brief.md").write_text("mine")
    assert call("brief", "run", "--store", "store", "--destination", "game").exit_code == 0
    assert Path("run/brief.edited.md").read_text() == "mine"
    assert Path("run/brief.md").read_bytes() == first


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--format", "doc"], "doc"), (["--faces", "0"], "--faces 0: expected a number above 0")],
)
def test_what_cannot_be_is_one_line(options: list[str], message: str, tmp_path: Path) -> None:
    refused = call("brief", tmp_path, *options)
    assert refused.exit_code == 2 and message in refused.stderr
    assert refused.stderr.count("\n") == 1
