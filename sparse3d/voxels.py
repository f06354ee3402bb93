"""Which voxels are occupied, which ones touch, and how do they split and merge?

Features are plain (N, C) tensors beside a `Voxels` of N rows; this file holds everything that needs
coordinates only, and the moves of features between two neighbouring levels of an octree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

TAPS = 27
CENTRE_TAP = 13
# The slice of a neighbour table derived at a time. On a CPU its index arrays then stay in the
# cache, which measured twice as fast as deriving a million rows at once; elsewhere it is large.
ROWS_AT_A_TIME, ROWS_OFF_CPU = 1 << 15, 1 << 20


@dataclass(frozen=True, eq=False)
class Origin:
    """Where the voxels of one level come from: their parents, at half the resolution.

    slots: (N,) int64, 8 * (row of the parent) + child index, the child index being
    x % 2 + 2 * (y % 2) + 4 * (z % 2) (x is the lowest bit: facts of the sparse decoders,
    Pixal3D, commit cdbb2bb, modules/sparse/spatial).
    """

    parents: Voxels
    slots: Tensor

    @property
    def parent_rows(self) -> Tensor:
        """(N,) int64: the row of every voxel's parent."""
        return self.slots >> 3

    def families(self, slices: Sequence[slice]) -> list[slice]:
        """The rows of the children of each slice of parents, where slots ascend (`subdivide`)."""
        ends = torch.tensor([rows.stop * 8 for rows in slices]).to(self.slots.device)
        stops = torch.searchsorted(self.slots, ends).tolist()
        return [slice(a, b) for a, b in zip([0, *stops], stops, strict=False)]


@dataclass(frozen=True, eq=False)
class Voxels:
    """Occupied voxels of a batch of grids.

    coords: (N, 4) int32 rows (batch, x, y, z), none negative, no row twice; rows of one batch item
    are contiguous and batches ascend. Item b without voxels is a batch number that is left out.
    origin: the parents of these voxels, where they are known; it makes `neighbours` cheap.
    Raises ValueError for another dtype, shape or order (repeated rows: when neighbours are asked).
    """

    coords: Tensor
    origin: Origin | None = None

    def __post_init__(self) -> None:
        coords = self.coords
        if coords.ndim != 2 or coords.shape[1] != 4 or coords.dtype != torch.int32:
            came = f"{tuple(coords.shape)} {coords.dtype}"
            raise ValueError(f"voxel coordinates must be (N, 4) torch.int32, not {came}")
        if not len(coords):
            return
        # Both answers at once: a device is waited for once.
        disordered = (coords[1:, 0] < coords[:-1, 0]).any()
        lowest, disordered = torch.stack((coords.min(), disordered.to(coords.dtype))).tolist()
        if lowest < 0:
            raise ValueError(f"voxel coordinates must not be negative: {lowest} found")
        if disordered:
            raise ValueError("voxel rows must be grouped by batch item, batch numbers ascending")

    def __len__(self) -> int:
        return len(self.coords)

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Rows per batch item, from batch 0 to the last one that has voxels."""
        return tuple(torch.bincount(self.coords[:, 0].long()).tolist())

    @cached_property
    def neighbours(self) -> Tensor:
        """(N, 27) int32: the row of the voxel at coord + (a - 1, b - 1, c - 1) in column
        9 a + 3 b + c, and N where that voxel is missing. Computed once and shared by all layers.
        """
        if self.origin is None:
            return sorted_neighbours(self.coords)
        return derived_neighbours(self.origin)

    @cached_property
    def pairs(self) -> tuple[TapPairs, ...]:
        """The entries of `neighbours` that exist, tap by tap; shared by all layers, too."""
        return existing_pairs(self.neighbours)

    @cached_property
    def accelerator_cache(self) -> dict[Any, Any]:
        """What an optional convolution library remembers about these voxels (its index pairs)."""
        return {}


@dataclass(frozen=True, eq=False)
class TapPairs:
    """The voxels that have a neighbour at one tap, and which: (P,) int32 each, rows ascending."""

    rows: Tensor
    neighbours: Tensor

    def within(self, rows: slice) -> TapPairs:
        """Those of a slice of rows, which are counted from its start."""
        ends = torch.tensor([rows.start, rows.stop], dtype=torch.int32).to(self.rows.device)
        first, last = torch.searchsorted(self.rows, ends).tolist()
        return TapPairs(self.rows[first:last] - rows.start, self.neighbours[first:last])


def existing_pairs(table: Tensor) -> tuple[TapPairs, ...]:
    """The entries of a neighbour table (N, 27) that exist, one `TapPairs` for each tap."""
    pairs = []
    for there in table.unbind(1):
        rows = (there < len(table)).nonzero().squeeze(1)
        pairs.append(TapPairs(rows.int(), there.index_select(0, rows)))
    return tuple(pairs)


def full_grid(batch: int, side: int, device: torch.device | None = None) -> Voxels:
    """Every cell of `batch` grids of side^3, in the order (batch, x, y, z), z fastest."""
    axes = [torch.arange(n, dtype=torch.int32, device=device) for n in (batch, side, side, side)]
    return Voxels(torch.cartesian_prod(*axes))


def sorted_neighbours(coords: Tensor, dilation: int = 1) -> Tensor:
    """The neighbour table of any voxels, by binary search in their sorted 64-bit codes.

    coords: (N, 4) int32. dilation: the step between taps, in voxels. Returns (N, 27) int32 as
    `Voxels.neighbours` describes. Only 13 taps are searched: where b is a's neighbour at +d, a is
    b's at -d (measured: 1.1 s instead of 1.8 s for 1.3 million voxels on two cores).
    Raises ValueError for repeated rows, and for a grid whose cells 64 bits cannot number.
    """
    count = len(coords)
    # The last row takes what is found nowhere, so that no shape depends on what is found.
    table = coords.new_full((count + 1, TAPS), count)
    if not count:
        return table[:0]
    table[:count, CENTRE_TAP] = torch.arange(count, device=coords.device)
    codes, strides = voxel_codes(coords, margin=dilation)
    codes, rows = codes.sort()
    if bool((codes[1:] == codes[:-1]).any()):
        raise ValueError("voxel coordinates must be unique: a row comes twice")
    for tap, offset in enumerate(tap_offsets(dilation).tolist()[:CENTRE_TAP]):
        wanted = codes + sum(step * stride for step, stride in zip(offset, strides, strict=True))
        found = torch.searchsorted(codes, wanted).clamp_(max=count - 1)
        theirs = torch.where(codes[found] == wanted, rows[found], count)
        table[rows, tap] = theirs.int()
        table[theirs, TAPS - 1 - tap] = rows.int()
    return table[:count]


def derived_neighbours(origin: Origin) -> Tensor:
    """The neighbour table of voxels whose parents' table is known, by gathers alone.

    A child's neighbour lies in its own parent or in one of the parent's neighbours: which one, and
    in which child slot, depends only on the child's slot and the tap. Equal to `sorted_neighbours`
    of the children (which is the readable version), about four times faster. Returns (M, 27) int32.
    """
    parent_table, slots = origin.parents.neighbours, origin.slots
    parent_count, count = len(parent_table), len(slots)
    row_of_slot = parent_table.new_full(((parent_count + 1) * 8,), count)
    row_of_slot[slots] = torch.arange(count, dtype=torch.int32, device=slots.device)
    # int32 arithmetic halves the traffic; 2**31 / 27 parents are 79 million.
    index = torch.int32 if parent_count * TAPS < 2**31 else torch.int64
    parent_taps, neighbour_slots = (t.to(slots.device, index) for t in child_steps())
    table = parent_table.new_full((count, TAPS), count)
    step = ROWS_AT_A_TIME if slots.device.type == "cpu" else ROWS_OFF_CPU
    for start in range(0, count, step):
        part = slots[start : start + step]
        parent, slot = (part >> 3).to(index), part & 7
        entries = (parent[:, None] * TAPS + parent_taps[slot]).view(-1)
        parents = parent_table.view(-1).index_select(0, entries).to(index)
        places = parents * 8 + neighbour_slots[slot].view(-1)
        table[start : start + len(part)] = row_of_slot.index_select(0, places).view(-1, TAPS)
    return table


def voxel_codes(coords: Tensor, margin: int) -> tuple[Tensor, tuple[int, int, int]]:
    """Number every cell of the grid, in the lexicographic order (batch, x, y, z).

    coords: (N, 4), N > 0. margin: cells of empty border on every side, so that a step of that many
    cells never wraps into another line or batch item. Returns ((N,) int64 codes, the code's step
    along x, y, z). Raises ValueError where 64 bits do not suffice.
    """
    batches, *sizes = (c + 1 for c in coords.amax(dim=0).tolist())
    x_size, y_size, z_size = (size + 2 * margin for size in sizes)
    if batches * x_size * y_size * z_size >= 2**63:
        raise ValueError(f"a grid of {batches} x {sizes} cells has no 64-bit numbering")
    strides = (y_size * z_size, z_size, 1)
    batch, *axes = coords.long().unbind(1)
    codes = batch * (x_size * strides[0])
    for axis, stride in zip(axes, strides, strict=True):
        codes = codes + (axis + margin) * stride
    return codes, strides


def tap_offsets(dilation: int = 1) -> Tensor:
    """(27, 3) int64: the voxel offset of every tap of a 3x3x3 kernel, the last axis fastest."""
    steps = torch.arange(-1, 2) * dilation
    return torch.cartesian_prod(steps, steps, steps)


def child_offsets() -> Tensor:
    """(8, 3) int64: the place of every child in its parent, x the lowest bit of the index."""
    index = torch.arange(8)
    return torch.stack([index & 1, index >> 1 & 1, index >> 2 & 1], dim=1)


def child_steps() -> tuple[Tensor, Tensor]:
    """From child slot and tap to the tap that leads to the neighbour's parent, and its slot there.

    Returns two (8, 27) int64 tensors.
    """
    places = child_offsets()[:, None] + tap_offsets()[None]
    parent_taps = ((places >> 1) + 1) @ torch.tensor([9, 3, 1])
    return parent_taps, (places & 1) @ torch.tensor([1, 2, 4])


def subdivide(parents: Voxels, mask: Tensor) -> Voxels:
    """Split voxels: one child per true entry of the mask, at twice the resolution.

    mask: (N, 8) bool, child index as in `Origin`. Returns the children, ordered by parent and then
    by child index, with their `origin`. Raises ValueError for another shape or dtype.
    """
    if tuple(mask.shape) != (len(parents), 8) or mask.dtype != torch.bool:
        came = f"{tuple(mask.shape)} {mask.dtype}"
        raise ValueError(f"a subdivision of {len(parents)} voxels must be (N, 8) bool, not {came}")
    slots = mask.reshape(-1).nonzero().squeeze(1)
    coords = parents.coords[slots >> 3]
    coords[:, 1:] *= 2
    coords[:, 1:] += child_offsets().to(coords.device, torch.int32)[slots & 7]
    return Voxels(coords, Origin(parents, slots))


def coarsen(children: Voxels) -> Origin:
    """Merge voxels into the ones that hold them at half the resolution.

    Returns the parents, sorted by (batch, x, y, z), and the slot of every child row in them.
    """
    coords = children.coords.clone()
    coords[:, 1:] >>= 1
    if not len(coords):
        return Origin(Voxels(coords), coords.new_zeros(0, dtype=torch.int64))
    codes, _ = voxel_codes(coords, margin=0)
    _, parent_rows, counts = torch.unique(codes, return_inverse=True, return_counts=True)
    first_child = parent_rows.argsort(stable=True)[counts.cumsum(0) - counts]
    place = (children.coords[:, 1:] & 1).long() @ torch.tensor([1, 2, 4]).to(coords.device)
    return Origin(Voxels(coords[first_child]), parent_rows * 8 + place)


def space_to_channel(features: Tensor, origin: Origin) -> Tensor:
    """Lay the children's features side by side in their parents: (M, C) to (N, 8 C).

    Child s fills channels s C .. (s + 1) C; absent children are zero.
    """
    channels = features.shape[1]
    filled = features.new_zeros(len(origin.parents) * 8, channels)
    return filled.index_copy(0, origin.slots, features).view(-1, 8 * channels)


def channel_to_space(features: Tensor, origin: Origin) -> Tensor:
    """Hand the parents' channels out to their children: (N, 8 C) to (M, C).

    The inverse of `space_to_channel`, except for what absent children had.
    """
    return features.reshape(len(origin.parents) * 8, -1).index_select(0, origin.slots)


def pool_mean(features: Tensor, origin: Origin) -> Tensor:
    """The mean over the present children: (M, C) to (N, C); NaN where a parent has none."""
    present = space_to_channel(torch.ones_like(features[:, :1]), origin).sum(1, keepdim=True)
    children = space_to_channel(features, origin).view(len(present), 8, -1)
    return children.sum(dim=1) / present


def pool_mean_with_zero(features: Tensor, origin: Origin) -> Tensor:
    """The mean over the present children and one zero: (M, C) to (N, C), the sum over n + 1.

    What TRELLIS calls a mean (microsoft/TRELLIS, commit 6b0d647, modules/sparse/spatial.py: its
    scatter counts the zeros that it starts from); Cupid and Direct3D-S2 were trained with it.
    """
    children = space_to_channel(features, origin).view(len(origin.parents), 8, -1)
    return children.sum(dim=1) / (child_counts(origin) + 1)


def child_counts(origin: Origin) -> Tensor:
    """How many children each parent has: (N, 1) float32."""
    ones = torch.ones(len(origin.slots), 1, device=origin.slots.device)
    return space_to_channel(ones, origin).sum(1, keepdim=True)


def pool_max(features: Tensor, origin: Origin) -> Tensor:
    """The maximum over the present children: (M, C) to (N, C); -inf where a parent has none."""
    channels = features.shape[1]
    filled = features.new_full((len(origin.parents) * 8, channels), -torch.inf)
    return filled.index_copy(0, origin.slots, features).view(-1, 8, channels).amax(dim=1)


def unpool(features: Tensor, origin: Origin) -> Tensor:
    """Give every child its parent's features: (N, C) to (M, C), in the children's row order."""
    return features.index_select(0, origin.parent_rows)


def group_norm(
    features: Tensor, voxels: Voxels, groups: int, weight: Tensor, bias: Tensor, eps: float = 1e-5
) -> Tensor:
    """Group normalisation of every batch item over all of its voxels, computed in float32.

    features: (N, C); weight, bias: (C,). Returns (N, C) in the dtype of the features.
    """
    normalised = []
    for rows in features.split(list(voxels.lengths)):
        if not len(rows):
            continue
        planes = rows.float().T[None]
        planes = F.group_norm(planes, groups, weight.float(), bias.float(), eps)
        normalised.append(planes[0].T.to(features.dtype))
    return torch.cat(normalised) if normalised else features.clone()
