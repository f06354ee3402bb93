"""Batches of small photos with masks and depth, all of different pixels, so that none is cached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from support import BACKENDS, TESTS
from support.batches import line, sitecustomize, write_manifest
from support.small_photo import FOV_X_DEG, SmallPhoto, write_small_photo

NOISE = 4  # grey levels

Settings = Callable[[int], list[str]]


def write_batch(
    folder: Path, count: int, settings: Settings, masks: str = "a", troubled: bool = True
) -> Path:
    """A manifest of so many photos, each with noise of its own.

    settings: of a photo by its index; masks: which of the small photo's objects; troubled: by the
    tests' backend that waits or fails as settings ask, else by the profile's.
    """
    small, names = write_photos(folder / "photos", count)
    lines = [_line(n, small, settings(i), masks, troubled) for i, n in enumerate(names)]
    return write_manifest(folder / "photos" / "all.jsonl", lines)


def write_photos(photos: Path, count: int) -> tuple[SmallPhoto, list[str]]:
    """So many photos with noise of their own, the small photo's files beside them; their names."""
    photos.mkdir(parents=True)
    small = write_small_photo(photos)
    bgr = cv2.imread(str(small.photo))
    assert bgr is not None
    names = [f"photo_{index:05d}.png" for index in range(count)]
    for index, name in enumerate(names):
        noise = np.random.default_rng(index).integers(-NOISE, NOISE + 1, bgr.shape)
        cv2.imwrite(str(photos / name), np.clip(bgr + noise, 0, 255).astype(np.uint8))
    return small, names


def _line(
    name: str, small: SmallPhoto, settings: list[str], masks: str, troubled: bool
) -> dict[str, Any]:
    if troubled:
        return line(name, small, *settings, masks=masks)
    return {"photo": name, "mask": [small.masks[m].name for m in masks],
            "pointmap": small.depth.name, "fov": FOV_X_DEG, "set": settings}  # fmt: skip


def with_backends(folder: Path) -> dict[str, str]:
    """Environment variables by which every process finds the tests' backends."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(sitecustomize(BACKENDS))
    return {"PYTHONPATH": f"{folder}:{TESTS}"}
