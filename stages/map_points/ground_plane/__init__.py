"""How deep is the scene when its objects stand on a flat ground? A point map without weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scene.cameras import camera_from_fov
from scene.errors import BadInput
from scene.types import Bool, Camera, Mask, Photo, PointMap
from stages.map_points import MapPointsBackend
from stages.map_points.shared.blocks import row_rays, scene_depth, stand_objects
from stages.map_points.shared.pitch import find_pitch


@dataclass(frozen=True)
class Settings:
    """What the map assumes where neither the photo nor the camera says it.

    fov_x_deg: horizontal field of view when the camera is unknown.
    pitch_deg: angle of the optical axis below the horizontal; None estimates it from the photo.
    usual_pitch_deg, usual_pitch_spread_deg: the pitch expected before looking at the photo, and
    its standard deviation.
    camera_height: distance of the camera from the ground, in the unit that the map gets.
    depth_over_width: extent along the view of an upright object that shows no round rim, as a
    share of its visible width; flat and round objects are as deep as wide.
    backdrop: distance of the upright wall behind everything, relative to the farthest object.
    """

    fov_x_deg: float = 49.0
    pitch_deg: float | None = None
    usual_pitch_deg: float = 25.0
    usual_pitch_spread_deg: float = 14.0
    camera_height: float = 1.0
    depth_over_width: float = 0.6
    backdrop: float = 1.3

    def __post_init__(self) -> None:
        if not 1 <= self.fov_x_deg <= 170:
            raise BadInput(f"fov_x_deg: expected 1 to 170, got {self.fov_x_deg:g}")
        if self.pitch_deg is not None and not 0 <= self.pitch_deg <= 89:
            raise BadInput(f"pitch_deg: expected 0 to 89, got {self.pitch_deg:g}")
        for name in ("usual_pitch_spread_deg", "camera_height", "depth_over_width", "backdrop"):
            if not getattr(self, name) > 0:
                raise BadInput(f"{name}: expected more than 0, got {getattr(self, name):g}")


class GroundPlane:
    """A ground plane with the masked objects standing on it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def map_points(
        self, photo: Photo, camera: Camera | None, masks: tuple[Mask, ...], file: object | None
    ) -> PointMap:
        """Depth of ground, objects and a wall behind them; `file` is for other backends.

        depth (H, W) float32, positive and finite everywhere, in units of Settings.camera_height.
        """
        notes = [f"unit: the camera is {self.settings.camera_height:g} above the ground"]
        if camera is not None and (camera.height, camera.width) != photo.rgb.shape[:2]:
            raise ValueError(f"camera is {camera.height} by {camera.width}, not the photo's size")
        if camera is None:
            fov_x_rad = np.radians(self.settings.fov_x_deg)
            camera = camera_from_fov(photo.width, photo.height, fov_x_rad)
            notes.append(f"horizontal field of view assumed: {self.settings.fov_x_deg:g} degrees")
        outlines = [_checked(mask, photo) for mask in masks if mask.pixels.any()]
        pitch_deg, source = self._pitch_deg(photo, camera, outlines)
        notes.append(f"pitch {pitch_deg:.1f} degrees, {source}; no roll")
        rows = row_rays(camera, np.radians(pitch_deg), self.settings.camera_height)
        cut = sum(bool(outline[-1].any()) for outline in outlines)
        if cut:
            notes.append(f"{cut} objects are cut by the lower edge: they may be nearer than shown")
        blocks = stand_objects(rows, camera, outlines, self.settings.depth_over_width)
        depth = scene_depth(rows, camera, outlines, blocks, self.settings.backdrop)
        return PointMap(depth, camera, metric=False, notes=tuple(notes), guessed=True)

    def _pitch_deg(self, photo: Photo, camera: Camera, masks: list[Bool]) -> tuple[float, str]:
        s = self.settings
        if s.pitch_deg is not None:
            return s.pitch_deg, "as given"
        pitch = find_pitch(photo, camera, masks, s.usual_pitch_deg, s.usual_pitch_spread_deg)
        return pitch[0], pitch[1] or "the usual one; the photo shows no cue"


def load(settings: Settings, device: str) -> GroundPlane:
    """The backend; it has no weights and always runs on the CPU."""
    return GroundPlane(settings)


def _checked(mask: Mask, photo: Photo) -> Bool:
    if mask.pixels.shape != photo.rgb.shape[:2]:
        raise ValueError(f"mask is {mask.pixels.shape}, expected {photo.rgb.shape[:2]}")
    return mask.pixels


BACKEND = MapPointsBackend(version="5", settings=Settings, load=load, needs_masks=True)
