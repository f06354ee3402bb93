"""Materials and normals of meshes: kept in files as glTF has them, and the same after reading."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from fingerprints.measure import glb_tree
from scene.glb import MeshNode, object_from_glb, object_to_glb, scene_to_glb
from scene.material import alpha_without_noise
from scene.normals import smooth_normals, vertex_tangents
from scene.types import Camera, Material, ObjectMesh, Similarity
from support.extras import VALIDATOR
from support.shapes import box_mesh, letter_f

SIDE_PX = 8


def _noise(channels: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIDE_PX, SIDE_PX, channels), np.uint8)


def _glazed() -> ObjectMesh:
    """A mesh with every map."""
    mesh = letter_f()
    material = Material(_noise(1, 0)[..., 0], _noise(2, 1), _noise(3, 2), double_sided=True)
    normals = smooth_normals(mesh.vertices, mesh.faces)
    return replace(mesh, texture=_noise(3, 3), material=material, normals=normals)


def test_a_material_comes_back_from_its_file_as_it_was() -> None:
    mesh = _glazed()
    data = object_to_glb(mesh)
    back = object_from_glb(data)
    for name in ("alpha", "metallic_roughness", "normal_map", "double_sided"):
        np.testing.assert_array_equal(getattr(back.material, name), getattr(mesh.material, name))
    np.testing.assert_array_equal(back.texture, mesh.texture)
    np.testing.assert_allclose(back.normals, mesh.normals, atol=1e-6)
    assert object_to_glb(back) == data


def test_a_file_has_the_maps_where_gltf_wants_them() -> None:
    mesh = _glazed()
    node = MeshNode("mug", mesh, Similarity(1.0, np.eye(3), np.array([0, 0, 2.0])), {})
    tree = glb_tree(scene_to_glb([node], Camera(8, 6, 9.0, 9.0, 4.0, 3.0), {}))
    (material,), images = tree["materials"], {i["name"]: i["array"] for i in tree["images"]}
    surface = material["pbrMetallicRoughness"]
    assert (material["alphaMode"], material["doubleSided"]) == ("BLEND", True)
    assert (surface["metallicFactor"], surface["roughnessFactor"]) == (1.0, 1.0)
    assert material["name"] == tree["meshes"][0]["name"] == "mug"
    assert set(images) == {"mug", "mug metallic-roughness", "mug normals"}
    np.testing.assert_array_equal(images["mug"][..., 3], mesh.material.alpha)
    packed = images["mug metallic-roughness"]
    np.testing.assert_array_equal(packed[..., [2, 1]], mesh.material.metallic_roughness)
    np.testing.assert_array_equal(images["mug normals"], mesh.material.normal_map)
    attributes = tree["meshes"][0]["primitives"][0]["attributes"]
    assert set(attributes) == {"POSITION", "NORMAL", "TEXCOORD_0", "TANGENT"}


def test_a_mesh_without_maps_is_opaque_matt_and_single_sided() -> None:
    assert vars(object_from_glb(object_to_glb(letter_f())).material) == vars(Material())


def test_noise_in_alpha_makes_no_holes() -> None:
    random = np.random.default_rng(4)
    noisy = np.clip(random.normal(240, 10, (64, 64)), 0, 255).astype(np.uint8)
    noisy[random.random((64, 64)) < 0.02] = 0
    assert alpha_without_noise(noisy) is None


def test_a_part_that_is_see_through_stays_so_and_the_rest_is_whole() -> None:
    alpha = np.full((64, 64), 246, np.uint8)
    alpha[8:32, 8:32] = 70
    kept = alpha_without_noise(alpha)
    assert kept is not None
    assert (kept[10:30, 10:30] == 70).all() and (kept[36:] == 255).all()


def _ball_with_a_seam() -> tuple[trimesh.Trimesh, np.ndarray, np.ndarray]:
    """A ball, and the same with every vertex once per half of it."""
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.4)
    half = (ball.triangles_center[:, 0] > 0).astype(np.int64)
    keys, faces = np.unique(ball.faces * 2 + half[:, None], return_inverse=True)
    return ball, keys // 2, faces.reshape(-1, 3)


def test_normals_across_a_seam_are_those_of_the_whole_mesh() -> None:
    ball, source, faces = _ball_with_a_seam()
    assert len(source) > len(ball.vertices)
    whole = smooth_normals(ball.vertices, ball.faces)
    split = smooth_normals(ball.vertices[source], faces)
    assert _degrees(split, whole[source]).max() < 0.1
    assert _degrees(whole, ball.vertices / 0.4).max() < 1
    mesh = ObjectMesh(
        ball.vertices[source].astype(np.float32), faces.astype(np.int32),
        np.zeros((len(source), 2), np.float32), np.zeros((2, 2, 3), np.uint8), normals=split,
    )  # fmt: skip
    read = trimesh.load_scene(trimesh.util.wrap_as_stream(object_to_glb(mesh)), "glb")
    (written,) = read.geometry.values()
    assert _degrees(written.vertex_normals * (1, -1, -1), whole[source]).max() < 0.1


def test_tangents_follow_u_and_the_bitangent_goes_up_in_the_texture() -> None:
    """A square that faces the viewer, upright, then with its texture mirrored."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    faces, facing = np.array([[0, 1, 2], [0, 2, 3]]), np.tile([0.0, 0, 1], (4, 1))
    uv = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], float)
    np.testing.assert_allclose(
        vertex_tangents(vertices, faces, uv, facing), np.tile([1.0, 0, 0, 1], (4, 1)), atol=1e-6
    )
    mirrored = np.column_stack([1 - uv[:, 0], uv[:, 1]])
    np.testing.assert_allclose(
        vertex_tangents(vertices, faces, mirrored, facing),
        np.tile([-1.0, 0, 0, -1], (4, 1)), atol=1e-6,
    )  # fmt: skip


@pytest.mark.extra("validator")
def test_the_validator_accepts_a_material_with_every_map(tmp_path: Path) -> None:
    data = object_to_glb(_glazed())
    (tmp_path / "mug.glb").write_bytes(data)
    found = subprocess.run(
        ["node", str(VALIDATOR / "validate.js"), str(tmp_path / "mug.glb")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    issues = json.loads(found.stdout)["issues"]
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]


def _degrees(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angles between unit vectors (N, 3), exact for small ones too."""
    return np.degrees(2 * np.arcsin(np.clip(np.linalg.norm(first - second, axis=1) / 2, 0, 1)))


def test_a_vertex_without_a_direction_is_written_with_one(tmp_path: Path) -> None:
    """glTF asks for unit normals; scans have faces without area."""
    mesh = box_mesh((-0.1, -0.1, -0.1), (0.1, 0.1, 0.1))
    normals = np.zeros_like(mesh.vertices)
    node = MeshNode("a", replace(mesh, normals=normals), Similarity(1, np.eye(3), np.zeros(3)), {})
    (tmp_path / "a.glb").write_bytes(scene_to_glb([node], None, {}))
    found = trimesh.load_scene(tmp_path / "a.glb", process=False).geometry["a"]
    assert isinstance(found, trimesh.Trimesh)
    np.testing.assert_allclose(np.linalg.norm(found.vertex_normals, axis=1), 1, atol=1e-6)
