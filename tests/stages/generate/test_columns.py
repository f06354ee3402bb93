"""Columns along rays: closed surfaces on their layers, gaps inside, pieces that hang together."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from stages.generate.lite.columns import Columns, Surface, surface_of

GRID = 40


def _columns(depth: float = 0.3) -> Columns:
    """A box of 24 x 24 cells, from z = -depth / 2 to depth / 2, without a gap."""
    v, u = np.mgrid[: GRID + 1, : GRID + 1].astype(float)
    alpha = np.minimum(12 - np.abs(u - 20), 12 - np.abs(v - 20)) / 24
    flat = np.full(u.shape, depth / 2)
    return Columns(-flat, flat, 0 * flat, 0 * flat, np.full(u.shape, -0.5), alpha)


def _solid(surface: Surface) -> trimesh.Trimesh:
    solid = trimesh.Trimesh(surface.points, surface.triangles, process=False)
    assert solid.is_watertight and solid.is_winding_consistent and solid.volume > 0
    return solid


def test_a_box_has_its_extent_and_volume() -> None:
    solid = _solid(surface_of(_columns()))
    np.testing.assert_allclose(solid.bounds[:, 2], [-0.15, 0.15], atol=1e-3)
    np.testing.assert_allclose(solid.bounds[:, :2], [[8, 8], [32, 32]], atol=0.05)
    assert solid.volume == pytest.approx(24 * 24 * 0.3, rel=0.01)


def test_a_gap_is_taken_out() -> None:
    columns = _columns()
    inner = np.zeros_like(columns.front)
    inner[12:29, 12:29] = 1
    hollow = replace(
        columns, near=columns.near - 0.05, far=columns.far + 0.05, gap_level=inner - 0.5
    )
    missing = 24 * 24 * 0.3 - _solid(surface_of(hollow)).volume
    assert missing == pytest.approx(17 * 17 * 0.1, rel=0.15)


def test_a_gap_too_thin_to_march_is_left_out() -> None:
    columns = _columns()
    thin = replace(columns, near=columns.near - 0.005, far=columns.far + 0.005,
                   gap_level=np.full_like(columns.front, 0.5))  # fmt: skip
    assert _solid(surface_of(thin)).volume == pytest.approx(24 * 24 * 0.3, rel=0.01)


def test_layers_thinner_than_a_slice_are_thickened_and_stay_closed() -> None:
    columns = _columns(depth=0.0)
    solid = _solid(surface_of(columns))
    assert solid.bounds[0, 2] == pytest.approx(0.0, abs=1e-3)


def test_a_step_within_one_outline_hangs_together() -> None:
    """The right half lies deeper than the left: the left is thickened behind, not seen from the
    front, until they meet."""
    columns = _columns(depth=0.1)
    shift = np.where(np.arange(GRID + 1) > 20, 0.4, 0.0)[None, :] + np.zeros((GRID + 1, 1))
    stepped = replace(columns, front=columns.front + shift, back=columns.back + shift)
    surface = surface_of(stepped)
    solid = _solid(surface)
    assert len(solid.split()) == 1
    assert solid.volume < 1.3 * 24 * 24 * 0.1


def test_outlines_that_do_not_touch_stay_apart() -> None:
    columns = _columns()
    alpha = columns.alpha_level.copy()
    alpha[:, 20] = -0.1
    assert len(_solid(surface_of(replace(columns, alpha_level=alpha))).split()) == 2


def test_nothing_inside_is_an_error_in_words() -> None:
    columns = _columns()
    with pytest.raises(ValueError, match="thinner"):
        surface_of(replace(columns, alpha_level=np.full_like(columns.front, -1.0)))


@pytest.mark.parametrize("seed", range(4))
def test_rough_layers_make_closed_surfaces(seed: int) -> None:
    generator = np.random.default_rng(seed)
    columns = _columns()
    shape = columns.front.shape
    rough = Columns(
        columns.front + generator.normal(0, 0.1, shape),
        columns.back + generator.normal(0, 0.1, shape),
        columns.near + generator.normal(-0.05, 0.1, shape),
        columns.far + generator.normal(0.05, 0.1, shape),
        generator.normal(0, 0.5, shape),
        columns.alpha_level + generator.normal(0, 0.05, shape) * (columns.alpha_level > -0.1),
    )
    rough.alpha_level[[0, -1]] = rough.alpha_level[:, [0, -1]] = -0.5
    surface = surface_of(rough)
    solid = trimesh.Trimesh(surface.points, surface.triangles, process=False)
    assert solid.is_watertight and solid.is_winding_consistent
