"""Generate: the crop of a completed object -> a textured mesh, pixel-aligned in that crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from scene.cameras import camera_from_fov
from scene.errors import BadInput, CannotGenerate
from scene.intrinsics import change_intrinsics
from scene.types import CropCamera, ObjectCrop, ObjectMesh, PointMap, PosedView
from stages.backends import Backend, SettingsT, Stage
from stages.generate.shared.moved import reprojected

MAX_OUTSIDE_CUBE = 1.0  # long objects that point at the camera may leave the cube in depth


class Generator(Protocol):
    """What a generate backend does."""

    def generate(self, crop: ObjectCrop, seed: int) -> ObjectMesh:
        """A mesh in the object cube that projects onto the crop's silhouette."""
        ...


GeneratorT = TypeVar("GeneratorT", bound=Generator)


@dataclass(frozen=True, kw_only=True)
class GenerateBackend(Backend[SettingsT, GeneratorT]):
    """What is asked of a generate backend."""

    fov_range_deg: tuple[float, float] | None = None
    """The least and greatest horizontal field of view that it was trained for: its crop is seen at
    the nearest of them, and its mesh re-projected to the crop's own. None: any."""


STAGE = Stage[GenerateBackend[Any, Generator]](
    "generate", GenerateBackend, version="2", per_object=True
)


@runtime_checkable
class SeesSeveralViews(Protocol):
    """What a generate backend does besides when several posed views may show one object."""

    def generate_from_views(
        self, views: Sequence[PosedView], mesh_scale: float, seed: int
    ) -> ObjectMesh:
        """A mesh in the object cube, axes of the first view's camera; the cube's side is
        1 / mesh_scale of the views' world."""
        ...


def run(
    generator: Generator,
    crop: ObjectCrop,
    seed: int,
    fov_range_deg: tuple[float, float] | None = None,
) -> ObjectMesh:
    """Generate one object and check that the mesh is one that can be placed.

    The generator sees the crop at a field of view that it was trained for (fov_range_deg of its
    record, None for any); where that is not the crop's own, its mesh is re-projected, so that every
    mesh is pixel-aligned in its object crop; but for canonical ones whose pose is unknown.
    """
    if not (crop.rgba[..., 3] > 127).any():
        raise CannotGenerate("the object's crop is empty")
    seen = crop if fov_range_deg is None else at_trained_fov(crop, fov_range_deg)
    mesh = generator.generate(seen, seed)
    _check(mesh)
    if seen is not crop and (mesh.canonical is None or mesh.canonical.pixel_aligned):
        mesh = reprojected(mesh, seen.camera, crop.camera)
    _check_reach(mesh)
    return mesh


def run_views(
    generator: Generator, views: Sequence[PosedView], mesh_scale: float, seed: int
) -> ObjectMesh:
    """Generate one object from several posed views, and check the mesh."""
    if not isinstance(generator, SeesSeveralViews):
        raise BadInput("this generate backend takes one picture only: use pixal3d")
    mesh = generator.generate_from_views(views, mesh_scale, seed)
    _check(mesh)
    _check_reach(mesh)
    return mesh


def _check(mesh: ObjectMesh) -> None:
    if len(mesh.faces) == 0:
        raise CannotGenerate("the generator made no surface")
    if not np.isfinite(mesh.vertices).all() or not np.isfinite(mesh.uv).all():
        raise CannotGenerate("the generator made vertices that are not finite")


def _check_reach(mesh: ObjectMesh) -> None:
    reach = float(np.abs(mesh.vertices).max())
    if reach > 0.5 + MAX_OUTSIDE_CUBE:
        raise CannotGenerate(
            f"the mesh reaches {reach:.2f} from its centre; the object cube ends at 0.5"
        )


def at_trained_fov(crop: ObjectCrop, fov_range_deg: tuple[float, float]) -> ObjectCrop:
    """The crop itself, or the same pixels seen at the nearest field of view of a generator's range.

    Depth moves with the camera (`change_intrinsics`): by nearly as much as re-projection takes
    back, so that the relief that a generator reads from it is the object's own.
    """
    low, high = np.radians(fov_range_deg)
    camera = crop.camera.camera
    fov_rad = float(np.clip(camera.fov_x_rad, low, high))
    if fov_rad == camera.fov_x_rad:
        return crop
    believed = camera_from_fov(camera.width, camera.height, fov_rad)
    depth = change_intrinsics(PointMap(crop.depth, camera), believed).depth
    return replace(crop, depth=depth, camera=CropCamera(believed, crop.camera.photo_from_crop))
