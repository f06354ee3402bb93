"""The placement sweep's own arithmetic: its recipes are what they say, its errors are right."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from alignment.objects import Placement
from benchmarks.known_scenes import KnownObject, KnownScene
from benchmarks.perturb import ROWS, Case, exact, misshapen, occluded, outliers, warped
from benchmarks.placement_errors import errors_of
from benchmarks.placement_tables import FIGURES, Sweep, table, verdict
from scene.cameras import project
from scene.types import FitReport, Similarity
from support.photographed import TABLE_CAMERA, block, photographed_table, table_world_from_camera

PIECES = [
    replace(
        block("box", (-0.12, -0.05, 0), (-0.02, 0.05, 0.09), 0.2), kinds=frozenset({"symmetric"})
    ),
    block("brick", (0.05, -0.04, 0), (0.17, 0.04, 0.05)),
]


def known_table() -> KnownScene:
    """Two blocks on a table, as the sweep knows its scenes."""
    seen = photographed_table(PIECES)
    objects = tuple(
        KnownObject(piece.name, true, piece.faces, kinds=piece.kinds)
        for piece, true in zip(PIECES, seen.true, strict=True)
    )
    depth = np.nan_to_num(seen.point_map.depth, nan=3.0)
    return KnownScene(
        "table", TABLE_CAMERA, objects, tuple(seen.masks), depth, table_world_from_camera(),
        frozenset(), frozenset({0, 1}),
    )  # fmt: skip


def placed(case: Case, moves: list[Similarity]) -> list[Placement]:
    """Every true mesh after a motion of its own."""
    fit = FitReport(1, 1, 0, 0, 1, 100, 0.9)
    placements = []
    for o, true, move in zip(case.objects, case.known.objects, moves, strict=True):
        turn = o.crop.photo_from_crop
        ratio = true.vertices[0, 2] / (o.mesh.vertices @ turn.T + _centre(case, o))[0, 2]
        found = Similarity(
            move.scale * ratio,
            move.rotation @ turn,
            move.scale * ratio * move.rotation @ _centre(case, o) + move.translation,
        )
        placements.append(Placement(found, fit))
    return placements


def _centre(case: Case, o) -> np.ndarray:
    return o.crop.photo_from_crop[:, 2] * o.crop.camera.fx_px / o.crop.camera.width


STILL = Similarity(1.0, np.eye(3), np.zeros(3))


def test_what_is_in_its_place_has_no_error_whatever_the_unit() -> None:
    case = exact(known_table(), np.random.default_rng(0))
    for unit in (1.0, 2.5):
        for e in errors_of(case, placed(case, [replace(STILL, scale=unit)] * 2)):
            assert e.translation < 1e-9 and e.size < 1e-9 and e.rotation_deg < 1e-5
            assert e.outline == pytest.approx(0.1)


def test_errors_are_those_of_a_known_motion() -> None:
    """One of two objects is 10 % too large and 2 % too far; gamma takes its share of both."""
    case = exact(known_table(), np.random.default_rng(0))
    first = case.known.objects[0].vertices
    centre = (first.min(0) + first.max(0)) / 2
    grown = Similarity(1.1, np.eye(3), 0.02 * centre - 0.1 * centre)
    found = errors_of(case, placed(case, [grown, STILL]))
    assert found[0].translation == pytest.approx(found[0].depth)
    assert found[0].translation + found[1].translation == pytest.approx(0.02, rel=0.03)
    assert found[0].size == pytest.approx(math.log(1.1) - found[1].size, abs=1e-9)


def test_lost_objects_count_as_wholly_wrong() -> None:
    case = exact(known_table(), np.random.default_rng(0))
    lost = [Placement(None, None, "lost"), *placed(case, [STILL, STILL])[1:]]
    found = errors_of(case, lost)
    assert not found[0].found and found[0].translation == 1.0 and found[1].translation < 1e-9


def test_recipes_are_what_they_say() -> None:
    case = exact(known_table(), np.random.default_rng(0))
    random = np.random.default_rng(1)
    before = case.point_map.depth
    changed = outliers(case, random, 0.35).point_map.depth != before
    assert changed.mean() == pytest.approx(0.35, abs=0.01)
    warp = warped(case, random, 0.05).point_map.depth / before - 1
    assert np.abs(warp).max() == pytest.approx(0.05, rel=1e-3)
    hidden = occluded(case, random, 0.4)
    for o, old in zip(hidden.objects, case.objects, strict=True):
        assert o.mask.sum() / old.mask.sum() == pytest.approx(0.6, abs=0.01)
        assert (hidden.point_map.depth[old.mask & ~o.mask] < before[old.mask].min()).all()
    for o, old in zip(misshapen(case, random, 0.1).objects, case.objects, strict=True):
        distance = [0, 0, old.crop.camera.fx_px / old.crop.camera.width]
        there, here = (project(old.crop.camera, m.mesh.vertices + distance) for m in (o, old))
        np.testing.assert_allclose(there, here, atol=1e-6)  # along the rays
        assert 0.02 < np.abs(o.mesh.vertices - old.mesh.vertices).max() < 0.15


def test_every_row_makes_a_case_of_the_same_objects() -> None:
    known = known_table()
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        case = row.make(known, np.random.default_rng(2))
        assert len(case.objects) == len(known.objects), row.name
        assert (case.point_map.depth > 0).all(), row.name


def test_the_verdict_counts_what_the_table_shows() -> None:
    from benchmarks.placement_tables import Trial

    case = exact(known_table(), np.random.default_rng(0))
    good = errors_of(case, placed(case, [STILL, STILL]))
    bad = [replace(e, translation=0.05, size=0.05) for e in good]
    rows = tuple(row for row in ROWS if row.name in ("noise 1 %", "noise 2 %"))
    methods = ("pixel_aligned", "icp")
    trials = [
        Trial(
            row.name,
            dict(zip(methods, (good, bad) if row is rows[0] else (bad, good), strict=True)),
            {},
        )
        for row in rows
        for _ in range(3)
    ]
    sweep = Sweep(rows, methods, trials)
    assert "| noise 1 % | **0.000 ± 0.000** | 5.000 ± 0.000 |" in table(sweep, FIGURES["size"])
    said = verdict(sweep)
    assert "best of all methods in 1 of 2 noisy rows (50%)" in said
    assert "worse than another beyond the interval and 0.1 % in 1: noise 2 % (by 5.000 %" in said
