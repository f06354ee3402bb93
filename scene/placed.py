"""The placed meshes of a scene: where drawing, exporting, checking and measuring a scene starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scene.store import Store
from scene.types import FitReport, Float64, ObjectMesh, Scene, Similarity


@dataclass(frozen=True, eq=False)
class PlacedMesh:
    """An object's mesh, in the object frame, and its place in the camera frame.

    id, name (unique in the scene) and label: as in `SceneObject`.
    """

    id: str
    name: str
    label: str
    mesh: ObjectMesh
    camera_from_object: Similarity
    fit: FitReport

    @property
    def camera_vertices(self) -> Float64:
        """(N, 3) the mesh's vertices in the camera frame, in units of the point map."""
        return self.camera_from_object.apply(self.mesh.vertices)


def placed_meshes(scene: Scene, store: Store) -> list[PlacedMesh]:
    """The objects that have a mesh and a place, in the order of the masks."""
    return [
        PlacedMesh(
            o.id, o.name, o.label, store.load(o.mesh, ObjectMesh), o.camera_from_object, o.fit
        )
        for o in scene.objects
        if o.mesh is not None and o.camera_from_object is not None and o.fit is not None
    ]


def in_camera_frame(placed: Sequence[PlacedMesh]) -> list[tuple[ObjectMesh, Float64]]:
    """What `scene.raycast.render` draws: each mesh with its vertices in the camera frame."""
    return [(o.mesh, o.camera_vertices) for o in placed]
