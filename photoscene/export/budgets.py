"""Fewer faces, smaller textures, closed surfaces: a mesh in what a format or a person asks for."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from photoscene.export.libraries import require
from scene.seams import is_closed
from scene.types import ObjectMesh, Uint8

BAKED_PX = 256, 8192  # sides of textures that charts are laid out for
CLOSED_FACES = 20_000  # of a shell around a mesh that has fewer


def within_budget(mesh: ObjectMesh, faces: int | None, texture_px: int | None) -> ObjectMesh:
    """A mesh with at most so many faces, its maps baked anew where that takes any away, and maps of
    at most texture_px; None: as many as there are."""
    if faces is not None and len(mesh.faces) > faces:
        mesh = _finished(mesh, faces, texture_px, "--faces")
    return mesh if texture_px is None else _with_maps_within(mesh, texture_px)


def closed(mesh: ObjectMesh, faces: int | None, texture_px: int | None) -> ObjectMesh:
    """A mesh that is a solid's surface as it is, or the shell around it."""
    if is_closed(mesh.vertices, mesh.faces):
        return mesh
    budget = faces or max(len(mesh.faces), CLOSED_FACES)
    mesh = _finished(mesh, budget, texture_px, "an open mesh as a solid")
    return mesh if texture_px is None else _with_maps_within(mesh, texture_px)


def _finished(mesh: ObjectMesh, faces: int, texture_px: int | None, what: str) -> ObjectMesh:
    """As the stage finish does it, from the mesh and its own maps."""
    from stages.finish.asset import BACKEND, finished

    require(what, BACKEND.libraries)
    side = max(mesh.texture.shape[:2]) if texture_px is None else texture_px
    return finished(mesh, None, faces, int(np.clip(side, *BAKED_PX)))


def _with_maps_within(mesh: ObjectMesh, texture_px: int) -> ObjectMesh:
    material = mesh.material
    maps = {
        name: None if pixels is None else _shrunk(pixels, texture_px)
        for name, pixels in (
            ("alpha", material.alpha),
            ("metallic_roughness", material.metallic_roughness),
            ("normal_map", material.normal_map),
        )
    }
    return replace(
        mesh, texture=_shrunk(mesh.texture, texture_px), material=replace(material, **maps)
    )


def _shrunk(pixels: Uint8, texture_px: int) -> Uint8:
    """A map whose longer side is at most texture_px; every pixel the mean of what it covers."""
    height, width = pixels.shape[:2]
    scale = texture_px / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
