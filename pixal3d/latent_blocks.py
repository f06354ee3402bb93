"""Which blocks is the sparse U-Net of the latents made of?

Architecture: Pixal3D, commit cdbb2bb, models/sc_vaes/sparse_unet_vae.py. Every block works through
its rows in slices, so that its wide intermediate results are never held whole.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparse3d.sparse_conv import Backend, SparseConv, convolution_row_bytes, row_slices
from sparse3d.voxels import Origin, Voxels, space_to_channel

NORM_EPS = 1e-6
MLP_RATIO = 4
CHILDREN = 8


def normalise(norm: nn.LayerNorm, features: Tensor) -> Tensor:
    """Layer normalisation over the channels of (N, C), in float32; returns the dtype that came."""
    shape, weight, bias = norm.normalized_shape, norm.weight, norm.bias
    return F.layer_norm(features.float(), shape, weight, bias, norm.eps).to(features.dtype)


def activate(norm: nn.LayerNorm, features: Tensor, chunk_bytes: int) -> Tensor:
    """SiLU of the normalised features, (N, C), some rows at a time."""
    output = torch.zeros_like(features)
    for rows in row_slices(len(features), 4 * 4 * features.shape[1], chunk_bytes):
        output[rows] = F.silu(normalise(norm, features[rows]))
    return output


def widened_shortcut(features: Tensor, slots: Tensor, out_channels: int) -> Tensor:
    """A parent's channels handed to its children and repeated: (N, C) to (M, out channels).

    slots: (M,) of the children as in `Origin`. Child s has channels s C/8 .. (s + 1) C/8, each of
    them repeated next to itself.
    """
    shares = features.view(len(features) * CHILDREN, -1).index_select(0, slots)
    return shares.repeat_interleave(out_channels // shares.shape[1], dim=1)


def narrowed_shortcut(features: Tensor, origin: Origin, out_channels: int) -> Tensor:
    """The children's channels side by side in their parent, means over neighbouring channels.

    features: (M, C) of the children; returns (N, out channels). Absent children count as zeros.
    """
    merged = space_to_channel(features, origin)
    return merged.view(len(merged), out_channels, -1).mean(dim=2)


class ConvNeXtBlock(nn.Module):
    """A convolution, a norm and a two-layer perceptron, beside the identity."""

    def __init__(self, channels: int, dtype: torch.dtype, backend: Backend) -> None:
        super().__init__()
        inner = MLP_RATIO * channels
        self.conv = SparseConv(channels, channels, backend=backend, dtype=dtype)
        self.norm = nn.LayerNorm(channels, eps=NORM_EPS)
        self.mlp = nn.Sequential(
            nn.Linear(channels, inner, dtype=dtype),
            nn.SiLU(),
            nn.Linear(inner, channels, dtype=dtype),
        )

    def forward(self, features: Tensor, voxels: Voxels, chunk_bytes: int) -> Tensor:
        """(N, C) to the same."""
        width = features.shape[1]
        convolved = self.conv.by_rows(features, voxels)
        output = torch.zeros_like(features)
        row_bytes = convolution_row_bytes(self.conv.weight) + 4 * (2 * MLP_RATIO + 2) * width
        for rows in row_slices(len(features), row_bytes, chunk_bytes):
            output[rows] = features[rows] + self.mlp(normalise(self.norm, convolved(rows)))
        return output


class UpBlock(nn.Module):
    """Two convolutions with a split of the voxels between them, beside a shortcut.

    A convolution to 8 C' channels hands C' to each child. With `predicts_subdivision` a linear
    layer says of the block's input which children exist.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        predicts_subdivision: bool,
        dtype: torch.dtype,
        backend: Backend,
    ) -> None:
        super().__init__()
        wide = CHILDREN * out_channels
        self.norm1 = nn.LayerNorm(in_channels, eps=NORM_EPS)
        self.norm2 = nn.LayerNorm(out_channels, eps=NORM_EPS, elementwise_affine=False)
        self.conv1 = SparseConv(in_channels, wide, backend=backend, dtype=dtype)
        self.conv2 = SparseConv(out_channels, out_channels, backend=backend, dtype=dtype)
        if predicts_subdivision:
            self.to_subdiv = nn.Linear(in_channels, CHILDREN, dtype=dtype)

    def subdivision(self, features: Tensor) -> Tensor:
        """Logits (N, 8) of the children of voxels with these features (N, C)."""
        return self.to_subdiv(features)

    def forward(self, features: Tensor, children: Voxels, chunk_bytes: int) -> Tensor:
        """Features (N, C) of the parents to (M, C') of their children."""
        origin = _origin(children)
        inner = self._split(features, origin, chunk_bytes)
        width = inner.shape[1]
        convolved = self.conv2.by_rows(inner, children)
        output = torch.zeros_like(inner)
        row_bytes = convolution_row_bytes(self.conv2.weight) + 4 * 3 * width
        for rows in row_slices(len(children), row_bytes, chunk_bytes):
            shortcut = widened_shortcut(features, origin.slots[rows], width)
            output[rows] = convolved(rows) + shortcut
        return output

    def _split(self, features: Tensor, origin: Origin, chunk_bytes: int) -> Tensor:
        """The first half: (N, C) to (M, C'), the 8 C' channels of some parents at a time."""
        convolved = self.conv1.by_rows(activate(self.norm1, features, chunk_bytes), origin.parents)
        width = len(self.conv2.weight)
        inner = features.new_zeros(len(origin.slots), width)
        row_bytes = convolution_row_bytes(self.conv1.weight) + 4 * 2 * CHILDREN * width
        slices = list(row_slices(len(features), row_bytes, chunk_bytes))
        for rows, child_rows in zip(slices, origin.families(slices), strict=True):
            places = origin.slots[child_rows] - CHILDREN * rows.start
            shares = convolved(rows).view(-1, width).index_select(0, places)
            inner[child_rows] = F.silu(normalise(self.norm2, shares))
        return inner


class DownBlock(nn.Module):
    """Two convolutions with a merge of the voxels between them, beside a shortcut."""

    def __init__(
        self, in_channels: int, out_channels: int, dtype: torch.dtype, backend: Backend
    ) -> None:
        super().__init__()
        narrow = out_channels // CHILDREN
        self.norm1 = nn.LayerNorm(in_channels, eps=NORM_EPS)
        self.norm2 = nn.LayerNorm(out_channels, eps=NORM_EPS, elementwise_affine=False)
        self.conv1 = SparseConv(in_channels, narrow, backend=backend, dtype=dtype)
        self.conv2 = SparseConv(out_channels, out_channels, backend=backend, dtype=dtype)

    def forward(self, features: Tensor, voxels: Voxels, origin: Origin, chunk_bytes: int) -> Tensor:
        """Features (M, C) of voxels to (N, C') of the parents in their origin."""
        inner = self.conv1(activate(self.norm1, features, chunk_bytes), voxels, chunk_bytes)
        inner = activate(self.norm2, space_to_channel(inner, origin), chunk_bytes)
        shortcut = narrowed_shortcut(features, origin, inner.shape[1])
        return self.conv2(inner, origin.parents, chunk_bytes) + shortcut


def _origin(children: Voxels) -> Origin:
    if children.origin is None:
        raise ValueError("the children's parents are not known: make them by subdivide")
    return children.origin
