"""Compose backend `gltf`: binary glTF 2.0 and an overlay picture."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from scene.glb import PlacedMesh, scene_to_glb
from scene.raycast import render
from scene.types import Camera, Mask, Photo, Uint8
from stages.compose import Composition

VERSION = "1"
BACKGROUND_SHARE = 0.35  # how much of the photo is left where no object is drawn
GOLDEN_RATIO = 0.618034  # steps of hue that keep neighbours apart


@dataclass(frozen=True)
class Settings:
    """outline_px: width of the masks' outlines in the overlay, 0 for none."""

    outline_px: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.outline_px <= 50:
            raise ValueError(f"outline_px: expected 0 to 50, got {self.outline_px}")


@dataclass(frozen=True)
class Gltf:
    """Writes the scene."""

    settings: Settings

    def compose(
        self,
        objects: list[PlacedMesh],
        camera: Camera,
        photo: Photo,
        masks: list[Mask],
        extras: dict[str, Any],
    ) -> Composition:
        """The scene's GLB, and its re-render on the dimmed photo with the masks' outlines."""
        glb = scene_to_glb(objects, camera, extras)
        return Composition(glb, self._overlay(objects, camera, photo, masks))

    def _overlay(
        self, objects: list[PlacedMesh], camera: Camera, photo: Photo, masks: list[Mask]
    ) -> Uint8:
        placed = [(o.mesh, o.camera_from_object.apply(o.mesh.vertices)) for o in objects]
        rgba, _, _ = render(placed, camera)
        grey = photo.rgb.mean(-1, keepdims=True)
        picture = np.where(rgba[..., 3:] > 0, rgba[..., :3], grey * BACKGROUND_SHARE)
        picture = np.ascontiguousarray(picture.astype(np.uint8))
        if self.settings.outline_px > 0:
            for index, mask in enumerate(masks):
                contours, _ = cv2.findContours(
                    mask.pixels.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
                )
                cv2.drawContours(
                    picture, contours, -1, mask_colour(index), self.settings.outline_px
                )
        return picture


def load(settings: Settings, device: str) -> Gltf:
    """Nothing to load."""
    return Gltf(settings)


def mask_colour(index: int) -> tuple[int, int, int]:
    """A bright sRGB colour per object, far from its neighbours' in hue."""
    red, green, blue = colorsys.hsv_to_rgb((0.02 + index * GOLDEN_RATIO) % 1, 0.8, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)
