"""DINOv2 with registers: the tokens of an image, as TRELLIS and its descendants read them.

The vision transformer ViT-L/14 with 4 registers (DINOv2, 2023; registers, 2024) under the tensor
names of facebook/dinov2-with-registers-large. Tokens are those of the last layer through a
LayerNorm without weights, not through the network's own final norm (Cupid, commit 10af9b2,
pipelines/processing.py; Direct3D-S2, commit a1cf235, has the same).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparse3d.errors import BadConfiguration
from sparse3d.weights import Arguments, NameRules

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
KIND = "Dinov2WithRegistersModel"
# Names of transformers 5: (found, ours).
RENAMED = (
    (".attention.q_proj.", ".attention.attention.query."),
    (".attention.k_proj.", ".attention.attention.key."),
    (".attention.v_proj.", ".attention.attention.value."),
    (".attention.o_proj.", ".attention.output.dense."),
)


@dataclass(frozen=True)
class DinoV2Config:
    """Sizes of the network; the defaults are ViT-L/14 with 4 registers. image_size: in pixels, the
    only one it is used at here, so that no position is interpolated."""

    channels: int = 1024
    layers: int = 24
    heads: int = 16
    mlp_ratio: float = 4
    patch_size: int = 14
    image_size: int = 518
    registers: int = 4
    norm_epsilon: float = 1e-6

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size

    @property
    def global_tokens(self) -> int:
        """Class token and registers, which come before the patches."""
        return 1 + self.registers


class DinoV2(nn.Module):
    """The image encoder; float32.

    `layernorm` and `embeddings.mask_token` are part of every checkpoint and play no part here: they
    are kept so that loading can be strict.
    """

    def __init__(self, config: DinoV2Config) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = nn.ModuleDict(
            {"layer": nn.ModuleList(_Layer(config) for _ in range(config.layers))}
        )
        self.layernorm = nn.LayerNorm(config.channels, config.norm_epsilon)

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [0, 1], S the image size -> tokens (B, 1 + R + h w, C).

        Order: class token, R registers, patches row by row. Raises ValueError for other shapes.
        """
        size = self.config.image_size
        if image.ndim != 4 or tuple(image.shape[1:]) != (3, size, size):
            raise ValueError(f"images must be (B, 3, {size}, {size}), got {tuple(image.shape)}")
        mean, std = (image.new_tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        tokens = self.embeddings((image - mean) / std)
        for layer in self.encoder["layer"].children():
            tokens = layer(tokens)
        return F.layer_norm(tokens, tokens.shape[-1:], eps=1e-5)

    def patch_map(self, tokens: Tensor) -> Tensor:
        """Tokens (B, 1 + R + h w, C) -> one feature per patch, (B, C, h, w)."""
        grid = (self.config.grid, self.config.grid)
        return tokens[:, self.config.global_tokens :].unflatten(1, grid).permute(0, 3, 1, 2)


def build_dinov2(arguments: Arguments) -> DinoV2:
    """The network of a Hugging Face configuration; BadConfiguration for features it lacks."""
    if arguments.get("use_swiglu_ffn", False):
        raise BadConfiguration("use_swiglu_ffn is True: only the plain feed-forward is supported")
    sizes = DinoV2Config()
    return DinoV2(
        DinoV2Config(
            channels=arguments["hidden_size"],
            layers=arguments["num_hidden_layers"],
            heads=arguments["num_attention_heads"],
            mlp_ratio=arguments.get("mlp_ratio", sizes.mlp_ratio),
            patch_size=arguments["patch_size"],
            image_size=arguments["image_size"],
            registers=arguments["num_register_tokens"],
            norm_epsilon=arguments.get("layer_norm_eps", sizes.norm_epsilon),
        )
    )


OFFICIAL_DINOV2: Arguments = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "mlp_ratio": 4,
    "patch_size": 14,
    "image_size": 518,
    "num_register_tokens": 4,
}


def _names(stored: Iterable[str], names: set[str]) -> Callable[[str], str]:
    return _our_name


def _our_name(name: str) -> str:
    for theirs, ours in RENAMED:
        name = name.replace(theirs, ours)
    return name


DINOV2_RULES = NameRules(_names)


class _Embeddings(nn.Module):
    """Class token, registers and one token per patch; all but the registers have a position."""

    def __init__(self, config: DinoV2Config) -> None:
        super().__init__()
        width, patch = config.channels, config.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + config.grid**2, width))
        self.patch_embeddings = nn.ModuleDict({"projection": nn.Conv2d(3, width, patch, patch)})

    def forward(self, image: Tensor) -> Tensor:
        patches = self.patch_embeddings["projection"](image).flatten(2).transpose(1, 2)
        first = self.cls_token.expand(len(image), -1, -1)
        tokens = torch.cat((first, patches), 1) + self.position_embeddings
        registers = self.register_tokens.expand(len(image), -1, -1)
        return torch.cat((tokens[:, :1], registers, tokens[:, 1:]), 1)


class _Layer(nn.Module):
    """Attention and MLP, each normalised before and scaled after."""

    def __init__(self, config: DinoV2Config) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.channels, config.norm_epsilon)
        self.attention = _Attention(config)
        self.layer_scale1 = LayerScale(config.channels)
        self.norm2 = nn.LayerNorm(config.channels, config.norm_epsilon)
        self.mlp = _Mlp(config.channels, int(config.channels * config.mlp_ratio))
        self.layer_scale2 = LayerScale(config.channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.layer_scale1(self.attention(self.norm1(x)))
        return x + self.layer_scale2(self.mlp(self.norm2(x)))


class _Attention(nn.Module):
    """Self-attention."""

    def __init__(self, config: DinoV2Config) -> None:
        super().__init__()
        width = config.channels
        self.heads = config.heads
        self.attention = nn.ModuleDict(
            {name: nn.Linear(width, width) for name in ("query", "key", "value")}
        )
        self.output = nn.ModuleDict({"dense": nn.Linear(width, width)})

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            self.attention[name](x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.output["dense"](mixed.transpose(1, 2).flatten(2))


class LayerScale(nn.Module):
    """One learned factor per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.lambda1


class _Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))
