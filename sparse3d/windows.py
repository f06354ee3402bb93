"""Attention of sparse tokens within cubic windows of their grid, as Swin transformers have it.

Windows hold different numbers of tokens. They are cut into batches of similar lengths, each padded
to its longest window, so that a few batched calls serve all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from sparse3d.voxels import voxel_codes

# Of one padded batch: tokens, and the logits of one head. Both bound the working memory.
BATCH_TOKENS, BATCH_LOGITS = 1 << 16, 1 << 24


@dataclass(frozen=True, eq=False)
class WindowBatch:
    """Some windows: rows (W, L) int64 of their tokens, and valid (W, L) bool, None where no window
    of the batch is padded."""

    rows: Tensor
    valid: Tensor | None


@dataclass(frozen=True, eq=False)
class Windows:
    """Tokens by window: order (N,) int64 lists the rows of one window after the other; lengths
    says how many belong to each."""

    order: Tensor
    lengths: tuple[int, ...]

    @cached_property
    def batches(self) -> tuple[WindowBatch, ...]:
        """All windows in padded batches, the longest first; computed once for all layers."""
        lengths = torch.tensor(self.lengths)
        starts = lengths.cumsum(0) - lengths
        by_length = lengths.argsort(descending=True, stable=True)
        batches, first = [], 0
        while first < len(by_length):
            longest = int(lengths[by_length[first]])
            count = max(1, min(BATCH_TOKENS // longest, BATCH_LOGITS // longest**2))
            mine = by_length[first : first + count]
            batches.append(self._batch(starts[mine], lengths[mine], longest))
            first += count
        return tuple(batches)

    def _batch(self, starts: Tensor, lengths: Tensor, longest: int) -> WindowBatch:
        places = torch.arange(longest)
        valid = places < lengths[:, None]
        rows = torch.where(valid, starts[:, None] + places, starts[:, None])
        device = self.order.device
        padded = not bool(valid.all())
        return WindowBatch(self.order[rows.to(device)], valid.to(device) if padded else None)


def windows_of(coords: Tensor, size: int, shift: int = 0) -> Windows:
    """Sort tokens into the windows of a grid.

    coords: (N, 4) int (batch, x, y, z). size: of a window, in cells per axis. shift is added to the
    coordinates before they are divided by the size (TRELLIS 1, and Direct3D-S2, commit a1cf235,
    modules/sparse/attention/windowed_attn.py).
    """
    if not len(coords):
        return Windows(coords.new_zeros(0, dtype=torch.int64), ())
    cells = coords.clone()
    cells[:, 1:] = (cells[:, 1:] + shift) // size
    codes, _ = voxel_codes(cells, margin=0)
    ordered, order = codes.sort(stable=True)
    counts = torch.unique_consecutive(ordered, return_counts=True)[1]
    return Windows(order, tuple(counts.tolist()))


def attend_in_windows(q: Tensor, k: Tensor, v: Tensor, windows: Windows) -> Tensor:
    """Softmax attention within each window: q (N, H, d); k, v (N, K, d) -> (N, H, d).

    H is a multiple of K: query head h reads key head h // (H / K).
    """
    output = torch.empty_like(q)
    group = q.shape[1] // k.shape[1]
    for batch in windows.batches:
        queries = q[batch.rows].transpose(1, 2)
        keys, values = (t[batch.rows].transpose(1, 2).repeat_interleave(group, 1) for t in (k, v))
        mask = None if batch.valid is None else batch.valid[:, None, None]
        found = F.scaled_dot_product_attention(queries, keys, values, mask).transpose(1, 2)
        if batch.valid is None:
            output[batch.rows.flatten()] = found.flatten(0, 1)
        else:
            output[batch.rows[batch.valid]] = found[batch.valid]
    return output


def attend_window_by_window(q: Tensor, k: Tensor, v: Tensor, windows: Windows) -> Tensor:
    """The readable twin of `attend_in_windows`: one window after the other."""
    output = torch.empty_like(q)
    group = q.shape[1] // k.shape[1]
    for rows in windows.order.split(list(windows.lengths)):
        queries = q[rows].transpose(0, 1)
        keys, values = (t[rows].transpose(0, 1).repeat_interleave(group, 0) for t in (k, v))
        scores = queries @ keys.transpose(1, 2) / q.shape[-1] ** 0.5
        output[rows] = (scores.softmax(-1) @ values).transpose(0, 1)
    return output
