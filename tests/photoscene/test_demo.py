"""The README's first command, and what comes out of it: a scene any viewer opens."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh

from support import ROOT
from support.extras import VALIDATOR

pytestmark = pytest.mark.slow  # the whole photo at full detail: half a minute of a core


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> Path:
    """The run folder of `make demo`, made by the very command the Makefile runs.

    The tests' server stands in for the one that the command would start for itself.
    """
    recipe = next(
        line for line in (ROOT / "Makefile").read_text().splitlines() if "photoscene run" in line
    )
    folder = tmp_path_factory.mktemp("demo")
    words = recipe.split()[1:]
    words[words.index("-o") + 1] = str(folder / "run")
    command = [str(Path(sys.executable).parent / "photoscene"), *words]
    command += ["--store", str(folder / "store")]
    environment = {**os.environ, "PREFECT_API_URL": prefect_server}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"scene: {folder / 'run' / 'scene.glb'}" in done.stdout
    return folder / "run"


def test_one_named_textured_watertight_node_per_object(demo: Path) -> None:
    prompts = json.loads((ROOT / "examples" / "breakfast.prompts.json").read_text())["objects"]
    scene = trimesh.load_scene(demo / "scene.glb", process=False)
    assert set(scene.graph.nodes_geometry) == {p["label"] for p in prompts}
    for name in scene.graph.nodes_geometry:
        matrix, geometry = scene.graph[name]
        mesh = scene.geometry[geometry]
        assert isinstance(mesh, trimesh.Trimesh)
        texture = mesh.visual.material.baseColorTexture
        assert min(texture.size) >= 256 and np.asarray(texture).std() > 5
        solid = trimesh.Trimesh(mesh.vertices @ matrix[:3, :3].T, mesh.faces, process=True)
        assert solid.is_watertight and solid.is_winding_consistent and solid.volume > 0
        assert (mesh.vertices @ matrix[:3, :3].T + matrix[:3, 3])[:, 2].max() < 0  # in view


def test_the_run_folder_has_what_it_promises(demo: Path) -> None:
    scene = json.loads((demo / "scene.json").read_text())
    assert [o["failure"] for o in scene["objects"]] == [None] * 6
    assert all(o["fit"]["silhouette_iou"] > 0.97 for o in scene["objects"])
    assert [o["fit"]["grade"] for o in scene["objects"]] == ["good"] * 6
    world = np.array(scene["world_from_camera"])
    looks_down_deg = np.degrees(np.arcsin(-world[2, 2]))
    assert 15 < looks_down_deg < 23 and world[2, 3] > 0  # the truth is 19 degrees
    for folder in sorted((demo / "objects").iterdir()):
        assert {p.name for p in folder.iterdir()} == {
            "mask.png", "completion.png", "object_crop.png", "mesh.glb"
        }  # fmt: skip
    assert (demo / "overlay.png").exists()
    text = (demo / "scene.json").read_text() + (demo / "scene.glb").read_bytes().decode("latin1")
    assert str(demo.parent) not in text  # no path of this machine


@pytest.mark.extra("validator")
def test_the_khronos_validator_finds_no_error(demo: Path) -> None:
    for glb in [demo / "scene.glb", *demo.glob("objects/*/mesh.glb")]:
        done = subprocess.run(
            ["node", VALIDATOR / "validate.js", glb],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        issues = json.loads(done.stdout)["issues"]
        assert issues["numErrors"] == 0 and issues["numWarnings"] == 0, issues["messages"]
