"""What do the parts of finishing cost on a surface as large as a decoded one at 1024 voxels?"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from benchmarks.bake_seconds import ACROSS, AROUND, bumpy_ring
from benchmarks.narrow import table
from meshes.nearest import surface_tree
from scene.types import DenseMesh
from sparse3d.mesh_repair import clean_mesh
from sparse3d.nearest import nearest_points as nearest_on_dense
from sparse3d.simplify import simplify
from sparse3d.surface import surface_points, unwrap
from stages.finish.asset import PRESETS, shell_cells
from stages.finish.asset.baking import bake
from stages.finish.asset.charts import MAX_XATLAS_FACES, by_normals, unwrapped
from stages.finish.asset.shell import closed_shell
from stages.finish.asset.simplify import simplified
from stages.finish.asset.source import source_of_dense

ROOT = Path(__file__).parents[1]
GENERATOR_FACES, GENERATOR_PX = 20_000, 1024  # what the generator keeps
CHART_CELLS, CHART_PX = 386, 4096


class Clock:
    """CPU seconds by part, in the order of the parts: other work on the machine does not count."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time that the body takes."""
        started = time.process_time()
        yield
        self.seconds[name] = time.process_time() - started

    def table(self, title: str) -> str:
        """A row per part, and their sum."""
        rows = [[name, f"{seconds:.1f}"] for name, seconds in self.seconds.items()]
        rows.append(["**all**", f"{sum(self.seconds.values()):.1f}"])
        return table([title, "CPU seconds"], rows)


def cost_tables() -> str:
    """The generator's own mesh, the asset of preset full, charts of a million faces; peak memory.

    Compiled first, on a small surface: numba keeps what it compiled.
    """
    asset_clock(coloured_ring(400, 200), Clock(), MAX_XATLAS_FACES + 1, 512)
    dense = coloured_ring(AROUND, ACROSS)
    parts = [asset_clock(dense, Clock(), *PRESETS["full"]).table("part of an asset, preset `full`")]
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    parts.append(f"Peak memory of the process: {gigabytes:.1f} GB.")
    parts.append(generator_clock(dense).table("part of the generator's own mesh"))
    parts.append(charts_clock(dense).table("part of a film asset"))
    return "\n\n".join(parts)


def coloured_ring(around: int, across: int) -> DenseMesh:
    """The ring with colours by place."""
    points, faces = bumpy_ring(around, across)
    values = np.full((len(points), 6), 255, np.uint8)
    values[:, :3] = (points + 0.5) * 255
    return DenseMesh(points.astype(np.float32), faces.astype(np.int32), values)


def asset_clock(dense: DenseMesh, clock: Clock, faces: int, texture_px: int) -> Clock:
    """The parts of backend `asset`."""
    with clock.part("normals of the dense surface"):
        source = source_of_dense(dense)
    with clock.part("search tree"):
        tree = surface_tree(source.vertices, source.faces)
    with clock.part(f"closed shell, {shell_cells(faces)} cells"):
        shell = closed_shell(source.vertices, source.faces, tree, shell_cells(faces))
    with clock.part(f"decimation of {len(shell[1]):,} faces to {faces:,}"):
        light = simplified(*shell, faces)
    with clock.part("charts"):
        cut = unwrapped(*light, texture_px)
    with clock.part(f"maps of {texture_px} px"):
        bake(*light, cut, source, tree, texture_px, None)
    return clock


def generator_clock(dense: DenseMesh) -> Clock:
    """What backend `pixal3d` does of a decoded surface, up to the attributes of the texels."""
    clock = Clock()
    vertices = torch.from_numpy(dense.vertices)
    faces = torch.from_numpy(dense.faces).long()
    with clock.part("cleaning"):
        vertices, faces = clean_mesh(vertices, faces)
    with clock.part(f"decimation to {GENERATOR_FACES:,} faces"):
        light = simplify(vertices, faces, GENERATOR_FACES)
    with clock.part("charts by xatlas"):
        charts = unwrap(*light, GENERATOR_PX)
    with clock.part("points of texels"):
        points, covered = surface_points(*charts, GENERATOR_PX)
    with clock.part("nearest points of the dense surface"):
        nearest_on_dense(vertices, faces, points[covered])
    return clock


def checkouts_table(older: Path) -> str:
    """CPU seconds of `benchmarks.bake_seconds` with another checkout and with this one, twice each
    in turn; the smaller ones count."""
    seconds: dict[str, list[float]] = {"before": [], "now": []}
    for _ in range(2):
        for name, checkout in (("before", older), ("now", ROOT)):
            command = [sys.executable, str(ROOT / "benchmarks" / "bake_seconds.py")]
            environment = os.environ | {"PYTHONPATH": str(checkout)}
            made = subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True
            )
            seconds[name].append(float(made.stdout))
    before, now = (min(s) for s in seconds.values())
    rows = [["`bake`, 5.75 million faces to 20,000, 1024 px", f"{before:.1f}", f"{now:.1f}",
             f"{now / before:.2f}"]]  # fmt: skip
    return table(["CPU seconds", "before", "now", "ratio"], rows)


def charts_clock(dense: DenseMesh) -> Clock:
    """Charts of a shell before it is decimated: a million faces, none in rows."""
    tree = surface_tree(dense.vertices, dense.faces)
    shell = closed_shell(dense.vertices, dense.faces, tree, CHART_CELLS)
    clock = Clock()
    with clock.part(f"charts of {len(shell[1]):,} faces"):
        by_normals(*shell, CHART_PX)
    return clock
