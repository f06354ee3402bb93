"""What does each voxel see of the image? Where the pose projects it, the features there.

Cupid, commit 10af9b2, models/structured_latent_flow.py (`VisualLatentConditioningSLatFlowModel`)
and pipelines/pipeline.py (`_make_sparse_uvs_from_pose`). Cameras are OpenCV's, intrinsics in units
of the image's side, uv in [0, 1].
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def voxel_centres(coords: Tensor, grid_size: int) -> Tensor:
    """Centres (N, 3) float32 of voxels (N, 3) in the cube [-0.5, 0.5]^3."""
    return (coords.float() + 0.5) / grid_size - 0.5


def project(points: Tensor, intrinsics: Tensor, camera_from_object: Tensor) -> Tensor:
    """Where points (N, 3) appear: uv (N, 2), not clipped.

    intrinsics: (3, 3), camera_from_object: (4, 4) or (3, 4).
    """
    in_camera = points @ camera_from_object[:3, :3].T + camera_from_object[:3, 3]
    on_image = in_camera @ intrinsics.T
    return on_image[:, :2] / on_image[:, 2:]


def voxel_uv(
    coords: Tensor, grid_size: int, intrinsics: Tensor, camera_from_object: Tensor
) -> Tensor:
    """Where the centres of voxels (N, 3) appear in the image: uv (N, 2) in [0, 1]."""
    return project(voxel_centres(coords, grid_size), intrinsics, camera_from_object).clamp(0, 1)


def sample_map(features: Tensor, uv: Tensor) -> Tensor:
    """A map (C, h, w) at points (N, 2) in [0, 1]: (N, C), bilinear, zero beyond the last texels'
    centres and half a texel further."""
    found = F.grid_sample(
        features[None], uv[None, None] * 2 - 1, mode="bilinear", padding_mode="zeros",
        align_corners=False,
    )  # fmt: skip
    return found[0, :, 0].T


def resized(image: Tensor, size: int) -> Tensor:
    """An image (C, H, W) at (C, size, size), as the reference resizes it for its convolutions."""
    return F.interpolate(
        image[None], size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )[0]
