"""The point map network: a photo -> depth over the ground, validity, gravity, focal length.

Its first stages are those of the detector NanoDet-g, tuned. It is asked twice: for the camera, and
then, given the depths that this camera means for the level ground and for the objects as blocks on
it, for the depth of everything: those where they hold, corrected or other ones elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from stages.map_points.lite.objects import CHANNELS as OBJECT_CHANNELS
from training.common.layers import Attention, Residual, of_seed

GRID_CHANNELS = 5  # see `stages.map_points.lite.network.network_grid`
SLOPE = 0.1
STAGES = ((32, 1, 1), (64, 2, 2), (128, 2, 2))  # channels, repeats, stride, as in NanoDet-g
DEEP, AT_16, AT_8, AT_4 = 128, 96, 64, 48
START_LOG_FOCAL = 0.0  # over the longer side: about 53 degrees
START_UP = (0.0, -0.85, -0.45)
MOMENTS = 6  # of the perspective field about the middle: 1, x, y, xx, xy, yy
START_FIRST, START_DEPTH = 1.0, 0.7  # logit that a first guess holds; log depth elsewhere
SMALLEST_SPREAD = 0.02


class Output(NamedTuple):
    """log_depth (B, h, w), the camera one above the ground; valid (B, h, w) logit; up (B, 3) unit,
    camera frame; up_spread (B,) radians; log_focal, focal_spread (B,): of the focal length over
    the longer side; field (B, 3, h / 8, w / 8): see `perspective_field`."""

    log_depth: Tensor
    valid: Tensor
    up: Tensor
    up_spread: Tensor
    log_focal: Tensor
    focal_spread: Tensor
    field: Tensor


def perspective_field(up: Tensor, log_focal: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(B, 3, h, w): which way up points in the picture, and how high a ray looks, at x, y.

    Jin et al., "Perspective Fields for Single Image Camera Calibration", CVPR 2023, section 3, not
    normalized, so that it is smooth where the camera looks straight down. up (B, 3); log_focal
    (B,); x, y (B, h, w) over the longer side, as the focal length.
    """
    f = log_focal.exp()[:, None, None]
    a, b, c = up[:, :, None, None].unbind(1)
    length = (x**2 + y**2 + f**2).sqrt()
    return torch.stack([f * a - x * c, f * b - y * c, a * x + b * y + c * f], 1) / length[:, None]


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 and a leaky rectifier, as all layers of the backbone are."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.LeakyReLU(SLOPE))


class CrossStage(nn.Module):
    """A stage of the backbone (Wang et al. 2020, "CSPNet"): C inputs -> 2 C, beside a shortcut."""

    def __init__(self, inputs: int, channels: int, repeats: int, stride: int) -> None:
        super().__init__()
        half = channels // 2
        self.first = convolution(inputs, channels, stride)
        self.repeats = nn.ModuleList(
            nn.ModuleList([convolution(channels, half), convolution(half, half)])
            for _ in range(repeats)
        )
        self.last = convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) -> (B, 2 C, H / stride, W / stride)."""
        x = self.first(x)
        h = x
        for narrow, again in self.repeats:  # type: ignore[misc]
            h = narrow(h)
            h = torch.cat([again(h), h], 1)
        return torch.cat([self.last(h), x], 1)


class Backbone(nn.Module):
    """NanoDet-g up to stride 16: features at strides 4, 8 and 16 with 64, 128 and 256 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(3, 32, 2), nn.MaxPool2d(3, 2, 1))
        inputs, stages = 32, []
        for channels, repeats, stride in STAGES:
            stages.append(CrossStage(inputs, channels, repeats, stride))
            inputs = 2 * channels
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) as `stages.segment.lite.detector.network_tensor` makes it."""
        x = self.stem(x)
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class PointMapNetwork(nn.Module):
    """The network; see the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        grid, place = GRID_CHANNELS, GRID_CHANNELS + OBJECT_CHANNELS
        self.deepen = nn.Conv2d(256 + grid, DEEP, 3, 2, 1)
        self.deep = nn.Sequential(
            Residual(DEEP, DEEP), Attention(DEEP), Residual(DEEP, DEEP), Attention(DEEP)
        )
        self.narrow = nn.ModuleList(
            nn.Conv2d(i, o, 1) for i, o in ((256, AT_16), (128, AT_8), (64, AT_4 - 16))
        )
        self.up = nn.ModuleList(
            nn.Sequential(convolution(i, o), Residual(o, o))
            for i, o in (
                (DEEP + AT_16 + place, AT_16),
                (AT_16 + AT_8 + place, AT_8),
                (AT_8 + AT_4 - 16 + place, AT_4),
            )
        )
        self.head = nn.Sequential(
            nn.GroupNorm(8, AT_4), nn.SiLU(), nn.Conv2d(AT_4, 32, 3, padding=1),
            nn.GroupNorm(8, 32), nn.SiLU(), nn.Conv2d(32, 4, 1),
        )  # fmt: skip
        self.attend = nn.Conv2d(DEEP, 4, 1)
        self.field = nn.Conv2d(DEEP, 4, 1)
        self.camera = nn.Sequential(
            nn.Linear(5 * DEEP + 4 * MOMENTS, 128), nn.SiLU(),
            nn.Linear(128, 64), nn.SiLU(), nn.Linear(64, 6),
        )  # fmt: skip
        nn.init.zeros_(self.head[-1].weight)  # type: ignore[arg-type]
        with torch.no_grad():
            start = torch.tensor([START_FIRST, START_DEPTH, 2.0, 0.0])
            self.head[-1].bias.copy_(start)  # type: ignore[operator]
            last = self.camera[-1]
            last.weight.mul_(0.1)  # type: ignore[operator]
            last.bias.copy_(torch.tensor([*START_UP, -1.5, START_LOG_FOCAL, -1.5]))  # type: ignore[operator]

    def forward(self, image: Tensor, grid: Tensor, objects: Tensor) -> Output:
        """Answers at stride 4; those about the camera do not depend on the objects.

        image (B, 3, H, W), sides multiples of 32; grid (B, 5, H/4, W/4); objects (B, 5, H/4, W/4):
        see `stages.map_points.lite.objects.object_cells`.
        """
        at_4, at_8, at_16 = self.backbone(image)
        grids = [grid]
        for _ in range(3):
            grids.append(functional.avg_pool2d(grids[-1], 2))
        h = self.deep(self.deepen(torch.cat([at_16, grids[2]], 1)))
        field = self.field(h)
        camera = self._camera(h, field, grids[3])
        places = [torch.cat([grid, objects], 1)]
        for _ in range(2):
            places.append(functional.avg_pool2d(places[-1], 2))
        levels = ((at_16, places[2]), (at_8, places[1]), (at_4, places[0]))
        for narrow, up, (skipped, place) in zip(self.narrow, self.up, levels, strict=True):
            h = functional.interpolate(h, scale_factor=2.0, mode="nearest")
            h = up(torch.cat([h, narrow(skipped), place], 1))
        # Sixteen bits are too few for a depth.
        with torch.autocast(h.device.type, enabled=False):
            dense = self.head(h.float())
        share = torch.sigmoid(dense[:, 0])
        ground, block, covered = objects[:, 0], objects[:, 1], objects[:, 2]
        first = torch.where(covered >= 0.5, block, ground) + dense[:, 3]
        return Output(
            share * first + (1 - share) * dense[:, 1],
            dense[:, 2],
            functional.normalize(camera[:, :3], dim=1),
            functional.softplus(camera[:, 3]) + SMALLEST_SPREAD,
            camera[:, 4],
            functional.softplus(camera[:, 5]) + SMALLEST_SPREAD,
            field[:, :3],
        )

    def _camera(self, h: Tensor, field: Tensor, grid: Tensor) -> Tensor:
        """(B, 6) from the deepest features: their mean, four means weighted by themselves, and
        moments of the perspective field, weighted by its fourth channel."""
        x, y, inside = grid[:, 0:1], grid[:, 1:2], grid[:, 2:3]
        hidden = torch.log(inside.clamp(min=1e-4))
        weights = (self.attend(h) + hidden).flatten(2).softmax(2)  # (B, 4, N)
        pooled = torch.einsum("bkn,bcn->bkc", weights, h.flatten(2)).flatten(1)
        mean = (h * inside).sum((2, 3)) / inside.sum((2, 3)).clamp(min=1e-4)
        x, y = 2 * x, 2 * y
        terms = torch.cat([torch.ones_like(x), x, y, x * x, x * y, y * y], 1).flatten(2)
        weight = (field[:, 3:] + hidden).flatten(2).softmax(2)
        values = torch.cat([field[:, :3].flatten(2), torch.ones_like(weight)], 1) * weight
        moments = torch.einsum("bcn,bkn->bck", values, terms).flatten(1)
        return self.camera(torch.cat([mean, pooled, moments], 1))


def new_network(seed: int, detector: Path) -> PointMapNetwork:
    """A network with the initial weights of a seed; the backbone's are the detector's."""
    network = of_seed(seed, PointMapNetwork)
    network.backbone.load_state_dict(backbone_weights(detector))
    return network


def backbone_weights(detector: Path) -> dict[str, Tensor]:
    """The backbone's weights from the file of NanoDet, whose convolutions are numbered in order."""
    import onnx
    from onnx import numpy_helper

    stored = {i.name: i for i in onnx.load(str(detector)).graph.initializer}
    names = [n for n, m in Backbone().named_modules() if isinstance(m, nn.Conv2d)]
    out = {}
    for i, name in enumerate(names):
        number = f"_{i}" if i else ""
        for ours, theirs in (
            ("weight", f"convolution{number}.weight"),
            ("bias", f"Add{number}.bias"),
        ):
            found = stored.get(f"{theirs}.half", stored.get(theirs))
            if found is None:
                raise ValueError(f"{detector}: no weights {theirs}")
            out[f"{name}.{ours}"] = torch.from_numpy(numpy_helper.to_array(found).copy()).float()
    return out
