"""What do the decoders' shortcuts save: neighbour tables and sparse convolutions?"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.generator.cases import shell
from benchmarks.generator.compare import Comparison, compare
from benchmarks.generator.machine import random_tensor
from sparse3d.sparse_conv import convolve, convolve_by_offset
from sparse3d.voxels import TAPS, Voxels, derived_neighbours, sorted_neighbours, subdivide

CONVOLUTION_TOLERANCE = 1e-5
UNBOUNDED = 1 << 50
# Channels and rows of the shape decoder's second and fourth level (rows: as many as two cores
# convolve in seconds; a level of a real object has some times more).
LEVELS = ((512, 20_000), (128, 200_000))
PARENTS, PARENT_GRID = 250_000, 256


def compare_tables(device: torch.device) -> Comparison:
    """The neighbours of children derived from their parents', and searched for."""
    parents = shell(PARENT_GRID, PARENTS, device)
    mask = random_tensor(0, (PARENTS, 8), device) > 0
    children = subdivide(parents, mask)
    origin = children.origin
    assert origin is not None
    _ = parents.neighbours  # known by the time that children exist
    return compare(
        "neighbour tables derived from the parents', not searched",
        f"{len(children)} voxels",
        (lambda: sorted_neighbours(children.coords), lambda: derived_neighbours(origin)),
        device,
        tolerance=0.0,
    )


def compare_convolution(channels: int, rows: int, device: torch.device) -> Comparison:
    """The neighbours that exist in slices of rows, and every tap over all rows."""
    features, voxels, weight, bias = _convolution(channels, rows, device)
    return compare(
        "sparse convolution: pairs that exist, not all taps",
        f"{rows} voxels, {channels} channels, float32",
        (
            lambda: convolve_by_offset(features, voxels.neighbours, weight, bias),
            lambda: convolve(features, voxels, weight, bias),
        ),
        device,
        CONVOLUTION_TOLERANCE,
    )


def compare_chunks(device: torch.device) -> Comparison:
    """The convolution in slices of rows and in one: what bounded memory costs."""
    channels, rows = LEVELS[1]
    features, voxels, weight, bias = _convolution(channels, rows, device)
    return compare(
        "sparse convolution in slices of 64 MiB, not in one",
        f"{rows} voxels, {channels} channels, float32",
        (
            lambda: convolve(features, voxels, weight, bias, chunk_bytes=UNBOUNDED),
            lambda: convolve(features, voxels, weight, bias),
        ),
        device,
        CONVOLUTION_TOLERANCE,
    )


def _convolution(
    channels: int, rows: int, device: torch.device
) -> tuple[Tensor, Voxels, Tensor, Tensor]:
    """Features, voxels that know their neighbours, weight and bias."""
    voxels = shell(PARENT_GRID // 2 if rows < 100_000 else PARENT_GRID, rows, device)
    weight = random_tensor(1, (channels, 3, 3, 3, channels), device)
    weight /= (TAPS * channels) ** 0.5
    features = random_tensor(2, (rows, channels), device)
    _ = voxels.neighbours, voxels.pairs  # all layers of a level share them
    return features, voxels, weight, random_tensor(3, (channels,), device)
