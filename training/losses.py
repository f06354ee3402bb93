"""What is the lite network trained to get right? Layers, their slopes, gaps and colours."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as functional
from torch import Tensor

FRONT, GAP_DEPTH, BACK = 6.0, 3.0, 4.5  # of the mean absolute errors of depth
SLOPE = 1.0  # of errors between neighbours, relative to those of the depths
COVERED = 0.2  # of a cell: one pixel of four
SOLID, GAP, COLOUR, INNER = 0.3, 0.5, 0.6, 0.2


@dataclass(frozen=True, eq=False)
class Target:
    """`augment.Truth` as tensors; back and inner (B, 3, H, H)."""

    depths: Tensor
    solid: Tensor
    gap: Tensor
    back: Tensor
    inner: Tensor


@dataclass(frozen=True, eq=False)
class Loss:
    """The sum to minimise, and mean absolute errors of first and last surface."""

    total: Tensor
    front: Tensor
    back: Tensor


def loss_of(output: Tensor, target: Target) -> Loss:
    """Errors are means over the cells that the object covers by a pixel at least, in the batch."""
    solid = (target.solid > COVERED).to(output.dtype)
    gap = (target.gap > 0.25).to(output.dtype)
    front, front_slope = _depth_errors(output[:, 0], target.depths[:, 0], solid)
    back, back_slope = _depth_errors(output[:, 3], target.depths[:, 3], solid)
    near = _masked_mean((output[:, 1] - target.depths[:, 1]).abs(), gap)
    far = _masked_mean((output[:, 2] - target.depths[:, 2]).abs(), gap)
    share = target.gap / target.solid.clamp(min=1e-3)
    is_gap = functional.binary_cross_entropy_with_logits(
        output[:, 4], share.clamp(0, 1), weight=solid, reduction="sum"
    ) / solid.sum().clamp(min=1)
    is_solid = functional.binary_cross_entropy_with_logits(output[:, 5], target.solid)
    back_colour = _masked_mean((output[:, 6:9] - target.back).abs().mean(1), solid)
    inner_colour = _masked_mean((output[:, 9:12] - target.inner).abs().mean(1), gap)
    total = (
        FRONT * (front + SLOPE * front_slope)
        + BACK * (back + SLOPE * back_slope)
        + GAP_DEPTH * (near + far)
        + SOLID * is_solid + GAP * is_gap + COLOUR * back_colour + INNER * inner_colour
    )  # fmt: skip
    return Loss(total, front.detach(), back.detach())


def _depth_errors(found: Tensor, true: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute error, and that of the differences between neighbours."""
    error, count = found - true, mask.sum().clamp(min=1)
    across = (error[..., 1:] - error[..., :-1]).abs() * mask[..., 1:] * mask[..., :-1]
    down = (error[..., 1:, :] - error[..., :-1, :]).abs() * mask[..., 1:, :] * mask[..., :-1, :]
    return _masked_mean(error.abs(), mask), (across.sum() + down.sum()) / count


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)
