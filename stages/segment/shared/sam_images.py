"""Between photos and the SAM networks: their input image, masks at photo size, pooled boxes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scene.errors import BadWeights
from scene.types import Float32, Uint8

if TYPE_CHECKING:
    from torch import Tensor

Precision = Literal["official", "bfloat16", "float32"]
# Where a folder keeps what its processor was trained with; newer folders have the first.
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")


@dataclass(frozen=True)
class Normalization:
    """What is taken off the colours (in [0, 1], per channel), and what they are divided by."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


# Sam3ImageProcessor and Sam2ImageProcessor of transformers.
STANDARD = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def normalization_of(folder: Path, official: Normalization) -> Normalization:
    """The normalization that a folder of weights asks for, the official one where it is silent.

    Raises BadWeights for a processor file that cannot be read.
    """
    for name in PROCESSOR_FILES:
        file = folder / name
        if not file.is_file():
            continue
        try:
            told = json.loads(file.read_text("utf-8"))
            told = told.get("image_processor", told)
            mean, deviation = told.get("image_mean"), told.get("image_std")
            if mean and deviation:
                return Normalization(_three(mean), _three(deviation))
        except (ValueError, TypeError, AttributeError) as error:
            raise BadWeights(f"{file} cannot be read ({error}): download it again") from None
    return official


def network_image(rgb: Uint8, side_px: int, normalization: Normalization) -> Tensor:
    """(H, W, 3) uint8 sRGB -> (1, 3, side, side) float32, as the official processors make it.

    The photo is squeezed into the square, and rounded to bytes in between, as they do.
    """
    import torch
    from torch.nn.functional import interpolate

    planes = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))[None]
    square = interpolate(planes, (side_px, side_px), mode="bilinear", antialias=True)
    mean = torch.tensor(normalization.mean).view(1, 3, 1, 1)
    deviation = torch.tensor(normalization.deviation).view(1, 3, 1, 1)
    return (square.float() / 255 - mean) / deviation


def uses_bfloat16(precision: Precision, device: str) -> bool:
    """Whether the large encoders run in bfloat16: officially on CUDA, not on a CPU."""
    return precision == "bfloat16" or (precision == "official" and device.startswith("cuda"))


def in_bfloat16(network: Any) -> None:
    """Turn the weights of a network (a `torch.nn.Module`) into bfloat16, in place.

    Its buffers stay: they hold positions, which bfloat16 cannot tell apart.
    """
    import torch

    for weight in network.parameters():
        weight.data = weight.data.to(torch.bfloat16)


def at_photo_size(values: Tensor, height: int, width: int) -> Float32:
    """(h, w) values of a mask decoder -> (height, width) float32 on the CPU, bilinear."""
    from torch.nn.functional import interpolate

    planes = values.float()[None, None]
    return interpolate(planes, (height, width), mode="bilinear")[0, 0].cpu().numpy()


def roi_align(features: Tensor, boxes: Sequence[Tensor], output_size: int) -> Tensor:
    """Average the features inside boxes: `torchvision.ops.roi_align` with its defaults, in torch.

    features (B, C, H, W); boxes: per picture (K, 4) as x0, y0, x1, y1 in pixels of the features.
    Returns (sum of K, C, output_size, output_size). Bilinear samples on a grid are a product of
    one matrix per axis, so nothing is gathered.
    """
    import torch

    pooled = []
    for plane, own in zip(features.float(), boxes, strict=True):
        for x0, y0, x1, y1 in own.float():
            across = _bin_weights(x0, x1, output_size, plane.shape[-1])
            down = _bin_weights(y0, y1, output_size, plane.shape[-2])
            pooled.append(torch.einsum("ph,chw,qw->cpq", down, plane, across))
    empty = features.new_zeros((0, features.shape[1], output_size, output_size))
    return torch.stack(pooled).to(features.dtype) if pooled else empty


def _bin_weights(start: Tensor, end: Tensor, bins: int, length: int) -> Tensor:
    """(bins, length): how much every pixel of an axis adds to the mean of each bin of a range.

    Samples more than a pixel outside count as zero, nearer ones as the border (Detectron's rule).
    """
    import torch

    extent = (end - start).clamp(min=1)
    per_bin = max(int(torch.ceil(extent / bins)), 1)
    steps = torch.arange(bins * per_bin, device=start.device) + 0.5
    at = start + steps * extent / (bins * per_bin)
    counted = ((at >= -1) & (at <= length)).float()
    at = at.clamp(0, length - 1)
    low = at.floor().long()
    high = (low + 1).clamp(max=length - 1)
    share = (at - low) * counted
    weights = torch.zeros(bins * per_bin, length, device=start.device)
    weights.scatter_add_(1, low[:, None], (counted - share)[:, None])
    weights.scatter_add_(1, high[:, None], share[:, None])
    return weights.view(bins, per_bin, length).mean(1)


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(v) for v in values)
    return red, green, blue
