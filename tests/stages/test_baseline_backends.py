"""The baselines behind the place stage: photographed letters, what they report, and settings."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from alignment.objects import Placement
from flows.plan import STAGES
from scene.raycast import render
from stages.backends import backend_names
from support.borrowing import loaded, settings_of
from support.extras import ICP
from support.photographed import (
    CAMERA,
    block,
    fit_of,
    photographed_letter,
    photographed_table,
    pose_of,
)

FREE = ("scale_depth", "umeyama", ICP)  # follow the depth wherever it puts the outline
BASELINES = (*FREE, "layout_refine")


def test_every_backend_is_looked_at_here() -> None:
    names = {name if isinstance(name, str) else name.values[0] for name in BASELINES}
    assert names | {"pixel_aligned"} == set(backend_names(STAGES["place"]))


def test_icp_without_open3d_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[benchmark\]'"):
        loaded("place", "icp", {})


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("offset", [(0.0, 0.0, 2.0), (-0.9, 0.5, 3.1)])
def test_each_backend_places_a_photographed_letter(
    name: str, offset: tuple[float, float, float]
) -> None:
    """C12.1 from exact pixels, with the float32 vertices of a mesh."""
    scene = photographed_letter(offset)
    (placement,) = scene.place(name)
    assert scene.errors([placement]).max() < 1e-4
    fit = fit_of(placement)
    assert fit.silhouette_iou > 0.99 and fit.residual_median < 1e-4
    assert (fit.grade, fit.warnings) == ("good", ())
    distance = float(np.linalg.norm(pose_of(placement).translation))
    assert fit.distance == pytest.approx(distance, rel=1e-9)


@pytest.mark.parametrize("name", BASELINES)
def test_each_backend_places_a_table_exactly(name: str) -> None:
    """C12.1 for M2, M7 and their kin: 1e-6 of the distance, no float32 between."""
    scene = photographed_table([
        block("left", (-0.2, -0.05, 0), (-0.08, 0.05, 0.1), 0.4),
        block("right", (0.02, -0.1, 0), (0.2, 0.05, 0.06), -0.2),
    ])  # fmt: skip
    assert scene.errors(scene.place(name)).max() < 1e-6


@pytest.mark.parametrize("name", FREE)
def test_the_outline_in_the_report_is_that_of_the_mesh_as_placed(name: str) -> None:
    """A depth that leans away moves the outline of every free model; the report must see it."""
    scene = photographed_letter((0.3, 0.1, 2.0))
    lean = np.linspace(0.8, 1.25, CAMERA.width, dtype=np.float32)
    (placement,) = scene.measured(scene.point_map.depth * lean).place(name)
    mesh, mask = scene.objects[0].mesh, scene.objects[0].mask
    seen = render([(mesh, pose_of(placement).apply(mesh.vertices))], CAMERA)[1] == 0
    iou = (seen & mask).sum() / (seen | mask).sum()
    assert fit_of(placement).silhouette_iou == pytest.approx(iou, abs=1e-12)
    assert fit_of(placement).silhouette_iou < 0.985


def test_without_its_mask_the_occluder_pulls_the_object() -> None:
    """The lower half of the letter hidden by a plane just before it, within the truncation."""
    scene = photographed_letter((0.0, 0.0, 2.0))
    o = scene.objects[0]
    occluder = np.zeros_like(o.mask)
    occluder[170:] = True
    hidden = replace(o, mask=o.mask & ~occluder, occluder=occluder)
    depth = np.where(occluder, np.float32(1.8), scene.point_map.depth)
    told = replace(scene.measured(depth), objects=[hidden])

    def error(placements: list[Placement]) -> float:
        return float(scene.errors(placements).max())

    assert error(told.place("umeyama")) < 5e-4
    assert error(told.place("umeyama", {"mask_known": False})) > 0.01


@pytest.mark.parametrize("name", BASELINES)
def test_a_depth_behind_the_camera_is_a_reason(name: str) -> None:
    scene = photographed_letter((0.0, 0.0, 2.0))
    (placement,) = scene.measured(-scene.point_map.depth).place(name)
    assert placement.camera_from_object is None
    assert "no pixel has both a surface of the mesh and a known depth" in str(placement.failure)


def test_settings_out_of_range_are_refused() -> None:
    for name in backend_names(STAGES["place"]):
        with pytest.raises(ValueError, match="place.truncation: expected between 0 and 1"):
            settings_of("place", name, {"truncation": 1.5})


@pytest.mark.parametrize("weight", ["plane", "contact", "penetration", "order"])
def test_weights_below_zero_or_without_end_are_refused(weight: str) -> None:
    for value in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"place.{weight}: expected"):
            settings_of("place", "pixel_aligned", {weight: value})
