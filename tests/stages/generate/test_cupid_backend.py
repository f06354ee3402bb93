"""The generate backend `cupid` with tiny weights: its mesh stands in the crop where its camera saw
it, alone, by `object`, and in a whole run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from PIL import Image  # noqa: E402

import cupid  # noqa: E402
from photoscene.self_test.tiny_cupid import write_tiny_checkpoint  # noqa: E402
from scene.cameras import camera_from_fov  # noqa: E402
from scene.errors import BadInput  # noqa: E402
from scene.glb import object_from_glb  # noqa: E402
from scene.types import CropCamera, ObjectCrop  # noqa: E402
from stages import generate  # noqa: E402
from stages.generate.cupid import BACKEND, Settings  # noqa: E402
from stages.weights import MissingWeights  # noqa: E402
from support.posed_views import cutout  # noqa: E402
from support.small_photo import call, write_small_photo  # noqa: E402

QUICK = {"texture_px": 64, "faces": 400}
SETS = [part for name, value in QUICK.items() for part in ("--set", f"generate.{name}={value}")]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "weights")


def a_crop(fov_deg: float) -> ObjectCrop:
    rgba = np.zeros((96, 96, 4), np.uint8)
    rgba[12:84, 12:84] = (200, 120, 60, 255)
    camera = CropCamera(camera_from_fov(96, 96, np.radians(fov_deg)), np.eye(3))
    return ObjectCrop(rgba, np.full((96, 96), np.nan, np.float32), camera)


@pytest.mark.slow
@pytest.mark.parametrize("fov_deg", [20.0, 55.0])
def test_the_mesh_is_where_the_cube_s_camera_saw_it(fov_deg: float, weights: Path) -> None:
    """Whatever the crop's field of view: its vertices have the pixels that the estimated camera
    gives to those of the canonical mesh."""
    model = BACKEND.load(Settings(weights=str(weights), dense=True, **QUICK), "cpu")
    crop = a_crop(fov_deg)
    mesh = generate.run(model, crop, seed=1, fov_range_deg=BACKEND.fov_range_deg)
    assert mesh.canonical is not None and mesh.canonical.pixel_aligned
    assert mesh.canonical.confidence > 0.8 and mesh.notes == ()
    assert mesh.dense is not None and len(mesh.dense.faces) > len(mesh.faces) > 100
    focal = crop.camera.camera.fx_px / crop.camera.camera.width
    points = mesh.dense.vertices
    pixels = 0.5 + focal * points[:, :2] / (points[:, 2:] + focal)
    made = cupid.generate(
        cupid.from_crop(crop.rgba), cupid.open_checkpoint(weights), cupid.GenerationOptions(seed=1)
    )
    expected = made.pose.project(made.vertices.double().numpy())
    for ours, theirs in zip(_bounds(pixels), _bounds(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    again = generate.run(model, crop, seed=1)
    assert np.array_equal(again.vertices, mesh.vertices)
    assert np.array_equal(again.texture, mesh.texture)


def _bounds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return points.min(0), points.max(0)


def test_settings_and_weights_that_are_wrong(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for values, message in (
        ({"steps": 0}, "steps: expected 1 to 1000"),
        ({"guidance": -1.0}, "guidance: expected 0 to 100"),
        ({"faces": 3}, "faces: expected"),
        ({"texture_px": 3}, "texture_px: expected"),
    ):
        with pytest.raises(BadInput, match=message):
            Settings(**values)
    settings = Settings(weights=str(weights))
    digest = BACKEND.weights_digest(settings)
    monkeypatch.setenv("PHOTOSCENE_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(MissingWeights, match="models pull cupid"):
        BACKEND.weights_digest(Settings())
    (weights / "dinov2").rename(tmp_path / "dinov2")
    try:
        with pytest.raises(MissingWeights, match="models pull dinov2-registers-large"):
            BACKEND.weights_digest(settings)
    finally:
        (tmp_path / "dinov2").rename(weights / "dinov2")
    assert BACKEND.weights_digest(settings) == digest


@pytest.mark.slow
def test_an_object_by_the_command(weights: Path, tmp_path: Path) -> None:
    Image.fromarray(cutout()).save(tmp_path / "thing.png")
    options = ["--backend", "cupid", "--weights", weights, *SETS, "--fov", "40", "--device", "cpu"]
    where = ["--store", tmp_path / "store", "-o", tmp_path / "thing.glb", "--json"]
    result = call("object", tmp_path / "thing.png", *options, *where)
    assert result.exit_code == 0, result.output
    mesh = object_from_glb((tmp_path / "thing.glb").read_bytes())
    assert 100 < len(mesh.faces) <= 400 and mesh.texture.std() > 1
    again = call("object", tmp_path / "thing.png", *options, *where)
    assert json.loads(again.stdout)["computed"] is False


@pytest.mark.slow
def test_a_run_with_the_profile(weights: Path, tmp_path: Path, prefect_server: str) -> None:
    """Masks and depth given: two objects, cached, one of them made anew; their canonical poses are
    in scene.json."""
    small = write_small_photo(tmp_path)
    masks = [part for name in ("b", "c") for part in ("--mask", small.masks[name])]
    sets = [*SETS, "--set", f"generate.weights={weights}", "--set", "generate.dense=false"]
    cheap = [
        part for value in ("segment.backend=masks", "complete.backend=inpaint",
                           "finish.backend=none", "map_points.backend=file")
        for part in ("--set", value)
    ]  # fmt: skip
    run, store = tmp_path / "run", tmp_path / "store"
    command = [
        "run", small.photo, *masks, "--pointmap", small.depth, "--fov", "55", "--profile", "cupid",
        *sets, *cheap, "--device", "cpu", "--store", store, "-o", run, "--json",
    ]  # fmt: skip
    result = call(*command)
    assert result.exit_code in (0, 1), result.output
    objects = json.loads((run / "scene.json").read_text())["objects"]
    assert [o["failure"] for o in objects] == [None, None]
    for placed in objects:
        rotation = np.array(placed["camera_from_canonical"]["rotation"])
        assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    again = call(*command[:-2], tmp_path / "again", "--json")
    assert again.exit_code == result.exit_code, again.output
    assert json.loads(again.stdout)["steps_computed"] == 0
    made = call("rerun", run, "--object", "1", "--from", "generate", "--store", store,
                "--device", "cpu", "--json")  # fmt: skip
    assert made.exit_code in (0, 1), made.output
    steps = json.loads((run / "run.json").read_text())["steps"]
    computed = {(s["stage"], s["subject"]) for s in steps if s["computed"]}
    assert ("generate", objects[0]["id"]) in computed
    assert {subject for _, subject in computed} <= {objects[0]["id"], "scene"}
