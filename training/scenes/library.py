"""Everything that scenes are made of, read and drawn once and kept on disk.

`Library.of(split)` hands out what may be trained on, or what is kept for measuring.
"""

from __future__ import annotations

import math
import multiprocessing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scene.types import Uint8
from training.generator.shapes.grammar import MORE, STUDY, TABLE
from training.generator.shapes.parts import Paint
from training.scenes.bodies import Body, grammar_body, mesh_bodies, mesh_body, split
from training.scenes.sky import Sky, read_sky
from training.scenes.textures import drawn, photographed

FIRST_SEED = 40_000_000
DRAWN_TEXTURES = 160
BODIES_PER_UNIT = 12  # procedural bodies of a family with share 1

# Which bodies are tall furniture, which stand on tables, and how long their longest side is (m).
SIZES_M = {
    "table": (0.7, 1.6), "chair": (0.8, 1.1), "sofa": (1.4, 2.2), "cabinet": (0.7, 2.0),
    "lamp": (0.35, 1.7), "animal": (0.3, 1.3), "person": (1.5, 1.9), "car": (3.6, 5.0),
    "house": (5.0, 9.0), "tree": (0.5, 4.0), "monitor": (0.4, 1.1), "boxes": (0.3, 0.9),
    "furniture/household": (0.5, 1.8), "furniture": (0.8, 1.8), "vehicles": (3.0, 6.0),
    "characters": (1.5, 1.9), "architecture": (4.0, 9.0), "nature": (0.4, 4.0),
    "bag": (0.3, 0.6), "appliance": (0.3, 1.6),
}  # fmt: skip
TABLE_SIZE_M = (0.05, 0.38)
STREET = ("car", "vehicles", "house", "architecture", "tree", "nature", "person", "characters",
          "animal")  # fmt: skip
ROOM = ("table", "chair", "sofa", "cabinet", "lamp", "animal", "person", "tree", "monitor",
        "boxes", "furniture/household", "furniture", "characters", "bag", "appliance")  # fmt: skip
# On a table anything may stand, as a toy, but mostly not these.
TOYS = (
    "car", "vehicles", "house", "architecture", "tree", "person", "characters", "animal", "chair",
    "table", "sofa", "cabinet", "furniture/household", "furniture", "nature",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Library:
    """bodies; textures (256, 256, 3) by name; skies."""

    bodies: tuple[Body, ...]
    textures: dict[str, Uint8]
    skies: tuple[Sky, ...]

    def of(self, part: str) -> Library:
        """The part that training may see, or the part that is kept."""
        return Library(
            tuple(b for b in self.bodies if split(b.name) == part),
            {n: t for n, t in self.textures.items() if split(n) == part},
            tuple(s for s in self.skies if split(s.name) == part),
        )

    def kinds(self, kinds: tuple[str, ...]) -> tuple[Body, ...]:
        """The bodies of some kinds."""
        return tuple(b for b in self.bodies if b.kind in kinds)


def public_bodies(folder: Path) -> tuple[Body, ...]:
    """The scanned objects that only measure (z up)."""
    return tuple(mesh_body(file, "scan", z_up=True) for file in sorted(folder.rglob("*.glb")))


def make_bodies(meshes: Path, processes: int) -> tuple[Body, ...]:
    """The meshes of an unpacked archive, and procedural bodies of every family."""
    families = {f.name: f for f in (*STUDY, *MORE, *TABLE)}
    draws = [
        (family, FIRST_SEED + 1000 * n + i)
        for n, family in enumerate(families.values())
        for i in range(math.ceil(BODIES_PER_UNIT * family.share))
    ]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        grown = pool.starmap(grammar_body, draws, chunksize=8)
    return (*mesh_bodies(meshes), *(b for b in grown if b is not None))


def read_library(bodies: tuple[Body, ...], data: Path) -> Library:
    """Bodies, the textures and skies of data/textures and data/env, and drawn textures."""
    generator = np.random.default_rng(FIRST_SEED)
    textures = photographed(data / "textures")
    textures |= {f"drawn {i}": drawn(generator) for i in range(DRAWN_TEXTURES)}
    skies = tuple(read_sky(file) for file in sorted((data / "env").glob("*.exr")))
    return Library(bodies, textures, skies)


def save_bodies(bodies: tuple[Body, ...], file: Path) -> None:
    """One file of arrays; it appears only when it is whole."""
    arrays: dict[str, np.ndarray] = {}
    for i, body in enumerate(bodies):
        arrays[f"{i}.name"] = np.array([body.name, body.kind])
        for name in ("corners", "normals", "uv", "material"):
            arrays[f"{i}.{name}"] = getattr(body, name)
        for k, texture in enumerate(body.textures):
            arrays[f"{i}.texture.{k}"] = texture
        for name, value in (body.paint._asdict() if body.paint else {}).items():
            arrays[f"{i}.paint.{name}"] = value
    unfinished = file.with_suffix(".part.npz")
    np.savez(unfinished, allow_pickle=False, **arrays)  # type: ignore[arg-type]
    unfinished.replace(file)


def load_bodies(file: Path) -> tuple[Body, ...]:
    """What `save_bodies` wrote."""
    bodies = []
    with np.load(file, allow_pickle=False) as arrays:
        names = set(arrays.files)
        i = 0
        while f"{i}.name" in names:
            name, kind = (str(s) for s in arrays[f"{i}.name"])
            textures = []
            while f"{i}.texture.{len(textures)}" in names:
                textures.append(arrays[f"{i}.texture.{len(textures)}"])
            paint = None
            if f"{i}.paint.colour" in names:
                paint = Paint(*(arrays[f"{i}.paint.{field}"] for field in Paint._fields))
            fields = (arrays[f"{i}.{n}"] for n in ("corners", "normals", "uv", "material"))
            bodies.append(replace(Body(name, kind, *fields), textures=tuple(textures), paint=paint))
            i += 1
    return tuple(bodies)
