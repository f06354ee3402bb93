"""Tiny networks of the official classes, decoded, finished, and read by the Khronos validator."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")
pytest.importorskip("numba", reason="finishing: pip install -e '.[finish]'")

from flows.calls import backend_call
from flows.compute import produce
from photoscene.self_test.tiny_pixal3d import write_tiny_checkpoint
from scene.bundles import OBJECT_CROP_NAMES, pack_object_crop
from scene.seams import is_closed
from scene.store import Store
from scene.types import Artifact, Cutout, ObjectMesh
from stages import finish, generate
from stages.crops import cutout_crop
from stages.devices import ModelPool
from support.extras import VALIDATOR, missing

pytestmark = pytest.mark.slow
SMALL = {"resolution": 1024, "steps": 1, "texture_px": 64, "faces": 200, "dense": True}


@pytest.fixture(scope="module")
def asset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Artifact]:
    """The stage finish after the stage generate, by their calls."""
    folder = tmp_path_factory.mktemp("cascade")
    store, pool = Store(folder / "store"), ModelPool("cpu")
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[10:54, 10:54] = (200, 80, 40, 255)
    framed = pack_object_crop(store, cutout_crop(Cutout(rgba), 0.6))
    weights = {"weights": str(write_tiny_checkpoint(folder / "pixal3d"))}
    inputs = {name: framed[name] for name in OBJECT_CROP_NAMES}
    call = backend_call(generate.STAGE, "pixal3d", SMALL | weights, "object", inputs, 1)
    generated = produce(call, store, pool).manifest
    assert generated is not None and {"mesh", "dense"} <= generated.outputs.keys()
    inputs = {name: generated.outputs[name] for name in ("mesh", "dense")}
    inputs |= {name: framed[name] for name in ("image", "camera")}
    small = {"faces": 4000, "texture_px": 256}
    call = backend_call(finish.STAGE, "asset", small, "object", inputs, 1)
    finished = produce(call, store, pool).manifest
    assert finished is not None
    return store, finished.outputs["mesh"]


def test_a_decoded_object_leaves_as_a_closed_body_with_every_map(
    asset: tuple[Store, Artifact],
) -> None:
    store, file = asset
    mesh = store.load(file, ObjectMesh)
    assert is_closed(mesh.vertices, mesh.faces)
    maps = (mesh.material.metallic_roughness, mesh.material.normal_map)
    assert all(each is not None and each.shape[0] == 256 for each in maps)


@pytest.mark.skipif(missing("validator") != "", reason=missing("validator"))
def test_the_validator_finds_nothing_in_it(asset: tuple[Store, Artifact]) -> None:
    store, file = asset
    path: Path = store.path(file)
    found = subprocess.run(
        ["node", str(VALIDATOR / "validate.js"), str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    report = json.loads(found.stdout)
    issues = report["issues"]
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]
    assert len(report["info"]["resources"]) >= 3  # images
