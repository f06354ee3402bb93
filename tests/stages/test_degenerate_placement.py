"""Placing what cannot be placed: every backend has a reason or a graded fallback for it, raises
nothing, and places the others as if they were alone."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from alignment.objects import Placement, PlacementInput
from benchmarks.known_scenes import KnownObject
from flows.plan import STAGES
from scene.cameras import camera_from_fov
from scene.types import Bool, PointMap
from stages import place
from stages.backends import backend_names
from support.borrowing import loaded
from support.extras import ICP
from support.photographed import (
    Photographed,
    block,
    fit_of,
    photographed_letter,
    photographed_table,
    pose_of,
)

BACKENDS = [ICP if name == "icp" else name for name in backend_names(STAGES["place"])]
DEFAULT = "pixel_aligned"
AT_THE_MEDIAN = "placed at the mask's median depth"


def run(
    backend: str, objects: list[PlacementInput], point_map: PointMap, masks: list[Bool]
) -> list[Placement]:
    """The stage with a backend's own settings."""
    placer = loaded("place", backend, {})
    return place.run(placer, objects, point_map, masks).placements


def two_blocks() -> Photographed:
    """Two blocks on a table, far enough apart that neither knows of the other."""
    return photographed_table([
        block("left", (-0.22, -0.05, 0), (-0.1, 0.05, 0.1), 0.4),
        block("right", (0.08, -0.05, 0), (0.22, 0.05, 0.06), -0.2),
    ])  # fmt: skip


def with_vertices(o: PlacementInput, vertices: np.ndarray) -> PlacementInput:
    return replace(o, mesh=replace(o.mesh, vertices=vertices))


def one_pixel(o: PlacementInput) -> PlacementInput:
    """The mask's middle pixel alone."""
    rows, columns = np.nonzero(o.mask)
    mask, at = np.zeros_like(o.mask), len(rows) // 2
    mask[rows[at], columns[at]] = True
    return replace(o, mask=mask)


Spoil = Callable[[PlacementInput], PlacementInput]
# How an object is spoiled; words in the baselines' reason; the default's reason, or the grade
# and a warning of its fallback.
SPOILED: dict[str, tuple[Spoil, str, str | tuple[str, str]]] = {
    "empty mask": (
        lambda o: replace(o, mask=np.zeros_like(o.mask)),
        "no pixel has both",
        "knows no depth inside the object's mask",
    ),
    "one pixel": (one_pixel, "1 of the at least two", ("failed", "few trusted pixels")),
    "no vertex is a number": (
        lambda o: with_vertices(o, np.full_like(o.mesh.vertices, np.nan)),
        "not finite numbers",
        "not finite numbers",
    ),
    "one vertex is not a number": (
        lambda o: with_vertices(o, np.where(np.arange(8)[:, None] == 3, np.inf, o.mesh.vertices)),
        "not finite numbers",
        "not finite numbers",
    ),
    "behind the camera": (
        lambda o: with_vertices(o, o.mesh.vertices - [0, 0, 100]),
        "do not lie before the camera",
        "do not lie before the camera",
    ),
    "around the camera": (
        lambda o: with_vertices(o, o.mesh.vertices * 50),
        "do not lie before the camera",
        "do not lie before the camera",
    ),
    "mesh outside the picture": (
        lambda o: with_vertices(o, o.mesh.vertices + [8, 0, 0]),
        "no pixel has both",
        ("failed", AT_THE_MEDIAN),
    ),
    "mesh beside its mask": (
        lambda o: with_vertices(o, o.mesh.vertices + [0, -1.1, 0]),
        "no pixel has both",
        ("failed", AT_THE_MEDIAN),
    ),
    "mesh without faces": (
        lambda o: replace(o, mesh=replace(o.mesh, faces=o.mesh.faces[:0])),
        "the mesh has no surface",
        "the mesh has no surface",
    ),
    "mesh in one spot": (
        lambda o: with_vertices(o, np.zeros_like(o.mesh.vertices)),
        "no pixel has both",
        ("failed", AT_THE_MEDIAN),
    ),
}


def assert_reported(placement: Placement, expected: str | tuple[str, str]) -> None:
    """A failure with these words, or a placement with this grade and a warning in these words."""
    if isinstance(expected, str):
        assert placement.camera_from_object is None and placement.fit is None
        assert expected in str(placement.failure)
        return
    grade, words = expected
    assert placement.failure is None and np.isfinite(pose_of(placement).matrix).all()
    assert pose_of(placement).scale > 0
    fit = fit_of(placement)
    assert fit.grade == grade and any(words in told for told in fit.warnings)


@pytest.mark.parametrize("backend", BACKENDS)
def test_spoiled_objects_are_told_and_the_others_placed_as_if_alone(backend: str) -> None:
    scene = two_blocks()
    first, good = scene.objects
    spoiled = [spoil(first) for spoil, _, _ in SPOILED.values()]
    *found, beside = run(backend, [*spoiled, good], scene.point_map, scene.masks)
    for placement, (_, reason, of_default) in zip(found, SPOILED.values(), strict=True):
        assert_reported(placement, of_default if backend == DEFAULT else reason)
    (alone,) = run(backend, [good], scene.point_map, scene.masks)
    np.testing.assert_array_equal(pose_of(beside).matrix, pose_of(alone).matrix)
    assert fit_of(beside) == fit_of(alone)
    assert fit_of(alone).grade == "good"


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_object_alone_is_told_by_the_default(name: str) -> None:
    spoil, _, expected = SPOILED[name]
    scene = two_blocks()
    (placement,) = run(DEFAULT, [spoil(scene.objects[0])], scene.point_map, scene.masks)
    assert_reported(placement, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_fallback_stands_at_the_masks_median_depth(backend: str) -> None:
    """C6.7, the default alone: the object's centre on its crop's axis, at that z."""
    scene = two_blocks()
    o = with_vertices(scene.objects[0], scene.objects[0].mesh.vertices + [8, 0, 0])
    (placement, _) = run(backend, [o, scene.objects[1]], scene.point_map, scene.masks)
    if backend != DEFAULT:
        assert placement.camera_from_object is None
        return
    placed = pose_of(placement)
    median = np.median(scene.point_map.depth[o.mask])
    assert placed.translation[2] == pytest.approx(float(median), rel=1e-6)
    np.testing.assert_allclose(placed.rotation, o.crop.photo_from_crop)
    assert fit_of(placement).points == 0 and fit_of(placement).support == ""


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_known_depth_in_a_mask_is_a_reason(backend: str, value: float) -> None:
    scene = two_blocks()
    depth = np.where(scene.masks[0], np.float32(value), scene.point_map.depth)
    lost, kept = run(backend, scene.objects, PointMap(depth, scene.point_map.camera), scene.masks)
    reason = "knows no depth" if backend == DEFAULT else "a known depth"
    assert_reported(lost, reason)
    assert scene.errors([kept, kept])[1] < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_map_that_knows_nothing_is_a_reason_for_everybody(backend: str, value: float) -> None:
    scene = two_blocks()
    depth = np.full_like(scene.point_map.depth, value)
    placements = run(backend, scene.objects, PointMap(depth, scene.point_map.camera), scene.masks)
    for placement in placements:
        assert_reported(placement, "knows no depth" if backend == DEFAULT else "a known depth")


NO_DEPTH = {True: "knows no depth inside the object's mask", False: "no pixel has both"}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("factor", [-1.0, 0.0])
def test_a_depth_of_zero_or_less_is_unknown(backend: str, factor: float) -> None:
    """In one object's mask; the other is placed as if that were a hole of the map."""
    scene = two_blocks()
    depth, mask = scene.point_map.depth, scene.masks[0]
    spoiled, hole = (
        replace(scene, point_map=replace(scene.point_map, depth=np.where(mask, values, depth)))
        for values in (np.float32(factor) * depth, np.float32(np.nan))
    )
    lost, kept = run(backend, scene.objects, spoiled.point_map, scene.masks)
    assert_reported(lost, NO_DEPTH[backend == DEFAULT])
    _, beside_hole = run(backend, scene.objects, hole.point_map, scene.masks)
    np.testing.assert_array_equal(pose_of(kept).matrix, pose_of(beside_hole).matrix)
    assert scene.errors([kept, kept])[1] < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scene", [two_blocks(), photographed_letter((0.0, 0.0, 2.0))])
def test_a_whole_map_behind_the_camera_is_a_reason_for_everybody(
    backend: str, scene: Photographed
) -> None:
    point_map = PointMap(-scene.point_map.depth, scene.point_map.camera)
    for placement in run(backend, scene.objects, point_map, scene.masks):
        assert_reported(placement, NO_DEPTH[backend == DEFAULT])


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_object_is_no_placement(backend: str) -> None:
    scene = two_blocks()
    assert run(backend, [], scene.point_map, []) == []
    assert run(backend, [], scene.point_map, scene.masks) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_object_is_placed_without_anything_around_it(backend: str) -> None:
    scene = photographed_letter((0.3, 0.1, 2.0))
    (placement,) = run(backend, scene.objects, scene.point_map, scene.masks)
    assert scene.errors([placement]).max() < 1e-4 and fit_of(placement).grade == "good"


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_object_cut_by_the_border_is_placed(backend: str) -> None:
    """Half of the letter lies outside the picture; its crop is that of the seen half."""
    scene = photographed_letter((-0.95, 0.1, 2.0))
    assert scene.masks[0][:, 0].any()
    (placement,) = run(backend, scene.objects, scene.point_map, scene.masks)
    assert scene.errors([placement]).max() < 1e-3 and fit_of(placement).grade == "good"


def many_blocks() -> Photographed:
    """200 cubes of 18 mm on a table, in 10 rows."""
    pieces: list[KnownObject] = []
    for row in range(10):
        for column in range(20):
            x, y = 0.028 * (column - 9.5), 0.05 * row - 0.1
            pieces.append(
                block(f"{row} {column}", (x, y, 0), (x + 0.018, y + 0.018, 0.018), 0.1 * column)
            )
    return photographed_table(pieces, camera_from_fov(640, 480, 0.9))


@pytest.mark.slow
def test_two_hundred_objects_are_placed() -> None:
    """By the default, which looks at pairs of them."""
    scene = many_blocks()
    placements = scene.place()
    assert scene.errors(placements).max() < 1e-6
    assert {fit_of(p).support for p in placements} == {"plane"}


def test_a_placer_that_loses_an_object_is_refused() -> None:
    class Loses:
        def place(self, objects, point_map, ground) -> list[Placement]:
            return []

    scene = two_blocks()
    with pytest.raises(ValueError, match="0 placements for 2 objects"):
        place.run(Loses(), scene.objects, scene.point_map, scene.masks)
