"""How does a 3x3x3 submanifold convolution run over occupied voxels?

Outputs exist where inputs do; missing neighbours count as zero. A weight is (Co, 3, 3, 3, Ci), its
kernel axes on x, y, z: tap (a, b, c) reads the voxel at offset (a - 1, b - 1, c - 1) (layout of
FlexGEMM 6dd94a8 and of the official checkpoints; spconv 2.x has the same).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from pixal3d.errors import CannotRun
from pixal3d.voxels import CENTRE_TAP, TAPS, Voxels, sorted_neighbours

Backend = Literal["torch", "spconv"]
# Working memory of one slice of rows. Wide enough for full matrix products at 1024 channels.
CHUNK_BYTES = 64 * 2**20


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
    bias: (Co,). Returns (N, Co) in the dtype of the features. The readable twin of `convolve`.
    """
    padded = torch.cat([features, torch.zeros_like(features[:1])])
    taps = weight.flatten(1, 3)
    total = bias.float().expand(len(features), -1)
    for tap in range(TAPS):
        total = total + padded[neighbours[:, tap].long()].float() @ taps[:, tap].float().T
    return total.to(features.dtype)


def convolve(
    features: Tensor,
    neighbours: Tensor,
    weight: Tensor,
    bias: Tensor,
    chunk_bytes: int = CHUNK_BYTES,
) -> Tensor:
    """The convolution over the pairs that exist, some rows at a time.

    Arguments and result as in `convolve_by_offset`; chunk_bytes bounds the working memory beside
    the result. Deterministic: within a tap every row is added to once. Raises ValueError where the
    shapes do not fit.
    """
    _check(features, neighbours, weight)
    output = features.new_zeros(len(features), len(weight))
    for rows in row_slices(len(features), convolution_row_bytes(weight), chunk_bytes):
        output[rows] = convolve_rows(features, neighbours, weight, bias, rows)
    return output


def convolution_row_bytes(weight: Tensor) -> int:
    """Working memory of `convolve_rows` per row: a gathered row, a product and the sum."""
    return 4 * (weight.shape[-1] + 2 * len(weight)) + 8 * 3


def convolve_rows(
    features: Tensor, neighbours: Tensor, weight: Tensor, bias: Tensor, rows: slice
) -> Tensor:
    """The convolution's result for a slice of rows: (len(rows), Co) in the features' dtype.

    A surface fills about half of the 27 taps, and only those are gathered and multiplied: on two
    CPU cores 1.3 to 2 times as fast as gathering all 27 for one matrix product. Half types: every
    tap's product is rounded by the matrix product, the sum over taps is float32.
    """
    # On a CPU half-precision products run several times slower than float32 ones.
    compute = torch.float32 if features.device.type == "cpu" else features.dtype
    taps = weight.flatten(1, 3)
    total = features[rows].to(compute) @ taps[:, CENTRE_TAP].to(compute).T
    total = total.float() + bias.float()
    for tap in range(TAPS):
        if tap == CENTRE_TAP:
            continue
        there = neighbours[rows, tap]
        present = (there < len(features)).nonzero().squeeze(1)
        gathered = features.index_select(0, there.index_select(0, present)).to(compute)
        products = gathered @ taps[:, tap].to(compute).T
        total.index_add_(0, present, products.float())
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


def _check(features: Tensor, neighbours: Tensor, weight: Tensor) -> None:
    if tuple(weight.shape[1:]) != (3, 3, 3, features.shape[-1]):
        raise ValueError(
            f"a convolution of {tuple(features.shape)} features needs a weight (Co, 3, 3, 3, "
            f"{features.shape[-1]}), not {tuple(weight.shape)}"
        )
    if tuple(neighbours.shape) != (len(features), TAPS):
        raise ValueError(
            f"{len(features)} rows need a ({len(features)}, {TAPS}) neighbour table, "
            f"not {tuple(neighbours.shape)}"
        )


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

    def forward(self, features: Tensor, voxels: Voxels, chunk_bytes: int = CHUNK_BYTES) -> Tensor:
        """(N, in) to (N, out); chunk_bytes bounds the working memory beside the result."""
        if self.backend == "spconv":
            return convolve_spconv(features, voxels, self.weight, self.bias, self.dilation)
        table = self._neighbours(voxels)
        return convolve(features, table, self.weight, self.bias, chunk_bytes)

    def by_rows(self, features: Tensor, voxels: Voxels) -> Callable[[slice], Tensor]:
        """A function from a slice of rows to the result there, (len(rows), out).

        It lets a block finish some rows before it computes the next, and so never hold a wide
        result whole (spconv computes all of it at once all the same).
        """
        if self.backend == "spconv":
            return self(features, voxels).__getitem__
        table, weight, bias = self._neighbours(voxels), self.weight, self.bias
        _check(features, table, weight)
        return lambda rows: convolve_rows(features, table, weight, bias, rows)

    def _neighbours(self, voxels: Voxels) -> Tensor:
        if self.dilation == 1:
            return voxels.neighbours
        return sorted_neighbours(voxels.coords, self.dilation)


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
