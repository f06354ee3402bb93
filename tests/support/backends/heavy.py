"""Backend `heavy` of the tests, for any stage: who reads its weights, and what of them is alive."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from flows.plan import STAGES
from scene.cameras import camera_from_fov
from scene.types import (
    Camera,
    Completion,
    Crop,
    DepthFile,
    Mask,
    ObjectCrop,
    ObjectMesh,
    Photo,
    PointMap,
)
from stages.backends import Keeping
from stages.devices import LazyModel, retrying_after_freeing
from stages.settings import local

SIDE = 100  # weights of 40 kB in float32


@dataclass(frozen=True)
class Settings:
    """resolution: more than enough_for needs more memory than there is."""

    resolution: int = 1024
    enough_for: int = 10_000
    precision: str = "float32"
    weights: str = local("")
    memory: Keeping = local("keep")


@dataclass
class Watch:
    """What the weights of all backends of this file do. alive: those in memory; reads: which were
    read; most: the most bytes of them that there were at once."""

    alive: weakref.WeakSet[torch.nn.Module] = field(default_factory=weakref.WeakSet)
    reads: list[str] = field(default_factory=list)
    most_bytes: int = 0
    most_alive: int = 0

    @property
    def bytes(self) -> int:
        return sum(p.nbytes for network in self.alive for p in network.parameters())

    def read(self, weights: str, precision: str) -> torch.nn.Module:
        dtype = getattr(torch, precision)
        network = torch.nn.Linear(SIDE, SIDE, bias=False, dtype=dtype)
        self.alive.add(network)
        self.reads.append(f"{weights} {precision}".strip())
        self.most_bytes = max(self.most_bytes, self.bytes)
        self.most_alive = max(self.most_alive, len(self.alive))
        return network


watch = Watch()


@dataclass(frozen=True, eq=False)
class Heavy:
    """Completes nothing, maps a wall, generates a tetrahedron; with the network in its hands."""

    settings: Settings
    network: LazyModel[torch.nn.Module]
    busy: threading.Lock = field(default_factory=threading.Lock)

    def work(self) -> int:
        """The resolution that it worked at; OutOfDeviceMemory where that is too high."""
        with self.busy:
            what = f"resolution {self.settings.resolution}"
            return retrying_after_freeing(self._work, self.network.release, what, "lower it")

    def _work(self) -> int:
        network = self.network.get()
        if self.settings.resolution > self.settings.enough_for:
            raise RuntimeError(f"CUBLAS_STATUS_ALLOC_FAILED in {type(network).__name__}")
        return self.settings.resolution

    def complete(self, crop: Crop, label: str, seed: int) -> Completion:
        self.work()
        return Completion(crop.rgba)

    def map_points(
        self, photo: Photo, camera: Camera | None, masks: tuple[Mask, ...], file: DepthFile | None
    ) -> PointMap:
        self.work()
        camera = camera or camera_from_fov(photo.width, photo.height, 1.0)
        return PointMap(np.full(photo.rgb.shape[:2], 2, np.float32), camera)

    def generate(self, crop: ObjectCrop, seed: int) -> ObjectMesh:
        self.work()
        vertices = np.array([[-0.3, -0.3, 0], [0.3, -0.3, 0], [0, 0.3, 0], [0, 0, 0.3]], np.float32)
        faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]], np.int32)
        uv, texture = np.full((4, 2), 0.5, np.float32), np.full((2, 2, 3), 99, np.uint8)
        return ObjectMesh(vertices, faces, uv, texture)


def load(settings: Settings, device: str) -> Heavy:
    read = partial(watch.read, settings.weights, settings.precision)
    return Heavy(settings, LazyModel("heavy", read, device))


BACKEND = STAGES[__name__.split(".")[1]].backend(
    version="1",
    settings=Settings,
    load=load,
    loading=("precision", "weights"),
    held=lambda heavy: heavy.network,
    memory=lambda settings: settings.memory,
)
