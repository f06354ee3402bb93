"""Are files written as they always were? Codecs and keys are pinned byte for byte.

Compressed bytes depend on the build of zlib, so PNG and NPZ files are compared with what Pillow and
numpy write of literal pixels here, and with pinned digests of what they hold.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fingerprints.measure import glb_tree
from scene.files import CODECS, fit_from_json, fit_to_json
from scene.glb import MeshNode, object_to_glb, scene_to_glb
from scene.keys import canonical_json, object_seed, stage_key
from scene.types import (
    Artifact,
    Camera,
    CropCamera,
    Cutout,
    Figure,
    FitReport,
    Mask,
    ObjectMesh,
    Photo,
    PointMap,
    Similarity,
)
from support.shapes import box_mesh

CAMERA = Camera(8, 6, 10.0, 10.5, 4.0, 3.25)
RGB = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
SET = (np.arange(48).reshape(6, 8) % 3) == 0
QUARTER = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])


def _encoded(value: Any) -> bytes:
    return CODECS[type(value)].encode(value)


def _pillow(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=3)
    return out.getvalue()


def test_kinds_and_suffixes_are_part_of_what_is_stored() -> None:
    assert {t.__name__: (c.kind, c.suffix) for t, c in CODECS.items()} == {
        "Photo": ("photo", ".png"),
        "Mask": ("mask", ".png"),
        "Cutout": ("cutout", ".png"),
        "PointMap": ("point_map", ".npz"),
        "CropCamera": ("crop_camera", ".json"),
        "ObjectMesh": ("mesh", ".glb"),
        "DenseMesh": ("dense_mesh", ".npz"),
        "dict": ("details", ".json"),
    }


def test_pictures_are_the_png_of_their_pixels() -> None:
    assert _encoded(Photo(RGB)) == _pillow(RGB)
    rgba = np.concatenate([RGB, RGB[..., :1]], -1)
    assert _encoded(Cutout(rgba)) == _pillow(rgba)
    assert _encoded(Mask(SET)) == _pillow(np.where(SET, np.uint8(255), np.uint8(0)))


@pytest.mark.parametrize(("level", "inside"), [(126, False), (127, False), (128, True)])
def test_a_masks_pixel_is_set_from_half_on(level: int, inside: bool) -> None:
    read = CODECS[Mask].decode(_pillow(np.full((2, 2), level, np.uint8)))
    assert read.pixels.all() == inside and read.pixels.any() == inside


def test_json_is_pinned_byte_for_byte() -> None:
    assert _encoded({"b": [1.5, None, "ü"], "a": {"z": 1, "y": True}}) == (
        b'{\n "a": {\n  "y": true,\n  "z": 1\n },\n "b": [\n  1.5,\n  null,\n  "\\u00fc"\n ]\n}\n'
    )
    text = json.loads(_encoded(CropCamera(CAMERA, QUARTER)))
    assert text == {
        "width": 8, "height": 6, "K": [[10.0, 0.0, 4.0], [0.0, 10.5, 3.25], [0.0, 0.0, 1.0]],
        "photo_from_crop": QUARTER.tolist(),
    }  # fmt: skip
    encoded = _encoded(CropCamera(CAMERA, QUARTER))
    assert encoded == (json.dumps(text, indent=1, sort_keys=True) + "\n").encode()


def test_a_point_map_is_an_npz_of_plain_arrays() -> None:
    depth = np.where(SET, np.float32(np.nan), np.float32(2.5))
    normals = np.full((6, 8, 3), (0, 0.6, -0.8), np.float32)
    data = _encoded(PointMap(depth, CAMERA, True, ("a note",), normals, guessed=True))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_DEFLATED}
        assert {i.date_time for i in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        held = [(n, hashlib.sha256(archive.read(n)).hexdigest()[:16]) for n in archive.namelist()]
    assert held == [
        ("depth.npy", "842bb0a2ab574aac"),
        ("K.npy", "33a24d24ad0e115b"),
        ("details.npy", "c64e4d596a3beca1"),
        ("normals.npy", "7393de95c73eee4e"),
    ]


def test_an_objects_glb_is_pinned() -> None:
    tree, mesh = glb_tree(object_to_glb(_cube())), _cube()
    faces, vertices, uv = (a.pop("array") for a in tree["accessors"][:3])
    np.testing.assert_array_equal(faces, mesh.faces.reshape(-1))
    np.testing.assert_array_equal(vertices.reshape(-1, 3), mesh.vertices * np.float32([1, -1, -1]))
    np.testing.assert_allclose(uv.reshape(-1, 2), mesh.uv, atol=1e-7)
    np.testing.assert_array_equal(tree["images"][0]["array"], mesh.texture)
    assert tree["accessors"][3]["unit"]  # normals
    assert tree["asset"] == {"version": "2.0", "generator": "photoscene"}
    assert tree["nodes"] == [{"name": "object", "mesh": 0}]
    assert tree["meshes"][0]["primitives"] == [
        {"attributes": {"POSITION": 1, "TEXCOORD_0": 2, "NORMAL": 3}, "indices": 0, "mode": 4,
         "material": 0}
    ]  # fmt: skip
    assert tree["materials"] == [
        {
            "pbrMetallicRoughness": {
                "baseColorTexture": {"index": 0}, "roughnessFactor": 0.8, "metallicFactor": 0.0,
            },
            "alphaMode": "OPAQUE",
            "doubleSided": False,
            "name": "object",
        }
    ]  # fmt: skip


@pytest.mark.parametrize(("shades", "named"), [((90, 200), ["mug", "jar"]), ((90, 90), ["mug"])])
def test_what_an_object_is_drawn_with_bears_its_name(shades: Any, named: list[str]) -> None:
    """Blender would list Material_0; two equal materials are one, of the first object's name."""
    placed = Similarity(1.0, np.eye(3), np.array([0, 0, 2.0]))
    meshes = [replace(_cube(), texture=np.full((4, 4, 3), shade, np.uint8)) for shade in shades]
    objects = [MeshNode(n, m, placed, {}) for n, m in zip(("mug", "jar"), meshes, strict=True)]
    tree = glb_tree(scene_to_glb(objects, CAMERA, {}))
    assert [mesh["name"] for mesh in tree["meshes"]] == ["mug", "jar"]
    for kind in ("materials", "textures", "images"):
        assert [part["name"] for part in tree[kind]] == named


def test_a_scenes_glb_is_pinned() -> None:
    placed = MeshNode(
        "box", _cube(), Similarity(0.5, QUARTER, np.array([0.25, -0.5, 2])), {"role": "object"}
    )
    tree = glb_tree(scene_to_glb([placed], CAMERA, {"role": "scene"}))
    assert tree["scenes"] == [{"nodes": [0, 1], "extras": {"role": "scene"}}]
    box, camera = tree["nodes"]
    assert box == {
        "name": "box", "mesh": 0, "extras": {"role": "object"},
        "matrix": [0, -0.5, 0, 0, 0.5, 0, 0, 0, 0, 0, 0.5, 0, 0.25, 0.5, -2, 1],
    }  # fmt: skip
    assert camera == {
        "name": "photo_camera", "camera": 0,
        "extras": {"role": "camera", "K": CAMERA.K.tolist(), "width": 8, "height": 6},
    }  # fmt: skip
    lens = tree["cameras"][0]
    assert lens["name"] == "photo_camera" and lens["type"] == "perspective"
    assert lens["perspective"] == {
        "yfov": pytest.approx(0.5565993), "aspectRatio": pytest.approx(4 / 3), "znear": 0.001,
    }  # fmt: skip


def _cube() -> ObjectMesh:
    return box_mesh((-0.5, -0.25, -0.5), (0.5, 0.25, 0.125))


def test_keys_are_pinned() -> None:
    """Another key makes every stored result unreachable; an old one must mean the same."""
    inputs = {"photo": Artifact("photo", "ab" * 32, ".png")}
    settings = {"grid": 64, "depth": "any", "share": 0.1, "none": None}
    key = stage_key("generate", "lite", "1.5", settings, "cd" * 32, inputs, 7)
    assert key == "43a668680b52b25e4096f02feb9fd4d93fe4d8fff1746f5be41c4af724974488"
    assert canonical_json(settings) == '{"depth":"any","grid":64,"none":null,"share":0.1}'
    assert object_seed(3, "0123456789ab") == 2102159772


def test_a_fit_report_is_kept_and_has_further_figures_only_where_there_are_any() -> None:
    fit = FitReport(1.0, 2.0, 0.01, 0.02, 1.0, 500, 0.97, warnings=("low",))
    plain = json.loads(json.dumps(fit_to_json(fit)))
    assert "figures" not in plain and fit_from_json(plain) == fit
    more = replace(fit, figures=(Figure("relative size", 1.1, "its size over the mean"),))
    assert fit_from_json(json.loads(json.dumps(fit_to_json(more)))) == more
