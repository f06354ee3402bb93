"""How many CPU seconds does the generator take to make a decoded surface a textured mesh?

    PYTHONPATH=CHECKOUT python benchmarks/bake_seconds.py

Prints them for `pixal3d.bake` of a bumpy ring of 5.75 million faces with its attributes at 1024
voxels, to 20,000 faces and 1024 px. Imports only pixal3d, of any checkout since it has been there.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from pixal3d import VoxelAttributes, bake

GRID = 1024
AROUND, ACROSS = 2400, 1198  # quads of the ring: 5.75 million faces


def bumpy_ring(around: int, across: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) float64 and faces of a ring with small bumps: 2 * around * across faces."""
    u, v = np.meshgrid(
        np.linspace(0, 2 * np.pi, around, endpoint=False),
        np.linspace(0, 2 * np.pi, across, endpoint=False), indexing="ij",
    )  # fmt: skip
    radius = 0.15 + 0.003 * np.sin(40 * u) * np.sin(24 * v)
    reach = 0.3 + radius * np.cos(v)
    points = np.stack([reach * np.cos(u), reach * np.sin(u), radius * np.sin(v)], -1)
    at = np.arange(around * across).reshape(around, across)
    next_u, next_v = np.roll(at, -1, 0), np.roll(at, -1, 1)
    both = np.roll(next_u, -1, 1)
    faces = np.stack([at, next_u, both, at, both, next_v], -1).reshape(-1, 3)
    return points.reshape(-1, 3), faces


def decoded_ring(around: int, across: int) -> tuple[torch.Tensor, torch.Tensor, VoxelAttributes]:
    """The ring with attributes as a decoder gives them."""
    points, faces = bumpy_ring(around, across)
    vertices = points.astype(np.float32)
    coords = np.unique(((vertices + 0.5) * GRID).astype(np.int32), axis=0)
    values = np.concatenate([coords, GRID - coords], axis=1, dtype=np.float32) / GRID
    attributes = VoxelAttributes(torch.from_numpy(coords), torch.from_numpy(values), GRID)
    return torch.from_numpy(vertices), torch.from_numpy(faces), attributes


def main() -> None:
    """Print the seconds of a surface of full size, after one that compiles what is compiled."""
    torch.set_num_threads(1)
    bake(*decoded_ring(400, 200), texture_size=128, target_faces=2000)
    decoded = decoded_ring(AROUND, ACROSS)
    started = time.process_time()
    bake(*decoded, texture_size=1024, target_faces=20_000)
    print(f"{time.process_time() - started:.1f}")


if __name__ == "__main__":
    main()
