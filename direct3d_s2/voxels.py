"""Which voxels does each stage work on: the active ones of the dense stage."""

from __future__ import annotations

import math

from torch import Tensor

from sparse3d.voxels import Voxels

# A voxel is active from this probability on, far below one half: the sparse stage gets more than
# the surface (Direct3D-S2, commit a1cf235, pipeline.py: mc_threshold=0.1 of the dense stage).
ACTIVE_PROBABILITY = 0.1
ACTIVE_LOGIT = math.log(ACTIVE_PROBABILITY / (1 - ACTIVE_PROBABILITY))


def active_voxels(logits: Tensor) -> Voxels:
    """Voxels of occupancy logits (B, 1, G, G, G) at or above `ACTIVE_LOGIT`, in x, y, z order."""
    return Voxels((logits[:, 0] >= ACTIVE_LOGIT).nonzero().int())
