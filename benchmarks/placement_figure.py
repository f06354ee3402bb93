"""Draws why separating wrong shapes costs accuracy: a slice through two things that touch."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alignment.objects import Placement
from alignment.support import find_ground
from benchmarks.known_scenes import KnownScene
from benchmarks.perturb import ROWS, Case
from benchmarks.touching import WITH, WITHOUT, deepest_pair
from scene.types import Float64
from stages.place import pixel_aligned

FIGURE_FILE = "placement_slice.png"
ROW, SEED = "shape off by 10 %", 0
COLOURS = ("tab:blue", "tab:orange")


def draw_slice(scenes: Sequence[KnownScene], path: Path) -> None:
    """The pair of the piles that runs deepest into each other without the scene's terms.

    Three panels of one vertical slice through the camera: the truth, each object alone, together.
    """
    import matplotlib  # pyright: ignore[reportMissingImports]

    matplotlib.use("Agg")
    from matplotlib import pyplot  # pyright: ignore[reportMissingImports]

    depth, case, pair = max(
        (_deepest(scene) for scene in scenes if scene.touching), key=lambda found: found[0]
    )
    names = [case.known.objects[k].name for k in pair]
    true = [(case.known.objects[k].vertices, case.known.objects[k].faces) for k in pair]
    panels = {
        "the true shapes": true,
        f"10 % off, each alone: {1000 * depth:.1f} mm deep": _placed(case, pair, WITHOUT),
        "10 % off, together": _placed(case, pair, WITH),
    }
    figure, axes = pyplot.subplots(1, len(panels), figsize=(13, 3.2), sharex=True, sharey=True)
    up = case.known.world_from_camera[2, :3]
    middle = np.concatenate([v for v, _ in true]).mean(0)
    for axis, (title, meshes) in zip(axes, panels.items(), strict=True):
        for (vertices, faces), colour, name in zip(meshes, COLOURS, names, strict=True):
            for line in _slice(vertices, faces, up, middle):
                axis.plot(*line.T, color=colour, linewidth=1.6)
            axis.plot([], [], color=colour, label=name)
        for vertices, faces in true:
            for line in _slice(vertices, faces, up, middle):
                axis.plot(*line.T, color="black", linewidth=0.6, linestyle=":")
        axis.set_title(title)
        axis.set_aspect("equal")
        axis.set_xlabel("away from the camera, m")
    axes[0].set_ylabel("up, m")
    axes[0].legend(frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def _deepest(scene: KnownScene) -> tuple[float, Case, tuple[int, int]]:
    row = next(r for r in ROWS if r.name == ROW)
    case = row.make(scene, np.random.default_rng([SEED, zlib.crc32(ROW.encode())]))
    depth, pair = deepest_pair(case, _placements(case, WITHOUT))
    return depth, case, pair


def _placements(case: Case, settings: pixel_aligned.Settings) -> list[Placement]:
    ground = find_ground(case.point_map, [o.mask for o in case.objects])
    placer = pixel_aligned.load(settings, "cpu")
    return placer.place(list(case.objects), case.point_map, ground)


def _placed(case: Case, pair: tuple[int, int], settings: pixel_aligned.Settings) -> list[Any]:
    placements, found = _placements(case, settings), []
    for k in pair:
        similarity, mesh = placements[k].camera_from_object, case.objects[k].mesh
        if similarity is None:
            raise RuntimeError(f"{case.known.objects[k].name}: {placements[k].failure}")
        found.append((similarity.apply(mesh.vertices), mesh.faces))
    return found


def _slice(vertices: Float64, faces: np.ndarray, up: Float64, middle: Float64) -> list[Float64]:
    """The cut with the vertical plane through the camera and `middle`: (2, 2) ahead and up each."""
    import trimesh

    ahead = middle - (middle @ up) * up
    ahead = ahead / np.linalg.norm(ahead)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    segments = trimesh.intersections.mesh_plane(mesh, np.cross(ahead, up), middle)
    return list(np.asarray(segments, np.float64) @ np.stack([ahead, up], 1))
