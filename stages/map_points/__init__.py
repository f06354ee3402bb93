"""Map points: a photo and what is known of its camera -> depth per pixel, and the camera."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np

from scene.errors import BadInput
from scene.types import Camera, DepthFile, Float32, Mask, Photo, PointMap
from stages.backends import Backend, SettingsT, Stage

MIN_KNOWN_FRACTION = 0.001


class PointMapper(Protocol):
    """What a map_points backend does."""

    def map_points(
        self,
        photo: Photo,
        camera: Camera | None,
        masks: tuple[Mask, ...],
        file: DepthFile | None,
    ) -> PointMap:
        """The scene's depth in the photo's camera; a known camera is kept as it is."""
        ...


PointMapperT = TypeVar("PointMapperT", bound=PointMapper)


@dataclass(frozen=True, kw_only=True)
class MapPointsBackend(Backend[SettingsT, PointMapperT]):
    """What is asked of a map_points backend."""

    needs_masks: bool = False
    """Whether it is handed the objects' masks, and so waits for segment."""


STAGE = Stage[MapPointsBackend[Any, PointMapper]]("map_points", MapPointsBackend, version="1")


def run(
    mapper: PointMapper,
    photo: Photo,
    camera: Camera | None,
    masks: tuple[Mask, ...],
    file: DepthFile | None,
) -> PointMap:
    """Map a photo's points; unknown or impossible depths, and their normals, come back as NaN.

    Raises BadInput when the map knows next to nothing.
    """
    point_map = mapper.map_points(photo, camera, masks, file)
    if point_map.depth.shape != photo.rgb.shape[:2]:
        raise ValueError(f"point map is {point_map.depth.shape}, the photo {photo.rgb.shape[:2]}")
    depth = point_map.depth.astype(np.float32)
    depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan).astype(np.float32)
    known = float(np.isfinite(depth).mean())
    if known < MIN_KNOWN_FRACTION:
        raise BadInput(
            f"the point map has no usable depth ({known:.2%} of the pixels): "
            "depth is metres along the view, more than 0"
        )
    return replace(point_map, depth=depth, normals=_usable(point_map.normals, depth))


def _usable(normals: Float32 | None, depth: Float32) -> Float32 | None:
    """Unit normals (H, W, 3), NaN where they or the depth (H, W) are unknown.

    Raises ValueError when they do not fit the photo.
    """
    if normals is None:
        return None
    if normals.shape != (*depth.shape, 3):
        raise ValueError(f"normals are {normals.shape}, the photo {depth.shape}")
    length = np.linalg.norm(normals, axis=-1)
    known = np.isfinite(depth) & np.isfinite(length) & (length > 0.5)
    unit = normals / np.where(known, length, 1)[..., None]
    return np.where(known[..., None], unit, np.nan).astype(np.float32)
