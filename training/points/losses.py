"""How wrong is a point map? Losses to train by, and the figures of the learning curve."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from training.common.task import Loss
from training.points.batches import MAX_OBJECTS, PartBatch
from training.points.network import Output, perspective_field

OBJECTS_WEIGHT = 0.5  # of the depth's error that objects make up, however small they are
SLOPES, SHAPE, VALID, UP, FOCAL, FIELD = 1.0, 1.5, 0.15, 0.15, 0.1, 0.7


def loss_of(output: Output, batch: PartBatch) -> Loss:
    """Weighted sum; its parts as errors."""
    on_object = (batch.labels > 0).float() * batch.valid
    around = batch.valid - on_object
    error = (output.log_depth - batch.log_depth) * batch.valid
    error = (error - _medians(error.detach(), batch.valid)) * batch.valid
    both = [_mean(error.abs(), w) for w in (around, on_object)]
    depth = (1 - OBJECTS_WEIGHT) * both[0] + OBJECTS_WEIGHT * both[1]
    shape, whole = _within_objects(error, batch)
    angle = torch.acos((output.up * batch.up).sum(1).clamp(-0.9999, 0.9999))
    focal = (output.log_focal - batch.log_focal).abs()
    told_up = (angle / output.up_spread + output.up_spread.log()).mean()
    told_focal = (focal / output.focal_spread + output.focal_spread.log()).mean()
    valid = functional.binary_cross_entropy_with_logits(output.valid, batch.valid, batch.inside)
    total = depth + SLOPES * _slopes(error, batch) + SHAPE * (shape + whole) + VALID * valid
    total = total + UP * told_up + FOCAL * told_focal + FIELD * _field(output, batch)
    errors = {
        "depth": both[0], "objects": both[1], "shape": shape, "between": whole,
        "up_deg": torch.rad2deg(angle).mean(), "focal": focal.mean(),
    }  # fmt: skip
    return Loss(total, {n: e.detach() for n, e in errors.items()})


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Of all pixels that count, every picture alike."""
    each = (values * weights).sum((1, 2)) / weights.sum((1, 2)).clamp(min=1)
    there = (weights.sum((1, 2)) > 0).float()
    return (each * there).sum() / there.sum().clamp(min=1)


def _medians(values: Tensor, valid: Tensor) -> Tensor:
    """(B, 1, 1): of each picture's valid values."""
    holes = values.masked_fill(valid == 0, float("nan")).flatten(1)
    return torch.nan_to_num(holes.nanmedian(1).values)[:, None, None]


def _within_objects(error: Tensor, batch: PartBatch) -> tuple[Tensor, Tensor]:
    """Error of an object's pixels about its own mean; and of the objects' means about theirs."""
    member = functional.one_hot(batch.labels, MAX_OBJECTS + 1)[..., 1:].movedim(-1, 1).float()
    member = member * batch.valid[:, None]
    count = member.sum((2, 3))
    mean = (member * error[:, None]).sum((2, 3)) / count.clamp(min=1)
    spread = (member * (error[:, None] - mean[..., None, None]).abs()).sum((2, 3))
    spread = spread / count.clamp(min=1)
    there = (count >= 4).float()
    centre = (mean * there).sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp(min=1)
    between = ((mean - centre).abs() * there).sum() / there.sum().clamp(min=1)
    return (spread * there).sum() / there.sum().clamp(min=1), between


def _field(output: Output, batch: PartBatch) -> Tensor:
    """Error of the perspective field in the cells that show the photo."""
    x, y, inside = functional.avg_pool2d(batch.grid[:, :3], 8).unbind(1)
    right = perspective_field(batch.up, batch.log_focal, x, y)
    return _mean((output.field - right).abs().sum(1), inside)


def _slopes(error: Tensor, batch: PartBatch) -> Tensor:
    """Differences of neighbours' errors; steps of the depth itself are not drawn into them."""
    total = error.new_zeros(())
    for dim in (1, 2):
        size = error.shape[dim] - 1
        ahead, here = error.narrow(dim, 1, size), error.narrow(dim, 0, size)
        both = batch.valid.narrow(dim, 1, size) * batch.valid.narrow(dim, 0, size)
        total = total + ((ahead - here).abs().clamp(max=0.3) * both).sum() / both.sum().clamp(min=1)
    return total
