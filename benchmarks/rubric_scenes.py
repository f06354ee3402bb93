"""Scenes of known quality: a plain good one to spoil, and the public ones as a perfect run would
have made them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import trimesh

from alignment.visible import render_placed_depth
from benchmarks.known_scenes import load_scene
from photoscene.export.source import Source
from photoscene.quality.evidence import Evidence, ObjectEvidence
from scene.frames import gltf_from_opencv
from scene.glb import MeshNode, object_from_glb, scene_to_glb
from scene.placed import PlacedMesh
from scene.types import Artifact, Camera, FitReport, Float64, ObjectMesh, Similarity

PHOTO = Artifact("photo", "0" * 64, ".png")
FIT = FitReport(1, 3, 0.01, 0.02, 1, 100, 0.98)
CAMERA = Camera(320, 240, 300.0, 300.0, 160.0, 120.0)
FLOOR_Y, DISTANCE, SIZE = 1.5, 3.0, 1.0
TEXTURE_PX = 128
LEVEL: Float64 = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, FLOOR_Y], [0, 0, 0, 1]])
# Rows that are rightly flagged: scanned textures of 384 px in photos of 768, plates with three
# doubled edges, and modelled packages whose islands repeat, or leave, a small texture.
FLAWS = {
    "gso_white_bowl": {"resolution"},
    "gso_basket": {"resolution", "UV stretch", "seen"},
    "gso_chefmate_8_frypan": {"resolution"},
    "gso_plate": {"non-manifold"},
    "rs_can": {"UV overlap", "UV stretch"},
    "rs_cereal": {"slivers", "UV islands", "UV overlap", "UV stretch"},
    "rs_milk": {"slivers", "UV overlap", "UV stretch"},
    "rs_bread": {"seams", "slivers", "UV overlap"},
}


def good_mesh() -> ObjectMesh:
    """A box of side 0.8 in a fine mesh, an island per side, in colours that run across them."""
    body = trimesh.creation.box((0.8, 0.8, 0.8)).subdivide().subdivide().subdivide()
    vertices, faces = np.asarray(body.vertices), np.asarray(body.faces)
    normals = np.asarray(body.face_normals)
    side = np.abs(normals).argmax(1) * 2 + (normals.max(1) > 0.5)
    new_vertices, new_faces, uv = [], [], []
    for number in range(6):
        own = faces[side == number]
        used, local = np.unique(own, return_inverse=True)
        flat = np.delete(vertices[used], number // 2, axis=1) + 0.4
        cell = np.array([number % 3, number // 3])
        uv.append((flat / 0.8 * 0.9 + 0.05 + cell) / [3, 2])
        new_faces.append(local.reshape(-1, 3) + sum(len(v) for v in new_vertices))
        new_vertices.append(vertices[used])
    ramp = np.linspace(90, 160, TEXTURE_PX).astype(np.uint8)
    texture = np.stack([np.full((TEXTURE_PX,) * 2, c, np.uint8) for c in (120, 110, 100)], 2)
    texture[..., 0] = np.minimum(ramp[:, None] // 8 + 100, 255)
    return ObjectMesh(
        np.concatenate(new_vertices).astype(np.float32),
        np.concatenate(new_faces).astype(np.int32),
        np.concatenate(uv).astype(np.float32),
        texture,
    )


def good_scene() -> Evidence:
    """Two boxes upright on the floor, seen from a little above, with the masks that they have."""
    placed = [
        PlacedMesh(name, name, name, good_mesh(), Similarity(SIZE, np.eye(3), at), FIT)
        for name, at in (("left", [-0.8, FLOOR_Y - 0.4, DISTANCE]), ("right", [0.7, 1.1, 3.4]))
        for at in [np.array(at)]
    ]
    return photographed(placed, CAMERA, LEVEL)


def photographed(placed: Sequence[PlacedMesh], camera: Camera, world: Float64 | None) -> Evidence:
    """The evidence of meshes that are where they are said to be, none before another one."""
    depth = np.full((camera.height, camera.width), np.nan, np.float32)
    objects = []
    for o in placed:
        view = render_placed_depth(o.camera_vertices, o.mesh.faces, camera)
        mask = np.zeros(depth.shape, bool)
        mask[view.box] = view.silhouette
        depth[view.box] = np.where(view.silhouette, view.depth, depth[view.box])
        objects.append(ObjectEvidence(o, mask, np.zeros_like(mask)))
    return Evidence(Source(tuple(placed), {}, camera, world, True, PHOTO), tuple(objects), depth)


def public_scene(folder: Path) -> Evidence:
    """A ground-truth scene as a perfect run would have made it: its true meshes at their places."""
    known = load_scene(folder)
    names = [e["name"] for e in json.loads((folder / "scene.json").read_text())["objects"]]
    placed = []
    for index, name in enumerate(names):
        mesh = object_from_glb((folder / "objects" / f"{index}_cam.glb").read_bytes())
        # These files have the camera's axes, not glTF's.
        mesh = replace(mesh, vertices=gltf_from_opencv(mesh.vertices).astype(np.float32))
        placed.append(
            PlacedMesh(name, name, name, mesh, Similarity(1, np.eye(3), np.zeros(3)), FIT)
        )
    together = np.any(known.masks, axis=0)
    objects = tuple(
        ObjectEvidence(o, mask, together & ~mask)
        for o, mask in zip(placed, known.masks, strict=True)
    )
    source = Source(tuple(placed), {}, known.camera, known.world_from_camera, True, PHOTO)
    return Evidence(source, objects, known.depth)


def with_first(evidence: Evidence, change: Callable[[PlacedMesh], PlacedMesh]) -> Evidence:
    """The evidence with its first object changed; photo, masks and depth stay."""
    first, *others = evidence.objects
    changed = replace(first, placed=change(first.placed))
    objects = (changed, *others)
    source = replace(evidence.source, placed=tuple(j.placed for j in objects))
    return replace(evidence, objects=objects, source=source)


def with_mesh(evidence: Evidence, change: Callable[[ObjectMesh], ObjectMesh]) -> Evidence:
    """The evidence with the mesh of its first object changed."""
    return with_first(evidence, lambda o: replace(o, mesh=change(o.mesh)))


def scene_glb(
    evidence: Evidence, path: Path, change: Callable[[Float64], Float64] = lambda v: v
) -> Path:
    """The scene file of the evidence, every vertex (N, 3) of the camera frame changed."""
    nodes = [
        MeshNode(
            o.name, replace(o.mesh, vertices=change(o.camera_vertices).astype(np.float32)),
            Similarity(1, np.eye(3), np.zeros(3)), {},
        )
        for o in evidence.source.placed
    ]  # fmt: skip
    path.write_bytes(scene_to_glb(nodes, evidence.source.camera, {}))
    return path
