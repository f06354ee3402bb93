"""Finish backend `asset`: one closed shell in a face budget, unwrapped, with every map baked."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np

from scene.errors import BadInput
from scene.types import CropCamera, Cutout, DenseMesh, ObjectMesh
from stages.finish import FinishBackend

FINISH_EXTRA = "pip install -e '.[finish]'"
MIN_CELLS, MAX_CELLS = 224, 640
CELLS_PER_ROOT_FACE = 0.86  # the shell has several times the faces that are kept
# Faces and texture size by what the object is for.
PRESETS = {
    "lite": (20_000, 1024), "full": (200_000, 2048), "game": (30_000, 2048),
    "print": (1_000_000, 2048), "film": (1_000_000, 4096),
}  # fmt: skip
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """preset: what faces and texture_px are where they are null; photo: whether the photo's own
    pixels cover what it shows."""

    preset: Literal["lite", "full", "game", "print", "film"] = "full"
    faces: int | None = None
    texture_px: int | None = None
    photo: bool = True

    def __post_init__(self) -> None:
        if self.faces is not None and not 100 <= self.faces <= 2_000_000:
            raise BadInput(f"faces: expected 100 to 2000000, got {self.faces}")
        if self.texture_px is not None and not 256 <= self.texture_px <= 8192:
            raise BadInput(f"texture_px: expected 256 to 8192, got {self.texture_px}")

    @property
    def budget(self) -> tuple[int, int]:
        """Faces, and pixels along the texture's side."""
        faces, texture_px = PRESETS[self.preset]
        return self.faces or faces, self.texture_px or texture_px


@dataclass(frozen=True)
class Asset:
    """Finishes meshes of any kind; has no weights."""

    settings: Settings

    def finish(
        self, mesh: ObjectMesh, dense: DenseMesh | None, image: Cutout, camera: CropCamera
    ) -> ObjectMesh:
        """The asset of one mesh, or of the dense one that it was made from, where it is."""
        photo = (image, camera) if self.settings.photo else None
        return finished(mesh, dense, *self.settings.budget, photo)


def finished(
    mesh: ObjectMesh,
    dense: DenseMesh | None,
    faces: int,
    texture_px: int,
    photo: tuple[Cutout, CropCamera] | None = None,
) -> ObjectMesh:
    """The asset of a mesh, or of the dense one that it was made from, with at most so many faces;
    photo: what covers the part that it shows. What is a closed shell with so few faces keeps its
    surface."""
    from meshes.nearest import surface_tree
    from stages.finish.asset.baking import bake
    from stages.finish.asset.charts import unwrapped
    from stages.finish.asset.photo import photo_view
    from stages.finish.asset.shell import as_closed_shell, closed_shell
    from stages.finish.asset.simplify import simplified
    from stages.finish.asset.source import source_of

    started = time.monotonic()
    source = source_of(mesh, dense)
    tree = surface_tree(source.vertices, source.faces)
    fits = len(source.faces) <= faces
    light = as_closed_shell(source.vertices, source.faces) if fits else None
    if light is None:
        shell = closed_shell(source.vertices, source.faces, tree, shell_cells(faces))
        light = simplified(*shell, faces)
    cut = unwrapped(*light, texture_px)
    view = photo_view(photo[0].rgba, photo[1], *light) if photo is not None else None
    baked = bake(*light, cut, source, tree, texture_px, view)
    seconds = time.monotonic() - started
    logger.info("%d faces finished as %d: %.1f s", len(source.faces), len(baked.faces), seconds)
    return baked


def shell_cells(faces: int) -> int:
    """Grid cells along the longest side, for a budget of faces."""
    return int(np.clip(CELLS_PER_ROOT_FACE * faces**0.5, MIN_CELLS, MAX_CELLS))


def load(settings: Settings, device: str) -> Asset:
    """Nothing to load; runs on the CPU whatever the device."""
    return Asset(settings)


BACKEND = FinishBackend(
    version="2",
    settings=Settings,
    load=load,
    loading=(),
    libraries=dict.fromkeys(("numba", "xatlas"), FINISH_EXTRA),
)
