"""Run folders of ready artifacts: random scenes, written without computing anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from flows.calls import WHOLE_SCENE, Outcome, StageCall
from flows.profile import load_profile
from flows.request import Request
from photoscene.runs import transaction
from photoscene.runs.folder import check_contents, files_until
from photoscene.runs.writing import Reconstruction, run_of, write_files
from scene.errors import BadInput
from scene.keys import digest
from scene.manifests import Manifest
from scene.store import Store
from scene.types import Artifact, Camera, Scene, SceneObject

LABELS = ("cup", "Cup", "red mug", "b", "é")
KILLED = 9


@dataclass(frozen=True)
class Ready:
    """A store, and what stands in it for photos, masks and meshes: bytes that nobody decodes."""

    store: Store

    def artifact(self, kind: str, suffix: str, number: int) -> Artifact:
        return self.store.save_bytes(f"{kind} {number}".encode() * 5, kind, suffix)

    def scene(self, rng: np.random.Generator, until: str = "compose") -> Scene:
        """A scene of up to three objects, as a run until that stage leaves it."""
        composed, mapped = until == "compose", until != "segment"
        objects = []
        for index in range(int(rng.integers(0, 4))):
            mask = self.artifact("mask", ".png", int(rng.integers(4)) * 10 + index)
            name = f"{LABELS[rng.integers(len(LABELS))]}_{index}"
            whole = composed and rng.random() < 0.8
            objects.append(
                SceneObject(
                    mask.sha256[:12], name, name, mask,
                    self.artifact("cutout", ".png", int(rng.integers(3))) if mapped else None,
                    self.artifact("mesh", ".glb", int(rng.integers(3))) if whole else None,
                )
            )  # fmt: skip
        return Scene(
            photo=self.artifact("photo", ".png", 0),
            camera=Camera(8, 6, 9, 9, 4, 3) if mapped else None,
            points=self.artifact("point_map", ".npz", int(rng.integers(3))) if mapped else None,
            objects=tuple(objects),
            glb=self.artifact("scene_glb", ".glb", int(rng.integers(3))) if composed else None,
            overlay=self.artifact("photo", ".png", int(rng.integers(1, 3))) if composed else None,
        )

    def can_read(self, path: Path) -> bool:
        """Whether a file may be an input."""
        return path.is_file()

    def write(self, folder: Path, scene: Scene, until: str, inputs: Sequence[Path]) -> list[str]:
        """What the command does with a folder, before it computes and after."""
        said = check_contents(folder, files_until(until), {f"input {p}": p for p in inputs})
        made = Reconstruction(self.request, scene, self.outcomes(scene), "photo.jpg", 1)
        run = run_of(folder, made, self.store)
        pages = {"report.html": f"report of {scene.glb} {len(scene.objects)}".encode()}
        pages |= {"masks.png": b"masks of %d" % len(scene.objects)} if until == "segment" else {}
        return said + write_files(run, scene, self.store, pages, inputs)

    @property
    def request(self) -> Request:
        return Request(self.artifact("file", ".jpg", 0), load_profile("lite"))

    def outcomes(self, scene: Scene) -> list[Outcome]:
        """One step that made everything of the scene, and a frame step per object."""
        made = {"photo": scene.photo, "glb": scene.glb, "overlay": scene.overlay,
                "points": scene.points}  # fmt: skip
        for index, o in enumerate(scene.objects):
            made |= {
                f"{index}.mask": o.mask,
                f"{index}.image": o.completion,
                f"{index}.mesh": o.mesh,
            }
        steps = [_outcome("compose", WHOLE_SCENE, made)]
        return steps + [
            _outcome("frame", o.id, {"image": self.artifact("cutout", ".png", 7)})
            for o in scene.objects
            if o.completion
        ]


def _outcome(stage: str, subject: str, outputs: dict[str, Artifact | None]) -> Outcome:
    call = StageCall(stage, subject, {})
    known = {name: a for name, a in outputs.items() if a is not None}
    return Outcome(call, Manifest(call.key, stage, subject, "", "1", {}, "", 0, {}, known))


def contents(folder: Path) -> dict[str, str]:
    """Every file and link below a folder: its digest, or what the link says; folders are "/"."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent) / name
            key = str(path.relative_to(folder))
            if path.is_symlink():
                found[key] = f"-> {os.readlink(path)}"
            else:
                found[key] = "/" if path.is_dir() else digest(path.read_bytes())
    return found


@contextmanager
def dying_at(moment: int) -> Iterator[None]:
    """This process ends at so many changes of the disk, in the middle of a write or before it."""
    left = [moment]

    def counted(change: Callable) -> Callable:
        def counting(*arguments: object, **options: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                os._exit(KILLED)
            return change(*arguments, **options)

        return counting

    def half_written(path: Path, data: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            path.write_bytes(data[: len(data) // 2])
            os._exit(KILLED)
        path.write_bytes(data)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "rename", "unlink", "rmdir", "mkdir"):
            patch.setattr(os, name, counted(getattr(os, name)))
        patch.setattr(transaction, "write_bytes", half_written)
        yield


def in_a_child(act: Callable[[], object]) -> int:
    """Do something in a process of its own; its exit status, 2 for BadInput."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        act()
        os._exit(0)
    except BadInput:
        os._exit(2)
    finally:
        os._exit(3)
