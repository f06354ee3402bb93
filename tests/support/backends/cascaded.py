"""Backend `cascaded` of the tests for generate: small networks one after another, as Pixal3D's."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from scene.errors import CannotGenerate
from scene.types import ObjectCrop, ObjectMesh
from stages.backends import Keeping
from stages.devices import NetworkPool, retrying_after_freeing
from stages.generate import GenerateBackend
from stages.settings import local
from support.shapes import box_mesh

ORDER = ("encoder", "upsampler", "coarse", "decoder", "upsampler", "fine", "decoder", "colour")
JOINED = (("upsampler", "coarse"), ("upsampler", "fine"), ("decoder", "colour"))
REVISITED = ("upsampler", "decoder")


@dataclass(frozen=True)
class Settings:
    """trouble: what befalls `fine` while the file `cause` is there."""

    trouble: str = ""
    cause: str = local("")
    memory: Keeping = local("one_at_a_time")


@dataclass
class Watch:
    """loans: network and the first letters of the crop's digest, in order; reads: names; work:
    called with the object at every loan."""

    loans: list[tuple[str, str]] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    work: Callable[[str], None] = lambda crop: None

    def read(self, name: str, device: str) -> torch.nn.Module:
        self.reads.append(name)
        torch.manual_seed(ORDER.index(name))
        return torch.nn.Linear(4, 4).to(device).requires_grad_(False)


watch = Watch()


@dataclass(frozen=True, eq=False)
class Cascaded:
    settings: Settings
    networks: NetworkPool

    def generate(self, crop: ObjectCrop, seed: int) -> ObjectMesh:
        """A box whose size all networks decide together."""
        work = partial(self._work, crop, seed)
        return retrying_after_freeing(work, self.networks.release, "a box", "make it smaller")

    @torch.inference_mode()
    def _work(self, crop: ObjectCrop, seed: int) -> ObjectMesh:
        name = hashlib.sha256(crop.rgba.tobytes() + bytes([seed % 256])).hexdigest()[:4]
        value = torch.tensor([*crop.rgba.mean((0, 1))]).float() / 255 + seed % 7
        for network in ORDER:
            with self.networks.borrow(network, self.settings.memory) as linear:
                watch.loans.append((network, name))
                watch.work(name)
                if network == "fine" and Path(self.settings.cause).is_file():
                    befall(self.settings.trouble)
                value = linear(value).tanh()
        size = 0.2 + 0.2 * float(value.abs().mean())
        return box_mesh((-size,) * 3, (size,) * 3)


def befall(trouble: str) -> None:
    """What is meant to happen happens."""
    if trouble == "memory":
        raise RuntimeError("CUDA out of memory")
    if trouble == "bug":
        raise KeyError("an error that nobody thought of")
    if trouble == "thin":
        raise CannotGenerate("too thin")
    if trouble == "killed":
        os.kill(os.getpid(), signal.SIGKILL)


def load(settings: Settings, device: str) -> Cascaded:
    networks = NetworkPool(lambda n, d: watch.read(n, d), device, JOINED, REVISITED)
    return Cascaded(settings, networks)


def _networks(model: Any) -> NetworkPool:
    return model.networks


BACKEND = GenerateBackend(
    version="1",
    settings=Settings,
    load=load,
    loading=(),
    held=_networks,
    lockstep=True,
    memory=lambda settings: settings.memory,
)
