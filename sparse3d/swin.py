"""A transformer over sparse voxels whose tokens attend within the windows of a shifted grid.

What the encoder and the decoders of structured latents begin with (microsoft/TRELLIS, commit
6b0d647, models/structured_latent_vae/base.py, `attn_mode` swin).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparse3d.positions import sin_cos_positions
from sparse3d.transformer import BLOCK_NORM_EPS, FeedForward, SelfAttention
from sparse3d.voxels import Voxels
from sparse3d.windows import Windows, attend_in_windows, windows_of


@dataclass(frozen=True)
class SwinConfig:
    """Sizes of the transformer; the defaults are those of the released structured latents.

    window: side in voxels; every second block has its grid moved by half of it. normed: whether
    queries and keys are.
    """

    in_channels: int
    width: int = 768
    blocks: int = 12
    heads: int = 12
    mlp_ratio: float = 4
    window: int = 8
    normed: bool = False


class SwinTransformer(nn.Module):
    """First layer, absolute positions, blocks; body_dtype is the type of the blocks."""

    def __init__(self, config: SwinConfig, body_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.swin, self.body_dtype = config, body_dtype
        self.input_layer = nn.Linear(config.in_channels, config.width)
        self.blocks = nn.ModuleList(SwinBlock(config, body_dtype) for _ in range(config.blocks))

    def transform(self, features: Tensor, voxels: Voxels) -> Tensor:
        """Features (N, in_channels) float32 of the voxels to (N, width) of the body's type."""
        coords, window = voxels.coords, self.swin.window
        grids = [windows_of(coords, window, shift) for shift in (0, window // 2)]
        positions = sin_cos_positions(coords[:, 1:], self.swin.width)
        hidden = (self.input_layer(features) + positions).to(self.body_dtype)
        for number, block in enumerate(cast("Iterable[SwinBlock]", self.blocks)):
            hidden = block(hidden, grids[number % 2])
        return hidden


class SwinBlock(nn.Module):
    """Attention within windows and feed-forward, each after a layer norm without gain."""

    def __init__(self, config: SwinConfig, dtype: torch.dtype) -> None:
        super().__init__()
        self.attn = SelfAttention(config.width, config.heads, config.normed, dtype)
        self.mlp = FeedForward(config.width, int(config.width * config.mlp_ratio), dtype)

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        q, k, v = self.attn.qkv(_normed(x))
        x = x + self.attn.to_out(attend_in_windows(q, k, v, windows).flatten(1))
        return x + self.mlp(_normed(x))


def _normed(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=BLOCK_NORM_EPS)
