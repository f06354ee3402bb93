"""Generate backend `direct3d_s2` over tiny random weights: canonical, and pixel-aligned."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from photoscene.self_test.tiny_direct3d import write_tiny_checkpoint  # noqa: E402
from scene.cameras import camera_from_fov  # noqa: E402
from scene.errors import BadInput  # noqa: E402
from scene.types import CropCamera, ObjectCrop, PosedView  # noqa: E402
from stages import generate  # noqa: E402
from stages.generate.direct3d_s2 import (  # noqa: E402
    BACKEND,
    OBJECT_FROM_CUBE,
    Settings,
    object_from_cube,
)
from stages.generate.shared.photo_colours import photo_values, voxels_of  # noqa: E402
from support.small_photo import call, write_small_photo  # noqa: E402

SIDE = 96


def crop(fov_x_rad: float = 0.5) -> ObjectCrop:
    rgba = np.zeros((SIDE, SIDE, 4), np.uint8)
    rgba[12:84, 20:76] = (200, 40, 40, 255)
    rgba[12:84, 48:76, :3] = (40, 40, 200)
    camera = CropCamera(camera_from_fov(SIDE, SIDE, fov_x_rad), np.eye(3))
    return ObjectCrop(rgba, np.full((SIDE, SIDE), np.nan, np.float32), camera)


def settings(folder: Path, **changed) -> Settings:
    small = {"resolution": 512, "steps": 1, "faces": 300, "texture_px": 64} | changed
    return Settings(weights=str(folder), **small)


def test_wrong_settings_are_refused_in_one_line() -> None:
    for wrong in ({"steps": 0}, {"guidance": 101}, {"faces": 10}, {"texture_px": 8}):
        with pytest.raises(BadInput, match=f"{next(iter(wrong))}: expected"):
            Settings(**wrong)


def test_a_scale_about_the_camera_brings_one_cube_to_the_other() -> None:
    """A point keeps its pixel, and the cube's centre comes to that of the object cube."""
    pose = object_from_cube(2.3, 2.8)
    point = np.array([0.2, -0.3, 0.4])
    x, y, z = OBJECT_FROM_CUBE @ point
    moved = pose.apply(point[None])[0]
    np.testing.assert_allclose(moved[:2] / (moved[2] + 2.8), np.array([x, y]) / (z + 2.3))
    np.testing.assert_allclose(pose.apply(np.zeros((1, 3))), 0)


def test_colours_are_the_photos_where_it_shows_the_surface() -> None:
    """Left half red, right half blue; the hidden back takes those of the nearest visible place."""
    grid = np.stack(np.meshgrid(np.linspace(-0.2, 0.2, 60), np.linspace(-0.2, 0.2, 60)), -1)
    flat = grid.reshape(-1, 2)
    front, back = (np.c_[flat, np.full(len(flat), z)].astype(np.float32) for z in (-0.1, 0.1))
    points = np.concatenate([front, back])
    coords, row = voxels_of(points)
    values = photo_values(points, row, crop())[row]
    left, right = points[:, 0] < -0.02, points[:, 0] > 0.02
    assert (values[left, 0] > values[left, 2]).all() and (values[right, 2] > values[right, 0]).all()
    assert (values[:, 3:] == [0, 1, 1]).all() and len(coords) == row.max() + 1


@pytest.mark.slow
def test_public_weights_make_a_canonical_mesh(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path / "weights")
    backend = BACKEND.load(settings(folder, resolution=1024, dense=True), "cpu")
    mesh = generate.run(backend, crop(), 3, BACKEND.fov_range_deg)
    assert mesh.canonical is not None and not mesh.canonical.pixel_aligned
    assert mesh.canonical.confidence == 0 and mesh.dense is not None
    assert "no colours" in mesh.notes[0] and len(mesh.faces) > 100
    view = PosedView(crop().rgba, 0.5, np.eye(4))
    with pytest.raises(BadInput, match="takes one image with these weights"):
        generate.run_views(backend, [view, view], 1.0, 3)
    assert backend.held_bytes > 0
    backend.release()
    assert backend.held_bytes == 0


@pytest.mark.slow
def test_a_back_projection_makes_a_pixel_aligned_mesh(tmp_path: Path) -> None:
    """A crop of too wide a view is seen at 40 degrees, and its mesh re-projected."""
    folder = write_tiny_checkpoint(tmp_path / "weights", pixel_aligned=True)
    backend = BACKEND.load(settings(folder), "cpu")
    for fov in (0.5, 0.9):
        mesh = generate.run(backend, crop(fov), 3, BACKEND.fov_range_deg)
        assert mesh.canonical is None and len(mesh.faces) > 100
        assert len(np.unique(mesh.texture.reshape(-1, 3), axis=0)) > 2
    front = np.array([[1.0, 0, 0, 0], [0, 0, -1, -3], [0, 1, 0, 0], [0, 0, 0, 1]])
    views = [PosedView(crop().rgba, 0.5, front)] * 2
    assert len(generate.run_views(backend, views, 1.0, 3).faces) > 100


@pytest.mark.slow
def test_profile_paper_makes_a_scene_and_resumes(tmp_path: Path) -> None:
    """The generator of the profile among stages that need no weights, from a mask."""
    folder = write_tiny_checkpoint(tmp_path / "weights", pixel_aligned=True)
    photo = write_small_photo(tmp_path)
    mask = next(iter(photo.masks.values()))
    values = {
        "map_points.backend": "ground_plane", "complete.backend": "passthrough",
        "finish.backend": "none", "generate.weights": folder, "generate.resolution": 512,
        "generate.steps": 1, "generate.faces": 300, "generate.texture_px": 64,
        "generate.dense": "false",
    }  # fmt: skip
    sets = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    where = ("-o", tmp_path / "run", "--store", tmp_path / "store", "--json", "--device", "cpu")
    told = []
    for _ in range(2):
        result = call("run", photo.photo, "--profile", "paper", "--mask", mask, *sets, *where)
        assert result.exit_code in (0, 1), result.output  # a random mesh may fit nothing
        told.append(json.loads(result.stdout))
    steps = json.loads((tmp_path / "run" / "run.json").read_text())["steps"]
    generated = [s for s in steps if s["stage"] == "generate"]
    assert generated and not any(s["computed"] for s in generated)
    assert {s["backend"] for s in generated} == {"direct3d_s2"}
    assert [o["name"] for o in told[0]["objects"]] == [o["name"] for o in told[1]["objects"]]
    chosen = ("--object", "1", "--from", "generate", "--store", tmp_path / "store")
    again = call("rerun", tmp_path / "run", *chosen, "--device", "cpu", "--json")
    assert again.exit_code in (0, 1), again.output
    steps = json.loads((tmp_path / "run" / "run.json").read_text())["steps"]
    assert any(s["stage"] == "generate" and s["computed"] for s in steps)
