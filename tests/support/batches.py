"""Folders of many small photos, and batches of them whose workers meet with trouble."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import pytest

from support import BACKENDS, TESTS
from support.small_photo import FOV_X_DEG, SmallPhoto

WITH_BACKENDS = """
import stages.generate
stages.generate.__path__.append({folder!r})
"""


def write_photos(folder: Path, small_photo: SmallPhoto, count: int) -> list[str]:
    """Copies of the small photo that differ in a pixel, with its masks and depth beside them."""
    folder.mkdir(parents=True)
    bgr = cv2.imread(str(small_photo.photo))
    assert bgr is not None
    for path in (*small_photo.masks.values(), small_photo.depth):
        (folder / path.name).write_bytes(path.read_bytes())
    names = [f"photo_{index:03d}.png" for index in range(count)]
    for index, name in enumerate(names):
        bgr[0, 0] = (index % 256, index // 256, 7)
        cv2.imwrite(str(folder / name), bgr)
    return names


def line(photo: str, small_photo: SmallPhoto, *settings: str, masks: str = "a") -> dict[str, Any]:
    """A manifest's line for one of these photos."""
    return {
        "photo": photo, "mask": [small_photo.masks[name].name for name in masks],
        "pointmap": small_photo.depth.name, "fov": FOV_X_DEG,
        "set": ["generate.backend=troubled", *settings],
    }  # fmt: skip


def write_manifest(path: Path, lines: Sequence[Mapping[str, Any] | str]) -> Path:
    """Lines of JSON; text stands as it is."""
    texts = [entry if isinstance(entry, str) else json.dumps(entry) for entry in lines]
    path.write_text("\n".join(texts) + "\n")
    return path


def children(pid: int) -> list[int]:
    """The processes that a process started and that live; none without /proc."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(text) for text in path.read_text().split()] if path.exists() else []


def descendants(pid: int) -> list[int]:
    """A process, and all that it and they started."""
    return [pid, *(each for child in children(pid) for each in descendants(child))]


def kill_all(pid: int) -> None:
    """Kill a process and all its descendants; some may have ended by themselves meanwhile."""
    for each in descendants(pid):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def sitecustomize(folder: Path) -> str:
    """A module that lets every process of Python find more backends of generate."""
    return WITH_BACKENDS.format(folder=str(folder))


def add_backends(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let this process and its workers find the tests' own backends of generate."""
    import stages.generate

    monkeypatch.setattr(stages.generate, "__path__", [*stages.generate.__path__, str(BACKENDS)])
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(sitecustomize(BACKENDS))
    monkeypatch.syspath_prepend(str(TESTS))
    monkeypatch.syspath_prepend(str(folder))


def scene_bytes(output: Path) -> dict[str, bytes]:
    """What every run folder has that is the same for the same input."""
    kept = ("scene.glb", "scene.json", "overlay.png")
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in sorted(output.glob("*/*"))
        if path.name in kept
    }


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
