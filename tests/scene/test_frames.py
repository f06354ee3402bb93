"""Frames: an asymmetric F goes through every file and flip and comes back as it was."""

import io
import json
import struct

import numpy as np
import pytest

from scene.cameras import camera_from_fov
from scene.files import camera_to_json
from scene.frames import (
    gltf_from_opencv,
    gltf_node_from_similarity,
    similarity_from_gltf_node,
)
from scene.glb import MeshNode, object_from_glb, object_to_glb, scene_to_glb
from scene.raycast import render
from scene.types import Similarity
from support.shapes import letter_f


def _placement() -> Similarity:
    angle = 0.3
    rotation = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    )
    return Similarity(0.7, rotation, np.array([0.2, -0.1, 3.0]))


def _glb_tree(data: bytes) -> dict:
    length = struct.unpack("<I", data[12:16])[0]
    return json.loads(data[20 : 20 + length])


def test_object_glb_round_trip() -> None:
    mesh = letter_f()
    back = object_from_glb(object_to_glb(mesh))
    np.testing.assert_array_equal(back.vertices, mesh.vertices)
    np.testing.assert_array_equal(back.faces, mesh.faces)
    np.testing.assert_allclose(back.uv, mesh.uv, atol=1e-6)
    np.testing.assert_array_equal(back.texture, mesh.texture)


def test_glb_bytes_repeat() -> None:
    assert object_to_glb(letter_f()) == object_to_glb(letter_f())


def test_similarity_survives_the_gltf_node() -> None:
    placed = _placement()
    back = similarity_from_gltf_node(gltf_node_from_similarity(placed))
    assert back.scale == pytest.approx(placed.scale)
    np.testing.assert_allclose(back.rotation, placed.rotation, atol=1e-12)
    np.testing.assert_allclose(back.translation, placed.translation, atol=1e-12)


def test_scene_glb_holds_the_camera_frame_turned_to_gltf_axes() -> None:
    import trimesh

    mesh, placed = letter_f(), _placement()
    camera = camera_from_fov(320, 240, 0.9)
    data = scene_to_glb([MeshNode("letter", mesh, placed, {"role": "object"})], camera, {})
    loaded = trimesh.load_scene(io.BytesIO(data), file_type="glb", process=False)
    matrix, geometry = loaded.graph["letter"]
    vertices = np.asarray(loaded.geometry[geometry].vertices)
    world = vertices @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(gltf_from_opencv(world), placed.apply(mesh.vertices), atol=1e-6)
    tree = _glb_tree(data)
    names = {node["name"]: node for node in tree["nodes"]}
    assert names["letter"]["extras"] == {"role": "object"}
    assert "matrix" not in names["photo_camera"] and "translation" not in names["photo_camera"]
    assert names["photo_camera"]["extras"]["K"] == camera_to_json(camera)["K"]
    material = tree["materials"][0]
    assert material.get("alphaMode", "OPAQUE") == "OPAQUE"
    assert "baseColorTexture" in material["pbrMetallicRoughness"]


def test_the_rendered_letter_reads_like_an_f() -> None:
    """Left is left and up is up: the stem fills the left column, the arms lie in the upper half."""
    mesh = letter_f()
    camera = camera_from_fov(100, 100, 0.5)
    vertices = Similarity(1.0, np.eye(3), np.array([0, 0, 2.5])).apply(mesh.vertices)
    rgba, index, depth = render([(mesh, vertices)], camera)
    seen = index == 0
    rows, cols = np.nonzero(seen)
    left, right = cols.min(), cols.max()
    assert seen[:, left + 3].sum() > 0.9 * (rows.max() - rows.min())
    arm_rows = np.nonzero(seen[:, right - 3])[0]
    assert arm_rows.max() < 45
    assert np.nanmin(depth[:, left + 3]) < np.nanmin(depth[:, right - 3])  # the stem is nearer
    assert (rgba[~seen] == 0).all()
