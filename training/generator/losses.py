"""What is the lite network trained to get right? Layers, their slopes, gaps and colours."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor

from training.common.task import Loss

FRONT, GAP_DEPTH, BACK = 6.0, 3.0, 4.5  # of the mean absolute errors of depth
SLOPE = 1.0  # of errors between neighbours, relative to those of the depths
COVERED = 0.2  # of a cell: one pixel of four
SOLID, GAP, COLOUR, INNER = 0.3, 0.5, 0.6, 0.2
OVERLAP = 3.0  # of what the volumes' intersection over union lacks to one


class Target(NamedTuple):
    """`augment.Truth` as tensors; back and inner (B, 3, H, H)."""

    depths: Tensor
    solid: Tensor
    gap: Tensor
    back: Tensor
    inner: Tensor


def loss_of(output: Tensor, target: Target) -> Loss:
    """Errors are means over the cells that the object covers by a pixel at least, in the batch;
    those of first and last surface are named `front` and `back`."""
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
        + OVERLAP * (1 - overlap(output, target).mean())
        + SOLID * is_solid + GAP * is_gap + COLOUR * back_colour + INNER * inner_colour
    )  # fmt: skip
    return Loss(total, {"front": front.detach(), "back": back.detach()})


def overlap(output: Tensor, target: Target) -> Tensor:
    """(B,) intersection over union of the volumes that the layers enclose, along the true cells.

    Thin objects count as much as thick ones here, which mean errors of depth would not see.
    """
    front, near, far, back = output[:, :4].unbind(1)
    # A gap reaches no farther than the object: else emptiness could be counted as negative volume.
    near, far = torch.maximum(near, front), torch.minimum(far, back)
    true_front, true_near, true_far, true_back = target.depths.unbind(1)
    gap = output[:, 4].sigmoid()
    true_gap = (target.gap / target.solid.clamp(min=1e-3)).clamp(0, 1)

    def common(first: Tensor, last: Tensor) -> Tensor:
        """The length of a stretch that lies in the true object."""
        return _overlap_length(first, last, true_front, true_back) - true_gap * _overlap_length(
            first, last, true_near, true_far
        )

    found = functional.relu(back - front) - gap * functional.relu(far - near)
    true = true_back - true_front - true_gap * (true_far - true_near)
    both = common(front, back) - gap * common(near, far)
    sums = [(target.solid * v).sum((1, 2)) for v in (found, true, both)]
    return sums[2] / (sums[0] + sums[1] - sums[2]).clamp(min=1e-3)


def _overlap_length(first: Tensor, last: Tensor, other_first: Tensor, other_last: Tensor) -> Tensor:
    """The length that two stretches have in common."""
    nearer, farther = torch.maximum(first, other_first), torch.minimum(last, other_last)
    return functional.relu(farther - nearer)


def _depth_errors(found: Tensor, true: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute error, and that of the differences between neighbours."""
    error, count = found - true, mask.sum().clamp(min=1)
    across = (error[..., 1:] - error[..., :-1]).abs() * mask[..., 1:] * mask[..., :-1]
    down = (error[..., 1:, :] - error[..., :-1, :]).abs() * mask[..., 1:, :] * mask[..., :-1, :]
    return _masked_mean(error.abs(), mask), (across.sum() + down.sum()) / count


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)
