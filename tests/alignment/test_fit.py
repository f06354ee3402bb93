"""The figures of a fit and its grade: a case for every threshold, on either side of it."""

from dataclasses import replace

import numpy as np
import pytest

from alignment.fit import (
    BORDER_PIXELS_USED,
    GOOD_INLIERS,
    GOOD_OUTLINE,
    GOOD_RESIDUAL,
    GOOD_SHIFT,
    MIN_INLIERS,
    MIN_OUTLINE,
    depth_error,
    graded,
    silhouette_iou,
)
from alignment.visible import render_depth
from scene.types import FitReport
from support.photographed import (
    OFF,
    Photographed,
    block,
    fit_of,
    photographed_letter,
    photographed_table,
)

FINE = FitReport(1.0, 2.0, 0.01, 0.02, 1.0, 500, 0.97)
A_LITTLE = 1e-6


@pytest.mark.parametrize(
    ("figure", "value", "grade", "words"),
    [
        ("silhouette_iou", GOOD_OUTLINE, "good", ""),
        ("silhouette_iou", GOOD_OUTLINE - A_LITTLE, "check", "outline agrees"),
        ("silhouette_iou", MIN_OUTLINE, "check", "outline agrees"),
        ("silhouette_iou", MIN_OUTLINE - A_LITTLE, "failed", "outline agrees"),
        ("inlier_share", GOOD_INLIERS, "good", ""),
        ("inlier_share", GOOD_INLIERS - A_LITTLE, "check", "30% of the depths disagree"),
        ("inlier_share", MIN_INLIERS, "check", "70% of the depths disagree"),
        ("inlier_share", MIN_INLIERS - A_LITTLE, "failed", "70% of the depths disagree"),
        ("residual_median", GOOD_RESIDUAL, "good", ""),
        ("residual_median", GOOD_RESIDUAL + A_LITTLE, "check", "off by more than 5%"),
        ("residual_median", 0.9, "check", "off by more than 90%"),
    ],
)
def test_a_figure_beyond_its_threshold_lowers_the_grade(
    figure: str, value: float, grade: str, words: str
) -> None:
    fit = graded(replace(FINE, **{figure: value}), [])
    assert fit.grade == grade
    assert len(fit.warnings) == (1 if words else 0)
    assert all(words in told for told in fit.warnings)


def test_a_warning_from_elsewhere_asks_for_a_look() -> None:
    fit = graded(FINE, ["something is odd"])
    assert (fit.grade, fit.warnings) == ("check", ("something is odd",))
    worse = graded(replace(FINE, silhouette_iou=0.2), ["something is odd"])
    assert worse.grade == "failed" and worse.warnings[0] == "something is odd"
    assert len(worse.warnings) == 2


def wide_mask(scene: Photographed, pixels: int) -> Photographed:
    """The same letter with a mask that is wider by some pixels, its depth going on."""
    (o,) = scene.objects
    mask = o.mask.copy()
    for _ in range(pixels):
        mask[:, 1:] |= mask[:, :-1]
    return replace(scene, objects=[replace(o, mask=mask)])


@pytest.mark.parametrize(("pixels", "grade"), [(0, "good"), (8, "check"), (80, "failed")])
def test_an_outline_that_misses_the_mask_is_graded(pixels: int, grade: str) -> None:
    fit = fit_of(wide_mask(photographed_letter((0.0, 0.0, 2.0)), pixels).place()[0])
    assert fit.grade == grade
    assert any("outline" in words for words in fit.warnings) == (grade != "good")


@pytest.mark.parametrize(("share", "grade"), [(0.2, "good"), (0.45, "check"), (0.95, "failed")])
def test_depths_that_disagree_are_graded(share: float, grade: str) -> None:
    """Outliers from 0.3 to 3 times the depth; of 95 % nothing is left to believe."""
    scene = photographed_letter((0.0, 0.0, 2.0))
    rng, depth = np.random.default_rng(0), scene.point_map.depth
    factor = np.where(rng.random(depth.shape) < share, rng.uniform(0.3, 3, depth.shape), 1)
    fit = fit_of(scene.measured(depth * factor).place(settings=OFF)[0])
    assert fit.grade == grade
    assert any("depths disagree" in words for words in fit.warnings) == (grade != "good")


def test_an_object_of_few_pixels_is_told() -> None:
    """A stick of two pixels: its border had to be used."""
    stick = block("stick", (-0.003, 0, 0), (0.003, 0.006, 0.3))
    fit = fit_of(photographed_table([stick]).place(settings=OFF)[0])
    assert fit.grade == "check" and fit.warnings.count(BORDER_PIXELS_USED) == 1


def test_an_object_that_the_rest_of_the_scene_moves_far_is_told() -> None:
    """Its own map says 5 % below the plane; the plane does not give way."""
    scene = photographed_table([block("sunk", (-0.05, -0.05, 0), (0.05, 0.05, 0.1))])
    depth = scene.point_map.depth.copy()
    depth[scene.masks[0]] *= 1.05
    fit = fit_of(scene.measured(depth).place()[0])
    assert fit.grade == "check" and any("rest of the scene" in words for words in fit.warnings)
    less = scene.point_map.depth.copy()
    less[scene.masks[0]] *= 1 + GOOD_SHIFT - 0.005
    assert fit_of(scene.measured(less).place()[0]).warnings == ()
    kept = fit_of(scene.measured(depth).place(settings=OFF)[0])
    assert not any("rest of the scene" in words for words in kept.warnings)


def test_the_outlines_agreement_sets_occluders_aside() -> None:
    scene = photographed_letter((0.0, 0.0, 2.0))
    (o,) = scene.objects
    view = render_depth(o.mesh, o.crop, scene.point_map.camera)
    hidden = np.zeros_like(o.mask)
    hidden[170:] = True
    nothing = np.zeros_like(o.mask)
    assert silhouette_iou(view, o.mask & ~hidden, hidden) > 0.99
    assert silhouette_iou(view, o.mask & ~hidden, nothing) < 0.7
    assert silhouette_iou(view, nothing, ~nothing) == 0  # nothing to compare
    twice = np.zeros_like(o.mask)
    twice[:, 60:] = o.mask[:, :-60]
    seen, both = view.silhouette.sum(), (view.silhouette & twice[view.box]).sum()
    expected = both / (seen + twice.sum() - both)
    assert silhouette_iou(view, twice, nothing) == pytest.approx(expected)


def test_the_depth_error_is_the_mean_over_all_visible_pixels() -> None:
    scene = photographed_letter((0.0, 0.0, 2.0))
    (o,) = scene.objects
    camera, depth = scene.point_map.camera, scene.point_map.depth
    view = render_depth(o.mesh, o.crop, camera)
    placed = replace(view, depth=view.depth * fit_of(scene.place()[0]).scale)
    assert depth_error(placed, o.mask, depth) == pytest.approx(0, abs=1e-6)
    assert depth_error(placed, o.mask, depth * 2) == pytest.approx(0.5, abs=1e-6)
    half = depth.copy()
    half[: camera.height // 2] = np.nan
    assert depth_error(placed, o.mask, half) == pytest.approx(0, abs=1e-6)
    assert depth_error(placed, np.zeros_like(o.mask), depth) is None
    assert depth_error(placed, o.mask, np.full_like(depth, np.nan)) is None
