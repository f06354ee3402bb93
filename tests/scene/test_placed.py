"""Are the placed meshes of a scene those that have a mesh and a place, where they stand?"""

from pathlib import Path

import numpy as np

from scene.placed import in_camera_frame, placed_meshes
from scene.store import Store
from scene.types import Artifact, FitReport, Scene, SceneObject, Similarity
from support.shapes import box_mesh

QUARTER = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], np.float64)
FIT = FitReport(0.5, 2.0, 0, 0, 1, 100, 1)


def test_objects_without_mesh_or_place_are_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    mask = Artifact("mask", "0" * 64, ".png")
    meshes = [box_mesh((-0.5, -0.25, -0.5), (0.5, 0.25, high)) for high in (0.1, 0.2, 0.3)]
    place = Similarity(0.5, QUARTER, np.array([1.0, 2.0, 3.0]))
    mug, lost, pan = (
        SceneObject(name, f"a {name}", name, mask, mesh=store.save(mesh))
        for name, mesh in zip(("mug", "lost", "pan"), meshes, strict=True)
    )
    objects = (
        SceneObject("bare", "", "bare", mask),
        SceneObject(**{**vars(pan), "camera_from_object": place, "fit": FIT}),
        lost,
        SceneObject(**{**vars(mug), "camera_from_object": place, "fit": FIT}),
    )
    placed = placed_meshes(Scene(mask, objects=objects), store)
    assert [(o.id, o.name, o.label) for o in placed] == [
        ("pan", "pan", "a pan"), ("mug", "mug", "a mug")
    ]  # fmt: skip
    for o, mesh in zip(placed, (meshes[2], meshes[0]), strict=True):
        np.testing.assert_array_equal(o.mesh.vertices, mesh.vertices)
    (_, vertices), _ = in_camera_frame(placed)
    x, y, z = meshes[2].vertices.T
    np.testing.assert_allclose(vertices, np.stack([z / 2 + 1, y / 2 + 2, 3 - x / 2], 1), atol=1e-6)
