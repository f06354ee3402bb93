"""Random voxels for tests of sparse networks."""

import torch

from sparse3d.voxels import Voxels, full_grid


def some_voxels(seed: int, side: int = 7, batches: int = 2, share: float = 0.3) -> Voxels:
    """Random voxels, the rows of each batch item in random order."""
    random = torch.Generator().manual_seed(seed)
    every = full_grid(batches, side).coords
    coords = every[torch.rand(len(every), generator=random) < share]
    coords = coords[torch.randperm(len(coords), generator=random)]
    return Voxels(coords[coords[:, 0].argsort(stable=True)])
