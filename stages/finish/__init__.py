"""Finish: a generated mesh -> a closed asset in a face budget, with baked maps, same outline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from scene.errors import CannotGenerate
from scene.types import CropCamera, Cutout, DenseMesh, ObjectMesh
from stages.backends import Backend, SettingsT, Stage
from stages.loans import after_the_loan

MAX_GROWTH = 0.02  # sides of the cube by which an asset may reach beyond its mesh


class Finisher(Protocol):
    """What a finish backend does."""

    def finish(
        self, mesh: ObjectMesh, dense: DenseMesh | None, image: Cutout, camera: CropCamera
    ) -> ObjectMesh:
        """The asset of a mesh that is pixel-aligned in its object crop (image, camera), in the same
        place; dense: what the mesh was made from, where that is known."""
        ...


FinisherT = TypeVar("FinisherT", bound=Finisher)


@dataclass(frozen=True, kw_only=True)
class FinishBackend(Backend[SettingsT, FinisherT]):
    """What is asked of a finish backend."""


STAGE = Stage[FinishBackend[Any, Finisher]](
    "finish", FinishBackend, version="1", per_object=True, optional=True
)


def run(
    finisher: Finisher,
    mesh: ObjectMesh,
    dense: DenseMesh | None,
    image: Cutout,
    camera: CropCamera,
) -> ObjectMesh:
    """Finish one mesh and check that the asset stands where the mesh did.

    On the CPU alone, and so after the finisher's loan: no other call waits for the device.
    """
    with after_the_loan():
        finished = finisher.finish(mesh, dense, image, camera)
    if not len(finished.faces):
        raise CannotGenerate("nothing is left of the mesh after finishing: set finish.backend=none")
    used = mesh.vertices[np.unique(mesh.faces)]
    for end in (np.ndarray.min, np.ndarray.max):
        moved = float(np.abs(end(finished.vertices, axis=0) - end(used, axis=0)).max())
        if moved > MAX_GROWTH:
            raise ValueError(f"the asset's box is {moved:.3f} off its mesh's")
    return finished
