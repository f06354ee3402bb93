"""M2 as a witness: a field of view that map and mesh disagree on is told, noise is not."""

from dataclasses import replace

import numpy as np
import pytest

from alignment.baselines.refit import fit_scale
from alignment.objects import PlacementInput
from alignment.perspective import check_perspective
from benchmarks.known_scenes import KnownObject, true_cube
from scene.cameras import project, unproject
from scene.types import Float64, PointMap
from support.photographed import Photographed, block, fit_of, photographed_table

DISTANCE = 2.0
LONG = block("long", (-0.05, -0.15, 0), (0.05, 0.25, 0.05), 0.2)  # along the way of looking


def body(seed: int) -> Float64:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (400, 3))


def told(cube: Float64, measured: Float64) -> tuple[float | None, list[str]]:
    scale = fit_scale(cube, measured, DISTANCE, 0.15).scale
    return check_perspective(cube, measured, DISTANCE, scale, 0.15)


@pytest.mark.parametrize("scale", [0.1, 3.0])
@pytest.mark.parametrize("ratio", [0.75, 0.85, 1.2, 1.35])
def test_it_is_the_ratio_of_the_focal_lengths(ratio: float, scale: float) -> None:
    """C12.1: f_c / f_g, of a generator that believed f_g; told in words from a tenth on."""
    cube = body(0)
    measured = scale * (cube + [0, 0, ratio * DISTANCE])
    perspective, words = told(cube, measured)
    assert perspective == pytest.approx(ratio, rel=1e-6)
    assert len(words) == 1 and f"{ratio:.2f}" in words[0] and "--fov" in words[0]


@pytest.mark.parametrize("ratio", [0.95, 1.0, 1.05])
def test_a_small_difference_is_not_worth_words(ratio: float) -> None:
    cube = body(1)
    perspective, words = told(cube, cube + [0, 0, ratio * DISTANCE])
    assert perspective == pytest.approx(ratio, rel=1e-6) and words == []


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_wrong_field_of_view(seed: int) -> None:
    cube = body(seed)
    noise = np.random.default_rng(seed + 100).normal(1, 0.03, (400, 1))
    perspective, words = told(cube, (cube + [0, 0, DISTANCE]) * noise)
    assert perspective == pytest.approx(1, abs=0.05) and words == []


def test_points_in_one_spot_tell_nothing() -> None:
    spot = np.zeros((50, 3))
    assert check_perspective(spot, spot + [0, 0, DISTANCE], DISTANCE, 1.0, 0.15) == (None, [])


def believed(longer: float, shifted_map: bool) -> Photographed:
    """A block of true proportions, pixel-aligned in a camera whose focal length is off by a factor.

    Proportions ask for a block that stands further away; the map comes with that shift, or without
    it: then its relief is stretched against its lateral extent.
    """
    scene = photographed_table([LONG])
    true, (o,) = scene.point_map.camera, scene.objects
    camera = replace(true, fx_px=longer * true.fx_px, fy_px=longer * true.fy_px)
    depth = scene.point_map.depth
    shift = (longer - 1) * float(np.median(depth[o.mask]))
    vertices = unproject(camera, project(true, scene.true[0])) * (scene.true[0][:, 2:] + shift)
    mesh, crop, _ = true_cube(KnownObject("long", vertices, LONG.faces), camera)
    measured = depth + np.float32(shift if shifted_map else 0)
    return Photographed(
        [PlacementInput(mesh, crop, o.mask, o.occluder)], PointMap(measured, camera), [vertices]
    )


def test_a_map_stretched_by_a_wrong_focal_length_is_told() -> None:
    """Focal length 25 % too long, no shift in the map: graded "check", with words."""
    (placement,) = believed(1.25, shifted_map=False).place()
    fit = fit_of(placement)
    assert fit.perspective is not None and 0.75 < fit.perspective < 0.9
    assert fit.grade == "check"
    (words,) = fit.warnings
    assert f"a focal length {fit.perspective:.2f} times as long" in words and "--fov" in words
    assert fit.silhouette_iou > 0.99  # nothing in the outline tells it


def test_a_guessed_map_contradicts_no_field_of_view() -> None:
    wrong = believed(1.25, shifted_map=False)
    guessed = replace(wrong, point_map=replace(wrong.point_map, guessed=True))
    fit = fit_of(guessed.place()[0])
    assert fit.perspective is None and (fit.grade, fit.warnings) == ("good", ())


@pytest.mark.parametrize("longer", [1.0, 1.25])
def test_a_map_that_agrees_with_its_mesh_is_good(longer: float) -> None:
    """Also in a wrong camera, when the map's shift goes with it: nothing can tell that."""
    (placement,) = believed(longer, shifted_map=True).place()
    fit = fit_of(placement)
    assert fit.perspective == pytest.approx(1, abs=0.03)
    assert (fit.grade, fit.warnings) == ("good", ())


@pytest.mark.parametrize("seed", range(4))
def test_a_noisy_map_is_not_told_of_a_field_of_view(seed: int) -> None:
    scene = photographed_table([LONG])
    noise = np.random.default_rng(seed).normal(1, 0.03, scene.point_map.depth.shape)
    fit = fit_of(scene.measured(scene.point_map.depth * noise).place()[0])
    assert fit.perspective == pytest.approx(1, abs=0.03)
    assert (fit.grade, fit.warnings) == ("good", ())
