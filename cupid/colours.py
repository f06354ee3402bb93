"""The decoder's colours as what a bake reads: attributes of voxels (`sparse3d.surface`)."""

from __future__ import annotations

import torch

from cupid.cascade import Generated
from sparse3d.surface import ATTRIBUTES, VoxelAttributes

# Cupid's colours have the light of the picture in them: a matt surface adds no second highlight.
METALLIC, ROUGHNESS, OPAQUE = 0.0, 1.0, 1.0


def voxel_attributes(made: Generated) -> VoxelAttributes:
    """The mean colour of the vertices in each cube that the surface goes through."""
    size = made.resolution
    cells = ((made.vertices + 0.5) * size).floor().long().clamp(0, size - 1)
    codes = (cells[:, 0] * size + cells[:, 1]) * size + cells[:, 2]
    codes, owner = torch.unique(codes, return_inverse=True)
    total = made.colours.new_zeros(len(codes), 3).index_add_(0, owner, made.colours)
    values = total.new_zeros(len(codes), ATTRIBUTES)
    values[:, :3] = total / torch.bincount(owner)[:, None]
    values[:, 3], values[:, 4], values[:, 5] = METALLIC, ROUGHNESS, OPAQUE
    coords = torch.stack((codes // size**2, codes // size % size, codes % size), 1)
    return VoxelAttributes(coords, values, size)
