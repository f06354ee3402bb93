"""The lite generator's network: a picture of one object -> its layers along every pixel's ray.

A U-Net whose depth maps have half the picture's resolution. The finest head adds detail to what a
head one level lower says, so that the object's pose is settled where the receptive field is large.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from training.common.layers import GROUPS, UNet, of_seed

INPUTS = 11  # see `stages.generate.lite.layered.network_input`
LAYERS = 4  # first surface, near and far end of the gap, last surface
OUTPUTS = LAYERS + 2 + 6  # ... logits of gap and object, colours of the last surface and in the gap
CHANNELS = (24, 48, 96, 160)
DEPTH_GAIN = 0.3  # raw outputs of size one are a third of the cube's side
DEPTH_START = (-0.15, 0.0, 0.1, 0.15)  # where the layers lie before anything is learned


class LayeredDepth(UNet):
    """The network; see the module's docstring."""

    def __init__(self, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__(INPUTS, channels)
        self.fine = nn.Sequential(
            nn.GroupNorm(GROUPS, channels[0]), nn.SiLU(),
            nn.Conv2d(channels[0], 48, 3, padding=1), nn.SiLU(), nn.Conv2d(48, OUTPUTS, 1),
        )  # fmt: skip
        self.coarse = nn.Sequential(
            nn.GroupNorm(GROUPS, channels[1]), nn.SiLU(), nn.Conv2d(channels[1], OUTPUTS, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 11, S, S) inputs, S a multiple of 16 -> (B, 12, S/2, S/2).

        Channels of the result: z of the four layers; logits of "there is a gap" and "the object is
        here"; sRGB in [0, 1] of the last surface and of the gap's far end.
        """
        fine, coarse = self.features(x)[:2]
        low = functional.interpolate(
            self.coarse(coarse), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        raw = self.fine(fine) + low
        start = raw.new_tensor(DEPTH_START).view(1, LAYERS, 1, 1)
        depths = start + DEPTH_GAIN * raw[:, :LAYERS]
        colours = raw[:, LAYERS + 2 :].sigmoid()
        return torch.cat([depths, raw[:, LAYERS : LAYERS + 2], colours], 1)


def new_network(seed: int, channels: tuple[int, ...] = CHANNELS) -> LayeredDepth:
    """A network with the initial weights of a seed; the global generator is left as it was."""
    return of_seed(seed, lambda: LayeredDepth(channels))
