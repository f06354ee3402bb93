"""A file or value -> a small tree of numbers, and where two such trees differ.

Files are read here by other libraries' readers, never by ours, so that a writer cannot change
unseen. Compressed bytes differ between builds of zlib; what they hold does not.
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

SAMPLES = 64
DIGITS = 1e-4  # of a value, or of its array's extent where the value is near 0
ROUNDING = 1e-5  # plain numbers that differ by less do not: a rotation follows from many depths
LEVEL, MEAN_LEVEL = 1.0, 0.05  # of 255: a picture's value may be rounded the other way


def fingerprint_of_file(data: bytes, suffix: str) -> Any:
    """What a file holds, by its suffix."""
    if suffix == ".json":
        return fingerprint(json.loads(data))
    if suffix == ".png":
        return fingerprint(np.asarray(Image.open(io.BytesIO(data))))
    if suffix == ".npz":
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        details = json.loads(str(found.pop("details")))
        return fingerprint({**found, "details": details})
    if suffix == ".glb":
        return fingerprint(glb_tree(data))
    raise ValueError(f"no reader for {suffix} files")


def glb_tree(data: bytes) -> Any:
    """The JSON of a binary glTF 2.0 with its accessors and images as arrays."""
    length = struct.unpack_from("<I", data, 12)[0]
    tree = json.loads(data[20 : 20 + length])
    body = data[28 + length :]
    views = tree.pop("bufferViews")
    tree.pop("buffers")

    def view(index: int) -> bytes:
        start = views[index].get("byteOffset", 0)
        return body[start : start + views[index]["byteLength"]]

    kinds = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
    for accessor in tree["accessors"]:
        content = view(accessor.pop("bufferView"))
        accessor["array"] = np.frombuffer(content, kinds[accessor["componentType"]])
    normals = {p["attributes"].get("NORMAL") for m in tree["meshes"] for p in m["primitives"]}
    for index in normals - {None}:
        # Those of slivers are rounding, and all follow from the surface: only that they are there.
        accessor = tree["accessors"][index]
        length = np.linalg.norm(accessor.pop("array").reshape(-1, 3), axis=1)
        accessor |= {"unit": bool(np.allclose(length, 1, atol=1e-3)), "min": 0, "max": 0}
    for image in tree.get("images", []):
        image["array"] = np.asarray(Image.open(io.BytesIO(view(image.pop("bufferView")))))
    return tree


def fingerprint(value: Any) -> Any:
    """Arrays and long lists of numbers as counts, extents and samples; the rest as it is."""
    if isinstance(value, dict):
        return {str(name): fingerprint(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        if len(value) > SAMPLES and all(isinstance(v, (int, float)) for v in value):
            return _of_array(np.array(value))
        return [fingerprint(inner) for inner in value]
    if isinstance(value, np.ndarray):
        return _of_array(value)
    if isinstance(value, float):
        return _short(value)
    return value


def _of_array(array: np.ndarray) -> dict[str, Any]:
    """Shape, type, how much of it is finite, extent, 64 samples, and the means of 64 parts.

    The samples are evenly spread; the means are over what stands between them, so that nothing
    can move far without being seen.
    """
    flat = array.reshape(-1).astype(np.float64)
    finite = np.isfinite(flat)
    places = np.linspace(0, max(len(flat) - 1, 0), SAMPLES).astype(int) if len(flat) else []
    parts = np.array_split(np.where(finite, flat, 0), SAMPLES) if len(flat) > SAMPLES else []
    known = flat[finite]
    return {
        "array": [str(array.dtype), *array.shape],
        "finite": int(finite.sum()),
        "low": _short(float(known.min())) if len(known) else 0,
        "high": _short(float(known.max())) if len(known) else 0,
        "samples": [_short(float(v)) if math.isfinite(v) else None for v in flat[places]],
        "means": [_short(float(part.mean())) for part in parts],
    }


def _short(value: float) -> float:
    """Two digits more than are compared, so that rounding here never decides."""
    return float(f"{value:.6g}")


def differences(
    before: Any, after: Any, where: str = "", rounding: float = ROUNDING
) -> Iterator[str]:
    """One line for every place in which two fingerprints differ by more than rounding.

    rounding: the difference of two plain numbers that means nothing, whatever their size.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        if before.keys() != after.keys():
            yield f"{where}: {sorted(before.keys() ^ after.keys())} in one of them only"
        elif "array" in before and "samples" in before:
            yield from _array_differences(before, after, where)
        else:
            for name in before:
                yield from differences(before[name], after[name], f"{where}/{name}", rounding)
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield f"{where}: {len(before)} values, now {len(after)}"
        for index, pair in enumerate(zip(before, after, strict=False)):
            yield from differences(*pair, f"{where}/{index}", rounding)
    elif isinstance(before, float) and isinstance(after, (int, float)):
        if abs(before - after) > max(DIGITS * abs(before), rounding):
            yield f"{where}: {before:g}, now {after:g}"
    elif before != after:
        yield f"{where}: {before!r}, now {after!r}"


def _array_differences(before: dict[str, Any], after: dict[str, Any], where: str) -> Iterator[str]:
    for name in ("array", "finite"):
        if before[name] != after[name]:
            yield f"{where}: {name} {before[name]}, now {after[name]}"
            return
    extent = max(abs(before["low"]), abs(before["high"]))
    picture = before["array"][0] == "uint8"
    limits = {"samples": LEVEL if picture else extent * DIGITS}
    limits["means"] = MEAN_LEVEL if picture else limits["samples"]
    limits["low"] = limits["high"] = limits["samples"]
    for name, limit in limits.items():
        old, new = np.atleast_1d(before[name]), np.atleast_1d(after[name])
        known = np.array([v is not None for v in old], bool)
        if (known != np.array([v is not None for v in new], bool)).any():
            yield f"{where}: other {name} are finite"
            continue
        off = np.abs(old[known].astype(float) - new[known].astype(float))
        if (off > limit).any():
            worst = int(off.argmax())
            yield (
                f"{where}: {int((off > limit).sum())} of {len(off)} {name}, one "
                f"{old[known][worst]:g}, now {new[known][worst]:g}"
            )
