"""Where does a voxel of the object's grid appear in a photo?

Frames, all right-handed. Grid: the cube [-1, 1]^3, x right, y up, z towards the front camera; its
nodes include the corners. World: the grid turned to z up and scaled to the cube of side 1 /
mesh_scale. Camera: x right, y up, looking along -z. Pixels: x right, y down, from the image's
top-left corner.
Formulas: Pixal3D, commit cdbb2bb, inference.py and trainers/flow_matching/mixins/
image_conditioned_proj.py; several views: its release of September 2026.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparse3d.errors import BadImage

# Files written with five digits still pass; a matrix with a scale or a shear in it does not.
RIGID_TOLERANCE = 1e-3
# Keeps the division by depth finite; part of the reference's arithmetic.
DEPTH_EPSILON = 1e-8


@dataclass(frozen=True, eq=False)
class PosedCamera:
    """A camera that looks at the object.

    fov_x_rad: horizontal field of view, radians, in (0, pi).
    world_from_camera: (4, 4) float32 rigid transform, camera axes as this file says.
    Raises ValueError for a field of view out of range, BadImage for a matrix that is not rigid.
    """

    fov_x_rad: float
    world_from_camera: Tensor

    def __post_init__(self) -> None:
        _check_fov(self.fov_x_rad)
        _check_rigid(self.world_from_camera)

    @property
    def distance(self) -> float:
        """How far the camera stands from the world's origin, in world units."""
        return float(self.world_from_camera[:3, 3].norm())


@dataclass(frozen=True, eq=False)
class ImagePoints:
    """World points seen by a camera: pixel_xy (N, 2), depth (N,) along the view, visible (N,)."""

    pixel_xy: Tensor
    depth: Tensor
    visible: Tensor


def focal_px(fov_x_rad: float, image_size: int) -> float:
    """The focal length in pixels of a square image of `image_size` pixels.

    The tangent is taken in float32, as in the reference. Raises ValueError unless 0 < fov < pi.
    """
    _check_fov(fov_x_rad)
    half_tangent = torch.tan(torch.tensor(fov_x_rad, dtype=torch.float32) / 2)
    return float(image_size / 2 / half_tangent)


def fov_from_focal(focal: float, image_width: float) -> float:
    """The horizontal field of view (radians) of a focal length; both lengths in one unit."""
    if not (0 < focal < math.inf and 0 < image_width < math.inf):
        raise ValueError(f"focal and image_width must be positive, got {focal} and {image_width}")
    return 2 * math.atan(image_width / (2 * focal))


def distance_from_fov(
    fov_x_rad: float, mesh_scale: float = 1.0, image_size: int = 512, extend_px: float = 0.0
) -> float:
    """The camera distance at which the unit grid spans the image.

    The grid point (-1, 0, 0) lands `extend_px` pixels left of the image's left border.
    Returns world units. Raises ValueError unless mesh_scale > 0 and the target is left of centre.
    """
    _check_scale(mesh_scale)
    half_span_px = image_size / 2 + extend_px
    if half_span_px <= 0:
        raise ValueError(f"extend_px must be above -image_size / 2, got {extend_px}")
    return focal_px(fov_x_rad, image_size) * (0.5 / mesh_scale) / half_span_px


def front_camera(distance: float) -> Tensor:
    """World_from_camera (4, 4) float32 of the camera straight in front, at (0, -distance, 0)."""
    if not 0 < distance < math.inf:
        raise ValueError(f"distance must be positive and finite, got {distance}")
    return torch.tensor(
        [[1, 0, 0, 0], [0, 0, -1, -distance], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=torch.float32
    )


def align_views(views: Sequence[PosedCamera]) -> list[PosedCamera]:
    """Move a rig of cameras so that the first one becomes the front camera.

    M_i = F(d_0) inverse(C_0) C_i with d_0 the first camera's distance from the origin; the first
    is F(d_0) exactly, so that one view equals the single-view path. Raises ValueError for no
    views, BadImage for a first camera in the origin.
    """
    if not views:
        raise ValueError("align_views needs at least one view")
    if views[0].distance < RIGID_TOLERANCE:
        raise BadImage("the first view's camera stands in the origin: it sees no object")
    main = views[0].world_from_camera
    front = front_camera(views[0].distance).to(main)
    turn = front @ torch.linalg.inv(main)
    others = [PosedCamera(view.fov_x_rad, turn @ view.world_from_camera) for view in views[1:]]
    return [PosedCamera(views[0].fov_x_rad, front), *others]


def grid_coords(grid_size: int, like: Tensor) -> Tensor:
    """Every voxel (G^3, 3) int64 of a grid, z fastest, on the device of `like`."""
    axis = torch.arange(grid_size, device=like.device)
    return torch.cartesian_prod(axis, axis, axis)


def voxel_points(coords: Tensor, grid_size: int, mesh_scale: float = 1.0) -> Tensor:
    """The world points (N, 3) float32 of voxels (N, 3) int x, y, z in [0, grid_size).

    A voxel stands at the grid node -1 + 2 i / (grid_size - 1), not at a cell's centre.
    Raises ValueError for a wrong shape, a grid below 2, coordinates outside, a bad mesh_scale.
    """
    _check_scale(mesh_scale)
    _check_coords(coords, grid_size)
    # Looking the node up keeps the exact values of the reference's linspace.
    nodes = torch.linspace(-1, 1, grid_size, device=coords.device)
    x, y, z = nodes[coords.long()].unbind(-1)
    return torch.stack((x, -z, y), -1) / mesh_scale / 2


def project_points(points: Tensor, view: PosedCamera, image_size: int) -> ImagePoints:
    """Project world points (N, 3) float32 into a square image of `image_size` pixels.

    A point is visible when it lies inside the image and in front of the camera; points that are
    not keep their coordinates.
    """
    camera_from_world = torch.linalg.inv(view.world_from_camera).to(points)
    in_camera = points @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    depth = -in_camera[:, 2]
    per_depth = focal_px(view.fov_x_rad, image_size) / (depth + DEPTH_EPSILON)
    pixel_x = in_camera[:, 0] * per_depth + image_size / 2
    pixel_y = -in_camera[:, 1] * per_depth + image_size / 2
    pixel_xy = torch.stack((pixel_x, pixel_y), -1)
    inside = ((pixel_xy >= 0) & (pixel_xy < image_size)).all(-1)
    return ImagePoints(pixel_xy, depth, inside & (depth > 0))


def sampling_positions(pixel_xy: Tensor, image_size: int) -> Tensor:
    """Pixel positions (N, 2) in the [-1, 1] of `grid_sample` without aligned corners.

    Half a pixel is added although the projection already measures from the image's corner: the
    networks were trained with that shift.
    """
    return (pixel_xy + 0.5) / image_size * 2 - 1


def project_voxels(
    coords: Tensor,
    grid_size: int,
    view: PosedCamera,
    mesh_scale: float = 1.0,
    image_size: int = 512,
) -> Tensor:
    """Where voxels (N, 3) int x, y, z are sampled in a photo: (N, 2) float32, x then y.

    [-1, 1] spans the image; voxels out of view lie outside and are not masked. The result is on
    the device of `coords`. Raises ValueError as `voxel_points` does.
    """
    points = voxel_points(coords, grid_size, mesh_scale)
    return sampling_positions(project_points(points, view, image_size).pixel_xy, image_size)


def _check_fov(fov_x_rad: float) -> None:
    if not 0 < fov_x_rad < math.pi:
        raise ValueError(f"the field of view must lie in (0, pi) radians, got {fov_x_rad}")


def _check_scale(mesh_scale: float) -> None:
    if not 0 < mesh_scale < math.inf:
        raise ValueError(f"mesh_scale must be positive and finite, got {mesh_scale}")


def _check_rigid(matrix: Tensor) -> None:
    if tuple(matrix.shape) != (4, 4) or matrix.dtype != torch.float32:
        raise ValueError(
            f"world_from_camera must be (4, 4) float32, got {tuple(matrix.shape)} {matrix.dtype}"
        )
    if not bool(torch.isfinite(matrix).all()):
        raise BadImage("world_from_camera has values that are not finite")
    if matrix[3].tolist() != [0, 0, 0, 1]:
        raise BadImage(f"world_from_camera must end in 0 0 0 1, got {matrix[3].tolist()}")
    R = matrix[:3, :3].double()
    error = float((R.T @ R - torch.eye(3).to(R)).abs().max())
    if error > RIGID_TOLERANCE:
        raise BadImage(f"world_from_camera is not rigid: R^T R is off the identity by {error:.3g}")
    if torch.linalg.det(R) < 0:
        raise BadImage("world_from_camera mirrors: the determinant of its rotation is -1, not 1")


def _check_coords(coords: Tensor, grid_size: int) -> None:
    if coords.ndim != 2 or coords.shape[1] != 3 or coords.is_floating_point():
        raise ValueError(
            f"coords must be (N, 3) integers, got {tuple(coords.shape)} {coords.dtype}"
        )
    if grid_size < 2:
        raise ValueError(f"grid_size must be at least 2, got {grid_size}")
    if coords.numel() and not 0 <= int(coords.min()) <= int(coords.max()) < grid_size:
        raise ValueError(
            f"coords must lie in [0, {grid_size}), got {int(coords.min())} to {int(coords.max())}"
        )
