"""How does a 3x3x3 submanifold convolution run over occupied voxels?

Outputs exist where inputs do; missing neighbours count as zero. A weight is (Co, 3, 3, 3, Ci), its
kernel axes on x, y, z: tap (a, b, c) reads the voxel at offset (a - 1, b - 1, c - 1) (layout of
FlexGEMM 6dd94a8 and of the official checkpoints; spconv 2.x has the same).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparse3d.errors import CannotRun
from sparse3d.voxels import (
    CENTRE_TAP,
    TAPS,
    TapPairs,
    Voxels,
    existing_pairs,
    sorted_neighbours,
)

Backend = Literal["torch", "spconv"]
# Working memory of one slice of rows. On a CPU wide enough for full matrix products at 1024
# channels, and small enough for its caches; elsewhere a fixed part of the device's memory (its free
# part would give other sums from run to run), up to where launches are too few to matter.
CHUNK_BYTES, MAX_CHUNK_BYTES = 64 << 20, 1 << 30
CHUNKS_IN_MEMORY = 64


def default_chunk_bytes(device: torch.device) -> int:
    """The working memory of one slice of rows on a device, where nobody asks for another."""
    if device.type != "cuda":
        return CHUNK_BYTES
    total = torch.cuda.get_device_properties(device).total_memory
    return min(max(total // CHUNKS_IN_MEMORY, CHUNK_BYTES), MAX_CHUNK_BYTES)


def row_slices(rows: int, row_bytes: int, chunk_bytes: int) -> Iterator[slice]:
    """Consecutive slices of `rows` rows that need at most `chunk_bytes` each, or one row."""
    step = max(1, chunk_bytes // row_bytes)
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))


def convolve_by_offset(
    features: Tensor, neighbours: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """The convolution as its definition reads: for every tap, gather, multiply, add.

    features: (N, Ci); neighbours: (N, 27), N where missing; weight: (Co, 3, 3, 3, Ci);
    bias: (Co,). Returns (N, Co) in the dtype of the features. The readable twin of both forms of
    `by_rows`.
    """
    padded = torch.cat([features, torch.zeros_like(features[:1])])
    taps = weight.flatten(1, 3)
    total = bias.float().expand(len(features), -1)
    for tap in range(TAPS):
        total = total + padded[neighbours[:, tap].long()].float() @ taps[:, tap].float().T
    return total.to(features.dtype)


def convolve(
    features: Tensor,
    voxels: Voxels,
    weight: Tensor,
    bias: Tensor,
    dilation: int = 1,
    chunk_bytes: int | None = None,
) -> Tensor:
    """The convolution, some rows at a time.

    Arguments and result as in `convolve_by_offset`; chunk_bytes bounds the working memory beside
    the result (None: `default_chunk_bytes`). Deterministic: within a tap every row is added to
    once. Raises ValueError where the shapes do not fit.
    """
    convolved = by_rows(features, voxels, weight, bias, dilation)
    output = features.new_zeros(len(features), len(weight))
    chunk_bytes = chunk_bytes or default_chunk_bytes(features.device)
    for rows in row_slices(len(features), convolution_row_bytes(weight), chunk_bytes):
        output[rows] = convolved(rows)
    return output


def by_rows(
    features: Tensor, voxels: Voxels, weight: Tensor, bias: Tensor, dilation: int = 1
) -> Callable[[slice], Tensor]:
    """A function from a slice of rows to the convolution's result there, (len(rows), Co).

    On a CPU it multiplies the pairs that exist, elsewhere all taps at once.
    """
    _check(features, voxels, weight)
    table = voxels.neighbours if dilation == 1 else sorted_neighbours(voxels.coords, dilation)
    if multiplies_pairs(features.device):
        pairs = voxels.pairs if dilation == 1 else existing_pairs(table)
        return lambda rows: convolve_pairs(features, pairs, weight, bias, rows)
    padded = torch.cat([features, torch.zeros_like(features[:1])])
    return lambda rows: convolve_gathered(padded, table[rows], weight, bias)


def multiplies_pairs(device: torch.device) -> bool:
    """Whether a device is faster with 27 small products of the pairs that exist.

    A CPU is; elsewhere launching them takes longer than multiplying zeros for those that do not.
    """
    return device.type == "cpu"


def convolution_row_bytes(weight: Tensor) -> int:
    """Working memory of the convolution per row, in the form that the weight's device takes."""
    inputs, outputs = weight.shape[-1], len(weight)
    if multiplies_pairs(weight.device):
        return 4 * (inputs + 2 * outputs) + 8 * 3  # a gathered row, a product and the sum
    return weight.element_size() * (TAPS * inputs + outputs)


def convolve_gathered(padded: Tensor, neighbours: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution of some rows as one matrix product over all 27 taps.

    padded: (N + 1, Ci), zeros in the last row; neighbours: (R, 27) of these rows, N where missing.
    Returns (R, Co). Half types: rounded once, after the sum over all taps and channels.
    """
    gathered = padded.index_select(0, neighbours.reshape(-1)).view(len(neighbours), -1)
    return F.linear(gathered, weight.flatten(1), bias)


def convolve_pairs(
    features: Tensor, pairs: Sequence[TapPairs], weight: Tensor, bias: Tensor, rows: slice
) -> Tensor:
    """The convolution of a slice of rows (R, Co) over the pairs of voxels that exist.

    pairs: as in `Voxels.pairs`. A surface fills about half of the 27 taps, and only those are
    gathered and multiplied: on two CPU cores 1.3 to 2 times as fast as `convolve_gathered`.
    """
    # On a CPU half-precision products run several times slower than float32 ones.
    compute = torch.float32 if features.device.type == "cpu" else features.dtype
    taps = weight.flatten(1, 3)
    total = features[rows].to(compute) @ taps[:, CENTRE_TAP].to(compute).T
    total = total.float() + bias.float()
    for tap, found in enumerate(pairs):
        if tap != CENTRE_TAP:
            here = found.within(rows)
            gathered = features.index_select(0, here.neighbours).to(compute)
            products = gathered @ taps[:, tap].to(compute).T
            total.index_add_(0, here.rows.long(), products.float())
    return total.to(features.dtype)


def convolve_spconv(
    features: Tensor, voxels: Voxels, weight: Tensor, bias: Tensor, dilation: int = 1
) -> Tensor:
    """The convolution by the optional library spconv 2.x: (N, Ci) to (N, Co).

    Its index pairs are kept on the voxels and shared by all layers. Raises ImportError without
    spconv; RuntimeError on a CPU with more than one thread (its scatter-add is then a data race)
    or with another dtype than float32 (which it does not compute, or very slowly).
    """
    import spconv.pytorch as spconv  # pyright: ignore[reportMissingImports]

    _check_spconv(features)
    extent = (voxels.coords[:, 1:].amax(dim=0) + 1).tolist()
    batches = len(voxels.lengths)
    pairs = voxels.accelerator_cache
    sparse = spconv.SparseConvTensor(features, voxels.coords, extent, batches, indice_dict=pairs)
    # On the meta device it allocates nothing and draws no random numbers; the weight comes below.
    with torch.device("meta"):
        # A bias inside the layer is refused on the CPU.
        channels = (weight.shape[-1], len(weight))
        key = f"dilation {dilation}"
        layer = spconv.SubMConv3d(*channels, 3, dilation=dilation, bias=False, indice_key=key)
    result = torch.func.functional_call(layer.eval(), {"weight": weight}, (sparse,))
    voxels.accelerator_cache.update(result.indice_dict)
    return result.features + bias


def _check(features: Tensor, voxels: Voxels, weight: Tensor) -> None:
    if tuple(weight.shape[1:]) != (3, 3, 3, features.shape[-1]):
        raise ValueError(
            f"a convolution of {tuple(features.shape)} features needs a weight (Co, 3, 3, 3, "
            f"{features.shape[-1]}), not {tuple(weight.shape)}"
        )
    if len(features) != len(voxels):
        raise ValueError(f"{len(features)} rows of features for {len(voxels)} voxels")


def _check_spconv(features: Tensor) -> None:
    if features.device.type != "cpu":
        return
    if torch.get_num_threads() != 1:
        raise CannotRun(
            f"spconv gives wrong sums on a CPU with {torch.get_num_threads()} threads: start the "
            'process with OMP_NUM_THREADS=1, or take the backend "torch"'
        )
    if features.dtype != torch.float32:
        raise CannotRun(f"spconv computes float32 on a CPU, not {features.dtype}")


class SparseConv(nn.Module):
    """A submanifold convolution with bias, over (N, C) features beside their `Voxels`.

    dilation: the step between taps in voxels. backend: "torch", or "spconv" where it is installed.
    Parameters `weight` (out, 3, 3, 3, in) and `bias` (out,), as in the official checkpoints.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dilation: int = 1,
        backend: Backend = "torch",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if backend not in ("torch", "spconv"):
            raise ValueError(f'backend must be "torch" or "spconv", not {backend!r}')
        self.dilation, self.backend = dilation, backend
        bound = (TAPS * in_channels) ** -0.5
        kernel = torch.zeros(out_channels, 3, 3, 3, in_channels, dtype=dtype)
        self.weight = nn.Parameter(kernel.uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(out_channels, dtype=dtype))

    def forward(self, features: Tensor, voxels: Voxels, chunk_bytes: int | None = None) -> Tensor:
        """(N, in) to (N, out); chunk_bytes bounds the working memory beside the result."""
        if self.backend == "spconv":
            return convolve_spconv(features, voxels, self.weight, self.bias, self.dilation)
        return convolve(features, voxels, self.weight, self.bias, self.dilation, chunk_bytes)

    def by_rows(self, features: Tensor, voxels: Voxels) -> Callable[[slice], Tensor]:
        """A function from a slice of rows to the result there, (len(rows), out).

        It lets a block finish some rows before it computes the next, and so never hold a wide
        result whole (spconv computes all of it at once all the same).
        """
        if self.backend == "spconv":
            return self(features, voxels).__getitem__
        return by_rows(features, voxels, self.weight, self.bias, self.dilation)


def set_convolution(network: nn.Module, backend: Backend, device: str = "cpu") -> None:
    """Let every sparse convolution of a network run by a library on a device.

    Raises ImportError where the library is missing, CannotRun for a build without CUDA on CUDA.
    """
    if backend == "spconv":
        _check_spconv_build(device)
    for module in network.modules():
        if isinstance(module, SparseConv):
            module.backend = backend


def _check_spconv_build(device: str) -> None:
    """One module name, several packages: `spconv` computes on CPUs alone, `spconv-cuXXX` on CUDA
    of version XX.X too."""
    on_cuda = device.startswith("cuda")
    package = "spconv-cuXXX, XXX being the version of CUDA" if on_cuda else "spconv"
    if importlib.util.find_spec("spconv") is None:
        raise ImportError(f"spconv is not installed: pip install {package}")
    if on_cuda and importlib.import_module("spconv.cppconstants").CPU_ONLY_BUILD:
        raise CannotRun(
            "the package spconv computes on CPUs alone: pip uninstall spconv, then pip install "
            f'{package}, or take the backend "torch"'
        )
