"""Voxels: neighbour tables, splitting and merging, against plain loops and each other."""

from __future__ import annotations

import pytest

torch = pytest.importorskip(
    "torch", reason="the generator needs torch: pip install -e '.[pixal3d]'"
)

from torch import Tensor  # noqa: E402

from sparse3d.voxels import (  # noqa: E402
    Voxels,
    channel_to_space,
    coarsen,
    group_norm,
    pool_max,
    pool_mean,
    pool_mean_with_zero,
    sorted_neighbours,
    space_to_channel,
    subdivide,
    unpool,
)
from support.some_voxels import some_voxels  # noqa: E402


def neighbours_by_dictionary(coords: Tensor, dilation: int = 1) -> list[list[int]]:
    rows = {tuple(row): i for i, row in enumerate(coords.tolist())}
    steps = [
        (dilation * a, dilation * b, dilation * c)
        for a in (-1, 0, 1)
        for b in (-1, 0, 1)
        for c in (-1, 0, 1)
    ]
    return [
        [rows.get((n, x + a, y + b, z + c), len(rows)) for a, b, c in steps]
        for n, x, y, z in coords.tolist()
    ]


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_sorted_neighbours_are_those_of_a_dictionary(dilation: int) -> None:
    voxels = some_voxels(seed=0)
    found = sorted_neighbours(voxels.coords, dilation)
    assert found.dtype == torch.int32
    assert found.tolist() == neighbours_by_dictionary(voxels.coords, dilation)


def test_no_neighbours_across_batch_items_or_grid_lines() -> None:
    """Voxels at opposite faces have adjoining codes in a grid without a border."""
    coords = [[0, 0, 3, 3], [0, 1, 0, 0], [0, 3, 3, 3], [1, 0, 0, 0], [1, 0, 0, 3], [1, 0, 1, 0]]
    table = sorted_neighbours(torch.tensor(coords, dtype=torch.int32))
    assert [sorted(set(row)) for row in table.tolist()] == [
        [0, 6], [1, 6], [2, 6], [3, 5, 6], [4, 6], [3, 5, 6]
    ]  # fmt: skip


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_children_derive_their_neighbours_from_their_parents(share: float) -> None:
    """Two levels down, gathered tables equal sorted ones; some parents have no children."""
    random = torch.Generator().manual_seed(3)
    voxels = some_voxels(seed=1, side=5)
    for _ in range(2):
        mask = torch.rand(len(voxels), 8, generator=random) <= share
        voxels = subdivide(voxels, mask)
        assert voxels.origin is not None
        assert torch.equal(voxels.neighbours, sorted_neighbours(voxels.coords))
        assert int((voxels.neighbours < len(voxels)).sum()) > len(voxels)


def test_derived_neighbours_of_many_rows_are_those_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = some_voxels(seed=2)
    mask = torch.ones(len(parents), 8, dtype=torch.bool)
    whole = subdivide(parents, mask).neighbours
    monkeypatch.setattr("sparse3d.voxels.ROWS_AT_A_TIME", 7)
    assert torch.equal(subdivide(parents, mask).neighbours, whole)


def test_subdivide_orders_children_by_parent_with_x_lowest() -> None:
    parents = Voxels(torch.tensor([[0, 4, 5, 6], [2, 1, 0, 3]], dtype=torch.int32))
    mask = torch.zeros(2, 8, dtype=torch.bool)
    mask[0, [1, 6]] = True
    mask[1, [0, 4]] = True
    children = subdivide(parents, mask)
    expected = [[0, 9, 10, 12], [0, 8, 11, 13], [2, 2, 0, 6], [2, 2, 0, 7]]
    assert children.coords.tolist() == expected
    assert children.origin is not None
    assert children.origin.parent_rows.tolist() == [0, 0, 1, 1]
    assert children.lengths == (2, 0, 2)


def test_coarsen_merges_what_subdivide_split() -> None:
    """Back to the parents that had children, sorted, and the children's slots in them."""
    random = torch.Generator().manual_seed(4)
    parents = some_voxels(seed=5)
    children = subdivide(parents, torch.rand(len(parents), 8, generator=random) < 0.2)
    first, origin = children.origin, coarsen(children)
    assert first is not None
    kept = {tuple(row) for row in parents.coords[first.parent_rows].tolist()}
    assert [tuple(row) for row in origin.parents.coords.tolist()] == sorted(kept)
    assert torch.equal(origin.slots & 7, first.slots & 7)
    halved = children.coords.clone()
    halved[:, 1:] //= 2
    assert torch.equal(origin.parents.coords[origin.parent_rows], halved)


def test_features_move_to_parents_and_back() -> None:
    children = some_voxels(seed=6)
    origin = coarsen(children)
    features = torch.randn(len(children), 3, generator=torch.Generator().manual_seed(7))
    merged = space_to_channel(features, origin)
    assert torch.equal(channel_to_space(merged, origin), features)
    assert int((merged != 0).sum()) == features.numel()
    mean, highest = pool_mean(features, origin), pool_max(features, origin)
    for row in range(len(origin.parents)):
        mine = features[origin.parent_rows == row]
        torch.testing.assert_close(mean[row], mine.mean(0))
        assert torch.equal(highest[row], mine.amax(0))
    assert torch.equal(unpool(mean, origin), mean[origin.parent_rows])


def test_group_norm_normalises_each_batch_item_alone() -> None:
    voxels = some_voxels(seed=8)
    features = 5 + 3 * torch.randn(len(voxels), 8, generator=torch.Generator().manual_seed(9))
    normalised = group_norm(features, voxels, 2, torch.ones(8), torch.zeros(8))
    for item in normalised.split(list(voxels.lengths)):
        for group in item.split(4, dim=1):
            assert abs(float(group.mean())) < 1e-5
            assert float(group.std(correction=0)) == pytest.approx(1, abs=1e-4)


def test_no_voxels_at_all() -> None:
    nothing = Voxels(torch.zeros(0, 4, dtype=torch.int32))
    assert nothing.lengths == ()
    assert nothing.neighbours.shape == (0, 27)
    assert len(coarsen(nothing).parents) == 0
    voxels = some_voxels(seed=10)
    childless = subdivide(voxels, torch.zeros(len(voxels), 8, dtype=torch.bool))
    assert childless.neighbours.shape == (0, 27)


@pytest.mark.parametrize(
    ("coords", "message"),
    [
        (torch.zeros(3, 4), "float32"),
        (torch.zeros(3, 3, dtype=torch.int32), r"\(3, 3\)"),
        (torch.tensor([[0, 0, -1, 0]], dtype=torch.int32), "negative"),
        (torch.tensor([[1, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.int32), "grouped by batch"),
    ],
)
def test_wrong_coordinates_are_refused(coords: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Voxels(coords)


def test_repeated_rows_and_immense_grids_are_refused() -> None:
    with pytest.raises(ValueError, match="unique"):
        _ = Voxels(torch.zeros(2, 4, dtype=torch.int32)).neighbours
    with pytest.raises(ValueError, match="64-bit"):
        _ = Voxels(torch.full((1, 4), 2**31 - 2, dtype=torch.int32)).neighbours


def test_a_subdivision_of_other_rows_is_refused() -> None:
    voxels = some_voxels(seed=11)
    with pytest.raises(ValueError, match="bool"):
        subdivide(voxels, torch.zeros(len(voxels), 8))
    with pytest.raises(ValueError, match="subdivision of"):
        subdivide(voxels, torch.zeros(len(voxels) + 1, 8, dtype=torch.bool))


def test_the_mean_with_a_zero_divides_by_one_more() -> None:
    origin = coarsen(some_voxels(seed=0))
    features = torch.randn(len(origin.slots), 3)
    present = torch.bincount(origin.parent_rows)[:, None]
    expected = pool_mean(features, origin) * present / (present + 1)
    torch.testing.assert_close(pool_mean_with_zero(features, origin), expected)
