"""How each value is written as an ordinary file and read back: PNG, NPZ, JSON, GLB."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from scene.glb import object_from_glb, object_to_glb
from scene.png import decode_png, encode_png
from scene.types import (
    Camera,
    CanonicalPose,
    CropCamera,
    Cutout,
    DenseMesh,
    Figure,
    FitReport,
    Mask,
    ObjectMesh,
    Photo,
    PointMap,
    Similarity,
)


class Codec(NamedTuple):
    """How one type is kept: its kind, its file suffix, and the two directions."""

    kind: str
    suffix: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def encode_json(value: Any) -> bytes:
    """Readable JSON with sorted names."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _encode_npz(arrays: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def camera_to_json(camera: Camera) -> dict[str, Any]:
    """Width, height and K, the layout that `--camera` reads."""
    return {"width": camera.width, "height": camera.height, "K": camera.K.tolist()}


def camera_from_json(value: dict[str, Any]) -> Camera:
    """The inverse of `camera_to_json`."""
    K = value["K"]
    return Camera(value["width"], value["height"], K[0][0], K[1][1], K[0][2], K[1][2])


def crop_camera_to_json(crop: CropCamera) -> dict[str, Any]:
    """The crop's pinhole camera and its rotation into the photo camera's axes."""
    return {**camera_to_json(crop.camera), "photo_from_crop": crop.photo_from_crop.tolist()}


def crop_camera_from_json(value: dict[str, Any]) -> CropCamera:
    """The inverse of `crop_camera_to_json`."""
    return CropCamera(camera_from_json(value), np.array(value["photo_from_crop"], np.float64))


def similarity_to_json(similarity: Similarity) -> dict[str, Any]:
    """Scale, rotation (3 x 3) and translation."""
    return {
        "scale": similarity.scale,
        "rotation": similarity.rotation.tolist(),
        "translation": similarity.translation.tolist(),
    }


def similarity_from_json(value: dict[str, Any]) -> Similarity:
    """The inverse of `similarity_to_json`."""
    return Similarity(
        value["scale"], np.array(value["rotation"]), np.array(value["translation"], np.float64)
    )


def canonical_pose_to_json(pose: CanonicalPose) -> dict[str, Any]:
    """Plain JSON."""
    return {
        "object_from_canonical": similarity_to_json(pose.object_from_canonical),
        "pixel_aligned": pose.pixel_aligned,
        "confidence": pose.confidence,
    }


def canonical_pose_from_json(value: Mapping[str, Any]) -> CanonicalPose:
    """The inverse of `canonical_pose_to_json`."""
    similarity = similarity_from_json(value["object_from_canonical"])
    return CanonicalPose(similarity, value["pixel_aligned"], value["confidence"])


def fit_to_json(value: FitReport) -> dict[str, Any]:
    """Plain JSON; further figures only where there are any."""
    fit = asdict(value)
    fit["warnings"] = list(value.warnings)
    figures = list(fit.pop("figures"))
    return {**fit, "figures": figures} if figures else fit


def fit_from_json(value: Mapping[str, Any]) -> FitReport:
    """The inverse of `fit_to_json`."""
    figures = tuple(Figure(**figure) for figure in value.get("figures", ()))
    return FitReport(**{**value, "warnings": tuple(value["warnings"]), "figures": figures})


def _encode_point_map(value: PointMap) -> bytes:
    details = {**camera_to_json(value.camera), "metric": value.metric, "notes": list(value.notes)}
    if value.guessed:
        details["guessed"] = True
    arrays = {"depth": value.depth, "K": value.camera.K, "details": json.dumps(details)}
    if value.normals is not None:  # half precision, 0.03 degrees, is finer than they are known
        arrays["normals"] = value.normals.astype(np.float16)
    return _encode_npz(arrays)


def _decode_point_map(data: bytes) -> PointMap:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        details = json.loads(str(arrays["details"]))
        depth = arrays["depth"]
        normals = arrays["normals"].astype(np.float32) if "normals" in arrays else None
    camera, notes = camera_from_json(details), tuple(details["notes"])
    guessed = details.get("guessed", False)
    return PointMap(depth, camera, details["metric"], notes, normals, guessed)


def _encode_dense_mesh(value: DenseMesh) -> bytes:
    out = io.BytesIO()  # not compressed: of some hundred megabytes that would save a fifth
    np.savez(out, vertices=value.vertices, faces=value.faces, values=value.values)
    return out.getvalue()


def _decode_dense_mesh(data: bytes) -> DenseMesh:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return DenseMesh(arrays["vertices"], arrays["faces"], arrays["values"])


CODECS: dict[type, Codec] = {
    Photo: Codec(
        "photo", ".png", lambda p: encode_png(p.rgb), lambda b: Photo(decode_png(b, "RGB"))
    ),
    Mask: Codec(
        "mask",
        ".png",
        lambda m: encode_png(m.pixels.astype(np.uint8) * 255),
        lambda b: Mask(decode_png(b, "L") > 127),
    ),
    Cutout: Codec(
        "cutout", ".png", lambda c: encode_png(c.rgba), lambda b: Cutout(decode_png(b, "RGBA"))
    ),
    PointMap: Codec("point_map", ".npz", _encode_point_map, _decode_point_map),
    CropCamera: Codec(
        "crop_camera",
        ".json",
        lambda c: encode_json(crop_camera_to_json(c)),
        lambda b: crop_camera_from_json(json.loads(b)),
    ),
    ObjectMesh: Codec("mesh", ".glb", object_to_glb, object_from_glb),
    DenseMesh: Codec("dense_mesh", ".npz", _encode_dense_mesh, _decode_dense_mesh),
    dict: Codec("details", ".json", encode_json, json.loads),
}
