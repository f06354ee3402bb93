"""Backend `troubled` of the tests for generate: a small box, or the trouble that settings name."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scene.types import ObjectCrop, ObjectMesh
from stages.devices import OutOfDeviceMemory
from stages.generate import GenerateBackend
from stages.settings import local
from support.shapes import box_mesh


@dataclass(frozen=True)
class Settings:
    """trouble: what befalls this process; cause: a file without which nothing does."""

    trouble: Literal["", "exception", "hang", "memory", "segfault", "killed", "wait"] = ""
    cause: str = local("")
    seconds: float = local(0.0)


@dataclass(frozen=True)
class Troubled:
    settings: Settings

    def generate(self, crop: ObjectCrop, seed: int) -> ObjectMesh:
        """A box in the middle of the cube."""
        time.sleep(self.settings.seconds)
        if Path(self.settings.cause).is_file():
            befall(self.settings.trouble)
        return box_mesh((-0.3, -0.3, -0.3), (0.3, 0.3, 0.3))


def befall(trouble: str) -> None:
    """What is meant to happen to this process happens."""
    if not trouble:
        return
    if trouble == "exception":
        raise KeyError("an error that nobody thought of")
    if trouble == "memory":
        raise OutOfDeviceMemory("not enough even for a box")
    if trouble in ("segfault", "killed"):
        os.kill(os.getpid(), signal.SIGSEGV if trouble == "segfault" else signal.SIGKILL)
    time.sleep(3600)  # a hang; a signal may come a moment later than it was sent


def load(settings: Settings, device: str) -> Troubled:
    """Nothing to load."""
    return Troubled(settings)


BACKEND = GenerateBackend(version="1", settings=Settings, load=load)
