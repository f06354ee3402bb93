"""Compose backend `gltf`: binary glTF 2.0, and the overlay drawn through the photo's camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scene.drawing import draw_outlines
from scene.errors import BadInput
from scene.glb import MeshNode, scene_to_glb
from scene.placed import PlacedMesh, in_camera_frame
from scene.raycast import render
from scene.types import Camera, Mask, Photo, Uint8
from stages.compose import ComposeBackend, Composition

BACKGROUND_BRIGHTNESS = 0.35  # how much of the photo is left where no object is drawn


@dataclass(frozen=True)
class Settings:
    """outline_px: width of the masks' outlines in the overlay, 0 for none."""

    outline_px: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.outline_px <= 50:
            raise BadInput(f"outline_px: expected 0 to 50, got {self.outline_px}")


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
        glb = scene_to_glb([_node(o) for o in objects], camera, extras)
        return Composition(glb, self._overlay(objects, camera, photo, masks))

    def _overlay(
        self, objects: list[PlacedMesh], camera: Camera, photo: Photo, masks: list[Mask]
    ) -> Uint8:
        rgba, _, _ = render(in_camera_frame(objects), camera)
        grey = photo.rgb.mean(-1, keepdims=True)
        picture = np.where(rgba[..., 3:] > 0, rgba[..., :3], grey * BACKGROUND_BRIGHTNESS)
        picture = np.ascontiguousarray(picture.astype(np.uint8))
        if self.settings.outline_px > 0:
            draw_outlines(picture, [m.pixels for m in masks], self.settings.outline_px)
        return picture


def _node(o: PlacedMesh) -> MeshNode:
    extras = {
        "role": "object",
        "id": o.id,
        "label": o.label,
        "silhouette_iou": round(o.fit.silhouette_iou, 4),
        "grade": o.fit.grade,
        "warnings": list(o.fit.warnings),
    }
    return MeshNode(o.name, o.mesh, o.camera_from_object, extras)


def load(settings: Settings, device: str) -> Gltf:
    """Nothing to load."""
    return Gltf(settings)


BACKEND = ComposeBackend(version="2", settings=Settings, load=load)
