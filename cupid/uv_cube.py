"""From the structure latent to occupied voxels and where each of them appears in the image.

Cupid, commit 10af9b2, pipelines/processing.py, `SparseStructureDecoder`. Both decoders are dense
(`sparse3d.structure_vae`): one has a channel of occupancy logits, the other a logit of its own mask
and two whose sigmoid is uv in [0, 1] of the crop. Occlusion does not matter: every voxel on a ray
has the same uv.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparse3d.voxels import Voxels

MIN_PAIRS = 10  # fewer voxels than these make no pose
THRESHOLD_STEP = 0.05


@dataclass(frozen=True, eq=False)
class UvCube:
    """voxels of a grid of `side` along each axis, whose uv (N, 2) float32 in [0, 1] are known."""

    voxels: Voxels
    uv: Tensor
    side: int


def read_uv_cube(
    occupancy: Tensor,
    cube: Tensor,
    own_mask: bool = False,
    min_pairs: int = MIN_PAIRS,
    threshold_step: float = THRESHOLD_STEP,
) -> UvCube:
    """The uv of the occupied voxels.

    occupancy: (B, 1, X, Y, Z) logits; cube: (B, 3, X, Y, Z) logits of mask, u and v. own_mask: the
    cube's own mask says which voxels instead. While an object has fewer than min_pairs of them its
    threshold comes down by threshold_step. Raises ValueError for a grid with fewer cells.
    """
    logits = cube[:, 0] if own_mask else occupancy[:, 0]
    if logits[0].numel() < min_pairs:
        raise ValueError(f"a grid of {logits[0].numel()} cells has no {min_pairs} voxels")
    thresholds = torch.tensor([_threshold(one, min_pairs, threshold_step) for one in logits])
    active = logits > thresholds.to(logits.device).view(-1, 1, 1, 1)
    voxels = Voxels(active.nonzero().int())
    item, x, y, z = voxels.coords.long().unbind(1)
    return UvCube(voxels, cube[:, 1:].sigmoid()[item, :, x, y, z], cube.shape[-1])


def _threshold(logits: Tensor, min_pairs: int, step: float) -> float:
    """The highest of 0, -step, -2 step ... that enough logits are above."""
    threshold = 0.0
    while int((logits > threshold).sum()) < min_pairs:
        threshold -= step
    return threshold
