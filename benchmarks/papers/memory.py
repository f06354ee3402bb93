"""What memory does Direct3D-S2 take beyond its input: a layer of sparse attention, a surface?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from benchmarks.generator.cases import META, filled
from benchmarks.generator.machine import gigabytes, measured, random_tensor
from benchmarks.narrow import table
from direct3d_s2.networks import RELEASES, build_network
from direct3d_s2.sdf import CHILDREN, SparseSdf
from direct3d_s2.sparse_attention import (
    Heads,
    SpatialSparseAttention,
    TokenPlan,
    attend_blocks,
    attend_blocks_by_masks,
    plan_tokens,
)
from sparse3d.marching_cubes import marching_cubes
from sparse3d.voxels import Voxels, full_grid

CPU = torch.device("cpu")

GRID, LAYERS = 128, 3  # of the voxels around a sphere, whose radius follows their number
TOKENS = (4096, 16384, 65536)
TWIN_TOKENS = 4096  # all logits of a key head's queries at once: gigabytes
ALLOWED = 1e-4
SIDE, RADIUS, TRUNCATION = 1024, 300.0, 8.0
SURFACE_GB = 3.0


@dataclass(frozen=True, eq=False)
class LayerCost:
    """One layer over so many tokens: what its call takes beyond its input; difference: of the fast
    form from its twin, None where that is too large."""

    plan: TokenPlan
    peak_bytes: int | None
    difference: float | None


def measure_layers() -> list[LayerCost]:
    """A layer of version 1.1 at every size, random weights, float32."""
    costs, layer = [], attention_layer()
    for tokens in TOKENS:
        plan = plan_tokens(around_sphere(tokens), layer.sizes, {layer.shift})
        x = random_tensor(0, (tokens, layer.sizes.width), CPU)
        _, cost = measured(lambda x=x, plan=plan: layer(x, plan), CPU)
        difference = None
        if tokens == TWIN_TOKENS:
            difference = largest_difference(layer.heads_of(x, plan), plan, layer.sizes.selected)
        costs.append(LayerCost(plan, cost.peak_bytes, difference))
    return costs


def attention_table(costs: Sequence[LayerCost], heads: int) -> str:
    """A row for each size."""
    rows = []
    for cost in costs:
        tokens, peak = len(cost.plan.voxels), cost.peak_bytes or 0
        off = "-" if cost.difference is None else f"{cost.difference:.0e} ({ALLOWED:g})"
        rows.append(
            [
                f"{tokens:,}", f"{len(cost.plan.compressed.counts):,}", gigabytes(cost.peak_bytes),
                f"{peak / tokens / 1e3:.1f} kB", gigabytes(4 * heads * tokens**2), off,
            ]
        )  # fmt: skip
    columns = (
        "tokens", "blocks", "memory of a layer", "a token", "logits of full attention",
        "largest difference from the twin (allowed)",
    )  # fmt: skip
    return table(columns, rows)


def around_sphere(count: int) -> Voxels:
    """The voxels of `GRID`^3 nearest to a sphere on which they lie in about `LAYERS` layers."""
    cells = full_grid(1, GRID, CPU).coords
    radius = (count / (LAYERS * 4 * math.pi)) ** 0.5
    off = ((cells[:, 1:].float() - (GRID - 1) / 2).norm(dim=1) - radius).abs()
    return Voxels(cells[off.argsort(stable=True)[:count].sort().values].contiguous())


def attention_layer() -> SpatialSparseAttention:
    """One of version 1.1, random weights, float32."""
    spec = RELEASES["v1.1"]["sparse_dit_1024"]
    with META:
        dit = build_network(spec.kind, {**spec.arguments, "num_blocks": 1}, torch.float32)
    layers = [m for m in dit.modules() if isinstance(m, SpatialSparseAttention)]
    return cast(SpatialSparseAttention, filled(layers[0], CPU))


def largest_difference(heads: Heads, plan: TokenPlan, selected: int) -> float:
    """Between both forms, relative to the largest value; one key head at a time, since the twin
    has all logits of its queries in memory."""
    worst, group = 0.0, heads.q.shape[1] // heads.k.shape[1]
    for head in range(heads.k.shape[1]):
        keys = (t[:, head : head + 1] for t in (heads.k, heads.v, heads.summary_k, heads.summary_v))
        mine = Heads(heads.q[:, head * group : (head + 1) * group], *keys)
        pairs = zip(
            attend_blocks(mine, plan, selected),
            attend_blocks_by_masks(mine, plan, selected), strict=True,
        )  # fmt: skip
        for fast, twin in pairs:
            worst = max(worst, float((fast - twin).abs().max() / twin.abs().max()))
    return worst


def surface_text() -> tuple[str, bool]:
    """The surface of a ball's sparse field; whether it fits its bound and the ball."""
    sdf = ball()
    (vertices, faces), cost = _marched(sdf)
    off = float(((vertices - (SIDE - 1) / 2).norm(dim=1) - RADIUS).abs().max())
    own = sdf.values.nbytes + (0 if sdf.inside is None else sdf.inside.nbytes)
    whole = own + (cost or 0)
    text = (
        f"Marching cubes of a ball's field of {SIDE}^3, {len(sdf.cubes):,} latent voxels of "
        f"{CHILDREN}^3 values: {gigabytes(own)} of field, {gigabytes(cost)} beside it at the peak, "
        f"the result included ({len(faces):,} faces, at most {off:.3f} nodes from the ball). Dense "
        f"it would be {gigabytes(4 * SIDE**3)}."
    )
    return text, whole < SURFACE_GB * 1e9 and off < 0.01


def _marched(sdf: SparseSdf) -> tuple[tuple[Tensor, Tensor], int | None]:
    found: list[tuple[Tensor, Tensor]] = []

    def work() -> Tensor:
        found.append(marching_cubes(sdf, 0.0))
        return found[0][0]

    _, cost = measured(work, CPU)
    return found[0], cost.peak_bytes


def ball() -> SparseSdf:
    """A ball's distances, in units of the truncation, wherever they are below it; what is inside
    of these is known on half the grid, as the refiner gives it."""
    axis, inner = torch.arange(SIDE // CHILDREN), torch.arange(float(CHILDREN))
    cells = torch.cartesian_prod(axis, axis, axis)
    middle = CHILDREN * cells + (CHILDREN - 1) / 2 - (SIDE - 1) / 2
    reach = TRUNCATION + CHILDREN * 3**0.5 / 2
    cubes = cells[(middle.norm(dim=1) - RADIUS).abs() < reach]
    places = torch.stack(torch.meshgrid(inner, inner, inner, indexing="ij"), -1)
    values = torch.zeros(len(cubes), *(CHILDREN,) * 3)
    for rows in torch.arange(len(cubes)).split(4096):  # all points at once would be the peak
        first = (CHILDREN * cubes[rows])[:, None, None, None]
        distance = (first + places - (SIDE - 1) / 2).norm(dim=-1) - RADIUS
        values[rows] = (distance / TRUNCATION).clamp(-1, 1)
    half = 2 * torch.arange(SIDE // 2) + 0.5 - (SIDE - 1) / 2
    squares = half**2
    inside = squares[:, None, None] + squares[:, None] + squares < RADIUS**2
    return SparseSdf(cubes, values, SIDE, inside=inside)
