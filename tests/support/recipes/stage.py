"""Tint: a generated mesh -> the same mesh in other colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from scene.types import ObjectMesh
from stages.backends import Backend, SettingsT, Stage


class Tinter(Protocol):
    """What a tint backend does."""

    def tint(self, mesh: ObjectMesh) -> ObjectMesh:
        """The mesh with other colours."""
        ...


TinterT = TypeVar("TinterT", bound=Tinter)


@dataclass(frozen=True, kw_only=True)
class TintBackend(Backend[SettingsT, TinterT]):
    """What is asked of a tint backend."""


STAGE = Stage[TintBackend[Any, Tinter]](
    "tint", TintBackend, version="1", per_object=True, optional=True
)


def run(tinter: Tinter, mesh: ObjectMesh) -> ObjectMesh:
    """Tint one mesh and check that it kept its shape."""
    tinted = tinter.tint(mesh)
    if tinted.vertices.shape != mesh.vertices.shape:
        raise ValueError(f"{len(tinted.vertices)} vertices, the mesh has {len(mesh.vertices)}")
    return tinted
