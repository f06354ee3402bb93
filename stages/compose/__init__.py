"""Compose: placed meshes and the camera -> one GLB, and the overlay: the re-render on the photo.

Another file format is no backend of it: an exporter starts from `scene/placed.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from scene.placed import PlacedMesh
from scene.types import Camera, Mask, Photo, Uint8
from stages.backends import Backend, SettingsT, Stage


@dataclass(frozen=True, eq=False)
class Composition:
    """glb: the scene file's bytes; overlay (H, W, 3): the scene seen by the photo's camera."""

    glb: bytes
    overlay: Uint8


class Composer(Protocol):
    """What a compose backend does."""

    def compose(
        self,
        objects: list[PlacedMesh],
        camera: Camera,
        photo: Photo,
        masks: list[Mask],
        extras: dict[str, Any],
    ) -> Composition:
        """One file with a node per object and the photo's camera; the overlay shows all masks."""
        ...


ComposerT = TypeVar("ComposerT", bound=Composer)


@dataclass(frozen=True, kw_only=True)
class ComposeBackend(Backend[SettingsT, ComposerT]):
    """What is asked of a compose backend."""


STAGE = Stage[ComposeBackend[Any, Composer]]("compose", ComposeBackend, version="2")


def run(
    composer: Composer,
    objects: list[PlacedMesh],
    camera: Camera,
    photo: Photo,
    masks: list[Mask],
    extras: dict[str, Any],
) -> Composition:
    """Compose a scene; object names must differ, since viewers find nodes by name."""
    names = [o.name for o in objects]
    if len(set(names)) != len(names):
        raise ValueError(f"object names are not unique: {', '.join(sorted(names))}")
    return composer.compose(objects, camera, photo, masks, extras)
