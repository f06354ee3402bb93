"""Is a GLB that another program wrote read as what a viewer shows of it, or refused by name?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from scene.errors import BadInput
from scene.foreign_glb import mesh_from_glb
from scene.glb import object_from_glb, object_to_glb
from scene.types import Float64, ObjectMesh
from support.glbs import STYLES, Glb, plain
from support.shapes import letter_f


def painted_f() -> ObjectMesh:
    mesh = letter_f()
    texture = np.random.default_rng(0).integers(0, 255, (32, 48, 3)).astype(np.uint8)
    texture = np.repeat(np.repeat(texture[::8, ::8], 8, 0), 8, 1)  # patches, larger than a filter
    return ObjectMesh(mesh.vertices, mesh.faces, mesh.uv, texture)


def corners(mesh: ObjectMesh) -> Float64:
    """(M, 3, 3) the corners of every face, faces in an order of their own."""
    found = np.round(mesh.vertices[mesh.faces].astype(np.float64), 3) + 0.0
    return found[np.lexsort(found.reshape(len(found), -1).T)]


def colours(mesh: ObjectMesh) -> Float64:
    """(M, 3) the texture's colour at the middle of every face, in the same order."""
    found = np.round(mesh.vertices[mesh.faces].astype(np.float64), 3) + 0.0
    height, width = mesh.texture.shape[:2]
    middle = (mesh.uv[mesh.faces].mean(1) * [width, height]).astype(int)
    shown = mesh.texture[middle[:, 1].clip(0, height - 1), middle[:, 0].clip(0, width - 1)]
    return shown[np.lexsort(found.reshape(len(found), -1).T)].astype(np.float64)


def test_our_own_files_come_back_to_the_bit() -> None:
    data = object_to_glb(painted_f())
    assert object_to_glb(mesh_from_glb(data)) == object_to_glb(object_from_glb(data)) == data


@pytest.mark.parametrize("style", STYLES)
def test_every_way_of_writing_it_is_the_same_mesh(style: str) -> None:
    mesh = painted_f()
    read = mesh_from_glb(STYLES[style](mesh).data())
    np.testing.assert_allclose(corners(read), corners(mesh), atol=2e-3)
    assert np.abs(colours(read) - colours(mesh)).max() <= (40 if style == "quantised" else 1)
    assert len(read.vertices) <= 3 * len(mesh.faces)


def changed(change: Callable[[Glb], object]) -> bytes:
    glb = plain(painted_f())
    change(glb)
    return glb.data()


def test_colours_without_a_texture_are_painted() -> None:
    """A factor is linear light; vertex colours too; a textured part beside them stays as it is."""
    glb = plain(painted_f())
    first = glb.tree["meshes"][0]["primitives"][0]
    count = len(painted_f().vertices)
    colour = np.tile(np.array([[0.0, 1.0, 0.0]], np.float32), (count, 1))
    grey = glb.material(baseColorFactor=[0.2140, 0.2140, 0.2140, 1])
    bare = {"POSITION": first["attributes"]["POSITION"]}
    glb.tree["meshes"][0]["primitives"] += [
        {**first, "attributes": bare, "material": grey},
        {"attributes": {**bare, "COLOR_0": glb.accessor(colour)}, "indices": first["indices"]},
    ]
    read, faces = mesh_from_glb(glb.data()), len(painted_f().faces)
    parts = [
        ObjectMesh(read.vertices, read.faces[i * faces : (i + 1) * faces], read.uv, read.texture)
        for i in range(3)
    ]
    assert np.abs(colours(parts[0]) - colours(painted_f())).max() <= 1
    assert np.abs(colours(parts[1]) - 127).max() <= 1
    assert np.array_equal(np.unique(colours(parts[2]), axis=0), [[0, 255, 0]])


def test_a_texture_that_repeats_within_a_face_is_repeated() -> None:
    mesh = painted_f()
    attributes = {"TEXCOORD_0": (mesh.uv * 3).astype(np.float32)}

    def stretch(glb: Glb) -> None:
        first = glb.tree["meshes"][0]["primitives"][0]
        first["attributes"]["TEXCOORD_0"] = glb.accessor(attributes["TEXCOORD_0"])

    read = mesh_from_glb(changed(stretch))
    assert read.texture.shape[0] in (96, 128) and read.texture.shape[1] in (144, 192)
    assert read.uv.min() >= 0 and read.uv.max() <= 1


def _external(glb: Glb) -> None:
    glb.tree["images"] = [{"uri": "wood.png"}]


def _compressed(glb: Glb) -> None:
    glb.tree["extensionsRequired"] = ["KHR_draco_mesh_compression"]


def _armature(glb: Glb) -> None:
    glb.tree["nodes"][0]["skin"] = 0


def _no_mesh(glb: Glb) -> None:
    glb.tree["nodes"] = [{"name": "Camera"}]


def _ring(glb: Glb) -> None:
    glb.tree["nodes"][0]["children"] = [0]


def _beyond(glb: Glb) -> None:
    glb.tree["accessors"][0]["count"] = 10**6


def _missing(glb: Glb) -> None:
    glb.tree["meshes"][0]["primitives"][0]["attributes"] = {"NORMAL": 0}


def _not_finite(glb: Glb) -> None:
    glb.tree["nodes"][0]["translation"] = [0, float("nan"), 0]


@pytest.mark.parametrize(
    ("change", "told"),
    [(_external, "embedded"), (_compressed, "needs KHR_draco"), (_armature, "armature"),
     (_no_mesh, "no surface"), (_ring, "ring"), (_beyond, "beyond its data"),
     (_missing, "no whole GLB"), (_not_finite, "not finite")],
)  # fmt: skip
def test_what_cannot_be_read_is_told(change: Callable[[Glb], None], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        mesh_from_glb(changed(change))


@pytest.mark.parametrize("part", [0, 3, 19, 40, 300, -20])
def test_a_file_that_is_cut_or_none_is_told(part: int) -> None:
    data = plain(painted_f()).data()
    for broken in (data[:part], b"not a mesh at all, but long enough" + data[:part]):
        with pytest.raises(BadInput, match="GLB|cut short|again"):
            mesh_from_glb(broken)
