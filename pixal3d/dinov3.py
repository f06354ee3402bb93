"""DINOv3: the tokens of an image.

The vision transformer ViT-L/16 (DINOv3, 2025) under the tensor names of transformers 4.57, read as
Pixal3D does (commit cdbb2bb): the last layer's output through a LayerNorm without weights, not
through the network's own final norm.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparse3d.dinov2 import LayerScale
from sparse3d.errors import BadConfiguration
from sparse3d.rotary import cell_centres, rotary_tables, rotate

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DinoV3Config:
    """Sizes of the network; the defaults are ViT-L/16."""

    channels: int = 1024
    layers: int = 24
    heads: int = 16
    mlp_channels: int = 4096
    patch_size: int = 16
    registers: int = 4
    rope_theta: float = 100.0
    norm_epsilon: float = 1e-5


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """One image as the generator sees it.

    global_tokens: (T, C), the class token and the registers.
    patch_map: (C, h, w), one feature per patch.
    image: (3, R, R) float32 in [0, 1], which the features belong to.
    """

    global_tokens: Tensor
    patch_map: Tensor
    image: Tensor


class DinoV3(nn.Module):
    """The image encoder; float32.

    `norm` and `embeddings.mask_token` are part of every checkpoint and play no part here: they
    are kept so that loading can be strict.
    """

    def __init__(self, config: DinoV3Config) -> None:
        super().__init__()
        if config.channels % (4 * config.heads):
            raise BadConfiguration(
                f"channels per head must be a multiple of 4, got {config.channels} channels "
                f"in {config.heads} heads"
            )
        self.config = config
        self.embeddings = _Embeddings(config)
        self.layer = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.channels, config.norm_epsilon)

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> tokens (B, 1 + R + h w, C).

        H and W are multiples of the patch size. Order: class token, R registers, patches row by
        row. Raises ValueError for other shapes.
        """
        grid = self.patch_grid(image)
        mean, std = (image.new_tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        tokens = self.embeddings((image - mean) / std)
        cosine, sine = self._positions(grid, tokens)
        for layer in self.layer:
            tokens = layer(tokens, cosine, sine)
        return F.layer_norm(tokens, tokens.shape[-1:], eps=1e-5)

    def _positions(self, grid: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (h w, channels per head) of the patches, periods theta^(4 i / D)."""
        head_channels = self.config.channels // self.config.heads
        exponents = torch.arange(head_channels // 4, device=like.device) * 4 / head_channels
        rows, columns = (cell_centres(count, like) for count in grid)
        return rotary_tables(rows, columns, self.config.rope_theta**exponents)

    def patch_grid(self, image: Tensor) -> tuple[int, int]:
        """(rows, columns) of patches of images (B, 3, H, W)."""
        patch = self.config.patch_size
        if (
            image.ndim != 4
            or image.shape[1] != 3
            or image.shape[2] % patch
            or image.shape[3] % patch
        ):
            raise ValueError(
                f"images must be (B, 3, H, W) with sides that are multiples of {patch}, "
                f"got {tuple(image.shape)}"
            )
        return image.shape[2] // patch, image.shape[3] // patch


def split_tokens(tokens: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Tokens (B, T + h w, C) -> global tokens (B, T, C) and patch map (B, C, h, w)."""
    rows, columns = grid
    globals_count = tokens.shape[1] - rows * columns
    if globals_count < 0:
        raise ValueError(f"{tokens.shape[1]} tokens are fewer than {rows} x {columns} patches")
    patches = tokens[:, globals_count:].unflatten(1, grid)
    return tokens[:, :globals_count], patches.permute(0, 3, 1, 2)


def encode_image(dino: DinoV3, image: Tensor) -> ImageFeatures:
    """One square image (3, R, R) float32 in [0, 1] -> its features."""
    if image.ndim != 3 or image.shape[1] != image.shape[2]:
        raise ValueError(f"an image must be (3, R, R), got {tuple(image.shape)}")
    batch = image[None]
    global_tokens, patch_map = split_tokens(dino(batch), dino.patch_grid(batch))
    return ImageFeatures(global_tokens[0], patch_map[0], image)


class _Embeddings(nn.Module):
    """Class token, registers and one token per patch."""

    def __init__(self, config: DinoV3Config) -> None:
        super().__init__()
        width, patch = config.channels, config.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, width))
        self.patch_embeddings = nn.Conv2d(3, width, patch, patch)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.patch_embeddings(image).flatten(2).transpose(1, 2)
        first = torch.cat((self.cls_token, self.register_tokens), 1)
        return torch.cat((first.expand(len(image), -1, -1), patches), 1)


class _Layer(nn.Module):
    """Attention and MLP, each normalised before and scaled after."""

    def __init__(self, config: DinoV3Config) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.channels, config.norm_epsilon)
        self.attention = _Attention(config)
        self.layer_scale1 = LayerScale(config.channels)
        self.norm2 = nn.LayerNorm(config.channels, config.norm_epsilon)
        self.mlp = _Mlp(config)
        self.layer_scale2 = LayerScale(config.channels)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        x = x + self.layer_scale1(self.attention(self.norm1(x), cosine, sine))
        return x + self.layer_scale2(self.mlp(self.norm2(x)))


class _Attention(nn.Module):
    """Self-attention; patches carry rotary positions, the class token and registers none."""

    def __init__(self, config: DinoV3Config) -> None:
        super().__init__()
        width = config.channels
        self.heads = config.heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        first = x.shape[1] - len(cosine)
        q, k = (
            torch.cat((t[:, :, :first], rotate(t[:, :, first:], cosine, sine)), 2) for t in (q, k)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, config: DinoV3Config) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.channels, config.mlp_channels)
        self.down_proj = nn.Linear(config.mlp_channels, config.channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.gelu(self.up_proj(x)))
