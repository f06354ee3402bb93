"""A signed distance field where the surface may be: cubes of values on a fine grid.

Every latent voxel decodes to all of its CHILDREN^3 children, so the field is stored by latent
voxel. Values are positive outside, at most 1, in units of the truncation; absent ones are +1,
unless a coarse grid has them as inside (-1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

CHILDREN = 8  # values along the edge of a latent voxel: three subdivisions
OUTSIDE, INSIDE = 1.0, -1.0
Absent = Callable[[Sequence[int], Sequence[int]], Tensor | float]


@dataclass(frozen=True, eq=False)
class SparseSdf:
    """cubes (L, 3) int64: latent voxels; values (L, E, E, E), axes x, y, z; side: of the whole
    grid, in values. features (L, E, E, E, C): of the decoder, for a refiner. inside (side / 2)^3
    bool: which absent values are inside, None for none."""

    cubes: Tensor
    values: Tensor
    side: int
    features: Tensor | None = None
    inside: Tensor | None = None

    def region(self, low: Sequence[int], high: Sequence[int]) -> Tensor:
        """The dense values of nodes low <= (x, y, z) < high: their type and device."""
        return self._dense(self.values[..., None], self._absent, low, high)[..., 0]

    def feature_region(self, low: Sequence[int], high: Sequence[int]) -> Tensor:
        """The dense features (X, Y, Z, C) of a region, zero where there are none."""
        if self.features is None:
            raise ValueError("this field was decoded without features")
        return self._dense(self.features, lambda *_: 0.0, low, high)

    def planes(self, start: int, stop: int) -> Tensor:
        """The dense planes start <= x < stop, (stop - start, side, side)."""
        return self.region((start, 0, 0), (stop, self.side, self.side))

    def for_meshing(self) -> SparseSdf:
        """The field alone, on the CPU, float32."""
        inside = None if self.inside is None else self.inside.cpu()
        values = self.values.float().cpu()
        return replace(self, cubes=self.cubes.cpu(), values=values, features=None, inside=inside)

    def _absent(self, first: Sequence[int], counts: Sequence[int]) -> Tensor | float:
        """What a region of whole cubes has where there are none."""
        if self.inside is None:
            return OUTSIDE
        half = self.values.shape[1] // 2
        part = self.inside[
            tuple(slice(f * half, (f + c) * half) for f, c in zip(first, counts, strict=True))
        ]
        for axis in range(3):
            part = part.repeat_interleave(2, axis)
        return torch.where(part, INSIDE, OUTSIDE).to(self.values)[..., None]

    def _dense(
        self, contents: Tensor, absent: Absent, low: Sequence[int], high: Sequence[int]
    ) -> Tensor:
        """Contents (L, E, E, E, C) of the cubes that a region touches, cut to it."""
        edge = contents.shape[1]
        first = [a // edge for a in low]
        counts = [-(-b // edge) - f for b, f in zip(high, first, strict=True)]
        dense = contents.new_zeros(*(edge * count for count in counts), contents.shape[-1])
        dense += absent(first, counts)
        place = self.cubes - torch.tensor(first, device=self.cubes.device)
        limits = torch.tensor(counts, device=self.cubes.device)
        mine = ((place >= 0) & (place < limits)).all(1)
        x, y, z = place[mine].unbind(1)
        nested = dense.view(counts[0], edge, counts[1], edge, counts[2], edge, -1)
        nested.permute(0, 2, 4, 1, 3, 5, 6)[x, y, z] = contents[mine]
        ends = zip(low, high, first, strict=True)
        return dense[tuple(slice(a - edge * f, b - edge * f) for a, b, f in ends)]


@dataclass(frozen=True, eq=False)
class DenseSdf:
    """A refined field: values (S, S, S), positive outside."""

    values: Tensor

    @property
    def side(self) -> int:
        """S."""
        return len(self.values)

    def planes(self, start: int, stop: int) -> Tensor:
        """The planes start <= x < stop, on the values' device."""
        return self.values[start:stop]


def halved(sdf: SparseSdf) -> SparseSdf:
    """The field at half the resolution: sums of eight values over nine, as `block_means` has it."""
    half = sdf.values.shape[1] // 2
    children = sdf.values.float().view(-1, half, 2, half, 2, half, 2)
    means = children.sum(dim=(2, 4, 6)) / (2**3 + 1)
    return SparseSdf(sdf.cubes, means.to(sdf.values.dtype), sdf.side // 2)
