"""What a simulation says of objects that stand, float or lean."""

from __future__ import annotations

import math

import numpy as np
import pytest

from photoscene.export.building import build_scene
from photoscene.export.formats.mjcf import EXPORTER
from photoscene.export.options import ExportOptions
from photoscene.export.source import Source
from photoscene.physics.bodies import camera_colliders
from photoscene.physics.standing import Standing, simulate_standing
from scene.placed import PlacedMesh
from scene.types import Artifact, Float64, ObjectMesh, Similarity
from support.placed_runs import CAMERA, FIT, LEVEL
from support.shapes import box_mesh, letter_f

FLOOR_Y = 1.5  # in the frame of the level camera of `placed_runs`
SIZE = 0.2
BOX = box_mesh((-0.3, -0.5, -0.2), (0.3, 0.5, 0.2))


def placed(
    name: str, mesh: ObjectMesh, x: float, roll_rad: float = 0.0, above: float = 0.0
) -> PlacedMesh:
    """A mesh rolled about the view, its lowest point so far above the floor."""
    c, s = math.cos(roll_rad), math.sin(roll_rad)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    lowest = float((SIZE * mesh.vertices @ rotation.T)[:, 1].max())
    at = np.array([x, FLOOR_Y - lowest - above, 3.0])
    return PlacedMesh(name, name, name, mesh, Similarity(SIZE, rotation, at), FIT)


def stood(*objects: PlacedMesh, world: Float64 = LEVEL) -> dict[str, Standing]:
    photo = Artifact("photo", "0" * 64, ".png")
    source = Source(objects, {}, CAMERA, world, True, photo)
    options = ExportOptions(frame="world", origin="floor", colliders=True)
    colliders = camera_colliders(objects)
    scene = build_scene("scene", source, EXPORTER, options, 1.0, {}, colliders)
    return dict(zip([o.name for o in objects], simulate_standing(scene), strict=True))


@pytest.mark.extra("physics")
def test_what_stands_stays_and_what_floats_or_leans_is_caught(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.chdir(tmp_path)
    found = stood(
        placed("box", BOX, 0), placed("letter", letter_f(), 1),
        placed("floats", BOX, 2, above=0.02), placed("leans over", BOX, 3, roll_rad=0.3),
    )  # fmt: skip
    assert found["box"].moved < 0.001 and found["letter"].moved < 0.001
    size = SIZE * np.linalg.norm([0.6, 1, 0.4])
    assert found["floats"].sank == pytest.approx(0.02 / size, rel=0.01)
    assert found["floats"].moved == pytest.approx(0.02 / size, rel=0.01)
    assert found["leans over"].moved > 0.1
    assert found["leans over"].turned_rad == pytest.approx(0.3, abs=0.01)
    assert not list(tmp_path.iterdir())  # MuJoCo would log there
