"""Spatial sparse attention: every token reads summaries of all blocks, the tokens of the blocks
that matter, and those of its own window; a gate of its own weighs the three.

Facts: Direct3D-S2, commit a1cf235, spatial_sparse_attention/. `attend_blocks` is the fast form,
some queries at a time, its memory linear in the tokens; `attend_blocks_by_masks` is its readable
twin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from direct3d_s2.blocks import Blocks, block_sums, blocks_of
from direct3d_s2.compression import COMPRESSORS
from sparse3d.sparse_conv import default_chunk_bytes, row_slices
from sparse3d.voxels import Voxels
from sparse3d.windows import Windows, attend_in_windows, windows_of


@dataclass(frozen=True)
class AttentionSizes:
    """heads of queries share key_heads; blocks and window in voxels per side; selected: how many
    blocks a token reads whole; compressor: "v1" or "v2"."""

    width: int
    heads: int
    key_heads: int
    compression_block: int
    selection_block: int
    selected: int
    compressor: str
    window: int = 8

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True, eq=False)
class TokenPlan:
    """What the attention of all layers and steps needs to know of the tokens' places.

    compressed, selection: tokens by the two sizes of block. summary_blocks: compressed blocks by
    the selection block around them. inner (N, 3) int64: places within a compressed block. windows:
    by shift.
    """

    voxels: Voxels
    compressed: Blocks
    selection: Blocks
    summary_blocks: Blocks
    inner: Tensor
    windows: Mapping[int, Windows]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each object."""
        return self.voxels.lengths


def plan_tokens(voxels: Voxels, sizes: AttentionSizes, shifts: set[int]) -> TokenPlan:
    """Sort tokens into blocks and windows; their rows may come in any order within an object."""
    coords = voxels.coords
    compressed = blocks_of(coords, sizes.compression_block)
    ratio = sizes.selection_block // sizes.compression_block
    return TokenPlan(
        voxels,
        compressed,
        blocks_of(coords, sizes.selection_block),
        blocks_of(compressed.voxels.coords, ratio),
        coords[:, 1:].long() % sizes.compression_block,
        {shift: windows_of(coords, sizes.window, shift) for shift in sorted(shifts)},
    )


@dataclass(frozen=True, eq=False)
class Heads:
    """What attention works on: q (N, H, d); k, v (N, K, d) of the tokens; summary_k, summary_v
    (M, K, d) of the compressed blocks. H is a multiple of K: head h reads key head h // (H / K)."""

    q: Tensor
    k: Tensor
    v: Tensor
    summary_k: Tensor
    summary_v: Tensor


@dataclass(frozen=True, eq=False)
class Item:
    """One object: its rows, its compressed and its selection blocks, as slices of all."""

    rows: slice
    summaries: slice
    blocks: slice


AttendBlocks = Callable[[Heads, TokenPlan, int], tuple[Tensor, Tensor]]


class SpatialSparseAttention(nn.Module):
    """(N, C) tokens to (N, C). shift: of the windows, in voxels."""

    def __init__(self, sizes: AttentionSizes, shift: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.sizes, self.shift = sizes, shift
        self.attend_blocks: AttendBlocks = attend_blocks
        queries, keys = sizes.heads * sizes.head_dim, sizes.key_heads * sizes.head_dim
        self.proj_q = nn.Linear(sizes.width, queries, bias=False, dtype=dtype)
        self.proj_k = nn.Linear(sizes.width, keys, bias=False, dtype=dtype)
        self.proj_v = nn.Linear(sizes.width, keys, bias=False, dtype=dtype)
        self.proj_o = nn.Linear(queries, sizes.width, bias=False, dtype=dtype)
        compressor = COMPRESSORS[sizes.compressor]
        self.compression_key = compressor(keys, dtype)
        self.compression_value = compressor(keys, dtype)
        side = sizes.compression_block
        self.intra_block_pe = nn.Parameter(torch.zeros(side, side, side, keys))
        self.gate = nn.Sequential(nn.Linear(sizes.width, 3, bias=False, dtype=dtype), nn.Sigmoid())

    def forward(self, x: Tensor, plan: TokenPlan) -> Tensor:
        heads = self.heads_of(x, plan)
        compressed, selected = self.attend_blocks(heads, plan, self.sizes.selected)
        windowed = attend_in_windows(heads.q, heads.k, heads.v, plan.windows[self.shift])
        gates = self.gate(x)[:, :, None, None]
        mixed = gates[:, 0] * compressed + gates[:, 1] * selected + gates[:, 2] * windowed
        return self.proj_o(mixed.flatten(1))

    def heads_of(self, x: Tensor, plan: TokenPlan) -> Heads:
        """Queries, keys and values of the tokens, and the summaries of their blocks."""
        k, v = self.proj_k(x), self.proj_v(x)
        place = self.intra_block_pe[plan.inner.unbind(-1)].to(x.dtype)
        summary_k = self.compression_key(k + place, plan.voxels, plan.compressed)
        summary_v = self.compression_value(v, plan.voxels, plan.compressed)
        split = (-1, self.sizes.head_dim)
        return Heads(
            self.proj_q(x).unflatten(-1, split),
            *(t.unflatten(-1, split) for t in (k, v, summary_k, summary_v)),
        )


def attend_blocks(heads: Heads, plan: TokenPlan, selected: int) -> tuple[Tensor, Tensor]:
    """Attention to the summaries, and to all tokens of the blocks that get the largest part of it.

    Returns two (N, H, d). A block's score is the attention that its summaries get from all query
    heads of a key head; ties go to whichever torch's top-k names.
    """
    compressed, found = torch.empty_like(heads.q), torch.empty_like(heads.q)
    for item in _items(plan):
        largest = _largest_selection(plan, item, selected)
        for rows in row_slices(
            item.rows.stop - item.rows.start,
            _row_bytes(heads, item, largest),
            default_chunk_bytes(heads.q.device),
        ):
            mine = slice(item.rows.start + rows.start, item.rows.start + rows.stop)
            q = _by_key_head(heads.q[mine], heads.k.shape[1])
            compressed[mine], chosen = _read_summaries(q, heads, plan, item, selected)
            found[mine] = _read_chosen(q, heads, plan, chosen)
    return compressed, found


def _items(plan: TokenPlan) -> list[Item]:
    parts = (plan.voxels, plan.compressed.voxels, plan.selection.voxels)
    ends = [torch.tensor((0, *part.lengths)).cumsum(0).tolist() for part in parts]
    return [
        Item(*(slice(e[i], e[i + 1]) for e in ends))
        for i, count in enumerate(plan.lengths)
        if count
    ]


def _largest_selection(plan: TokenPlan, item: Item, selected: int) -> int:
    """The most tokens that a query of the object may have to read."""
    counts = plan.selection.counts[item.blocks]
    return int(counts.topk(min(selected, len(counts))).values.sum())


def _row_bytes(heads: Heads, item: Item, largest: int) -> int:
    """Working memory per query: logits and softmax of the summaries, and the tokens read whole."""
    (_, count, head_dim), key_heads = heads.q.shape, heads.k.shape[1]
    summaries = item.summaries.stop - item.summaries.start
    read = key_heads * largest * (2 * head_dim * heads.k.element_size() + 5 * 8)
    return 4 * count * (3 * summaries + 2 * largest) + read


def _by_key_head(q: Tensor, key_heads: int) -> Tensor:
    """Queries (Q, H, d) as (K, Q, H / K, d)."""
    return q.unflatten(1, (key_heads, -1)).transpose(0, 1)


def _read_summaries(
    q: Tensor, heads: Heads, plan: TokenPlan, item: Item, selected: int
) -> tuple[Tensor, Tensor]:
    """Attention of queries (K, Q, G, d) to all summaries: (Q, H, d), and the chosen blocks
    (K, Q, S) int64, their numbers ascending."""
    k, v = (t[item.summaries].transpose(0, 1) for t in (heads.summary_k, heads.summary_v))
    flat = q.flatten(1, 2)
    logits = (flat @ k.transpose(1, 2)).float() * q.shape[-1] ** -0.5
    weights = logits.softmax(-1)
    output = (weights.to(v.dtype) @ v).view_as(q).transpose(0, 1).flatten(1, 2)
    scores = weights.view(*q.shape[:3], -1).sum(2)
    if len(plan.summary_blocks.counts) != len(plan.compressed.counts):
        scores = _scores_of_blocks(scores, plan, item)
    chosen = scores.topk(min(selected, scores.shape[-1]), -1).indices.sort(-1).values
    return output, chosen + item.blocks.start


def _scores_of_blocks(scores: Tensor, plan: TokenPlan, item: Item) -> Tensor:
    """Scores of summaries (K, Q, M) summed over the selection blocks around them: (K, Q, S)."""
    block = plan.summary_blocks.block[item.summaries] - item.blocks.start
    counts = plan.summary_blocks.counts[item.blocks]
    own = Blocks(plan.voxels, block, block.argsort(stable=True), counts)
    return block_sums(scores.permute(2, 0, 1), own).permute(1, 2, 0)


def _read_chosen(q: Tensor, heads: Heads, plan: TokenPlan, chosen: Tensor) -> Tensor:
    """Attention of queries (K, Q, G, d) to all tokens of their chosen blocks (K, Q, S): (Q, H, d).

    The tokens of a query's blocks are gathered one block after the other, and padded to the
    longest list of these queries.
    """
    blocks = plan.selection
    counts = blocks.counts[chosen]
    ends = counts.cumsum(-1)
    length = int(ends[..., -1].max())
    places = torch.arange(length, device=q.device).expand(*ends.shape[:2], -1).contiguous()
    slot = torch.searchsorted(ends, places, right=True).clamp_(max=chosen.shape[-1] - 1)
    offset = (blocks.starts[chosen] - ends + counts).gather(-1, slot)
    valid = places < ends[..., -1:]
    rows = blocks.order[torch.where(valid, places + offset, 0)]
    k, v = (
        torch.stack([t[rows[head], head] for head in range(len(rows))]) for t in (heads.k, heads.v)
    )
    output = F.scaled_dot_product_attention(q, k, v, valid[:, :, None])
    return output.transpose(0, 1).flatten(1, 2)


def attend_blocks_by_masks(heads: Heads, plan: TokenPlan, selected: int) -> tuple[Tensor, Tensor]:
    """The readable twin of `attend_blocks`: all logits of an object at once, masked."""
    group = heads.q.shape[1] // heads.k.shape[1]
    compressed, found = torch.empty_like(heads.q), torch.empty_like(heads.q)
    for item in _items(plan):
        q = heads.q[item.rows].transpose(0, 1).float()
        k, v, summary_k, summary_v = (
            t.transpose(0, 1).repeat_interleave(group, 0).float()
            for t in (
                heads.k[item.rows], heads.v[item.rows],
                heads.summary_k[item.summaries], heads.summary_v[item.summaries],
            )
        )  # fmt: skip
        scale = q.shape[-1] ** -0.5
        weights = (q @ summary_k.transpose(1, 2) * scale).softmax(-1)
        compressed[item.rows] = (weights @ summary_v).transpose(0, 1).to(heads.q.dtype)
        count = item.blocks.stop - item.blocks.start
        owner = plan.summary_blocks.block[item.summaries] - item.blocks.start
        inside = F.one_hot(owner, count).float()
        scores = (weights @ inside).unflatten(0, (-1, group)).sum(1)
        chosen = torch.zeros_like(scores, dtype=torch.bool)
        chosen.scatter_(-1, scores.topk(min(selected, count), -1).indices, True)
        token_block = plan.selection.block[item.rows] - item.blocks.start
        readable = chosen[:, :, token_block].repeat_interleave(group, 0)
        logits = (q @ k.transpose(1, 2) * scale).masked_fill(~readable, -torch.inf)
        found[item.rows] = (logits.softmax(-1) @ v).transpose(0, 1).to(heads.q.dtype)
    return compressed, found
