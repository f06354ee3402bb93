"""Measures the stage finish and writes its section of docs/benchmarks.md.

    python -m benchmarks.finishing [shapes] [relief] [scenes] [cost]
    python -m benchmarks.finishing --before CHECKOUT

Without names everything is measured: how near assets of known shapes stay, how well normal maps
give relief back, what becomes of outlines and of the lite generator's objects, and what the parts
cost on a surface of 5.75 million faces.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import trimesh

from benchmarks import shapes_to_finish as shapes
from benchmarks.finishing_cost import checkouts_table, cost_tables
from benchmarks.finishing_scenes import scenes_table
from benchmarks.known_scenes import GROUND_TRUTH
from benchmarks.narrow import table
from benchmarks.report import replace_section
from meshes.nearest import at_nearest, nearest_points, surface_tree
from scene.seams import is_closed
from scene.types import Cutout, Float64, ObjectMesh
from stages import finish
from stages.crops import cutout_crop
from stages.finish.asset import Settings, load

DOCUMENT = Path("docs/benchmarks.md")
SHAPES: dict[str, Callable[[], trimesh.Trimesh]] = {
    "sphere": shapes.ball, "torus": shapes.torus, "double shell": shapes.double_shell,
    "open sheet": shapes.open_sheet,
}  # fmt: skip
SCANS = ("rs_lemon", "rs_bottle", "rs_bread", "gso_plate", "gso_glazed_rim_porcelain_ramekin")
SAMPLES = 50_000
SHAPE_FACES = 20_000


def main() -> None:
    """Measure what was named, or everything, and rewrite those sections."""
    parts = {
        "shapes": ("Finishing: known shapes", shapes_table),
        "relief": ("Finishing: normal maps", relief_table),
        "scenes": ("Finishing: scenes", scenes_table),
        "cost": ("Finishing: cost", cost_tables),
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="all where none is named")
    parser.add_argument("--before", type=Path, help="only time baking, with another checkout, too")
    arguments = parser.parse_args()
    if arguments.before is not None:
        older = arguments.before
        parts = {"before": ("Finishing: two checkouts", lambda: checkouts_table(older))}
    for name in arguments.parts or parts:
        title, measure = parts[name]
        text = measure()
        replace_section(DOCUMENT, title, text)
        print(f"\n{title}\n{text}")


def shapes_table() -> str:
    """A row per shape: whether it is closed and outward, its faces, and how far it is off."""
    made = dict(SHAPES)
    for seed in range(shapes.FIELDS):
        made[f"decoded field {seed + 1}"] = lambda seed=seed: shapes.decoded_field(seed)
    rows = []
    for name, shape in made.items():
        known = shape()
        asset = finished(known, faces=SHAPE_FACES, texture_px=512)
        body = trimesh.Trimesh(asset.vertices, asset.faces, process=True)
        closed = is_closed(asset.vertices, asset.faces)
        off = hausdorff(asset, known)
        outward = "yes" if body.volume > 0 else "no"
        rows.append([name, f"{len(known.faces):,}", f"{len(asset.faces):,}",
                     "yes" if closed else "no", outward, f"{100 * off:.2f} %"])  # fmt: skip
    columns = ["shape", "faces before", "after", "closed", "outward", "Hausdorff, of its size"]
    return table(columns, rows)


def relief_table() -> str:
    """A row per displaced scan: degrees between its normals and those that a viewer shades with."""
    rows = []
    for name in SCANS:
        known = shapes.displaced_scan(GROUND_TRUTH / "objects" / f"{name}.glb")
        asset = finished(known, faces=SHAPE_FACES, texture_px=2048)
        points, normals = shapes.shaded_normals(asset, SAMPLES, seed=1)
        true, flat = normals_at(known, points), normals_at(_as_shape(asset), points)
        rows.append([name, f"{len(known.faces):,}", f"{len(asset.faces):,}",
                     f"{degrees(flat, true):.2f}", f"{degrees(normals, true):.2f}"])  # fmt: skip
    return table(["scan", "faces before", "after", "without the map", "with it"], rows)


def finished(shape: trimesh.Trimesh, faces: int, texture_px: int) -> ObjectMesh:
    """The asset of a shape, without a photo."""
    blank = np.zeros((32, 32, 4), np.uint8)
    blank[8:24, 8:24, 3] = 255
    crop = cutout_crop(Cutout(blank), 0.6)
    finisher = load(Settings(faces=faces, texture_px=texture_px, photo=False), "cpu")
    dense = shapes.as_dense(shape)
    mesh = shapes.as_object(shape)
    return finish.run(finisher, mesh, dense, Cutout(crop.rgba), crop.camera)


def hausdorff(asset: ObjectMesh, shape: trimesh.Trimesh) -> float:
    """The larger distance of either surface's samples from the other, by the shape's size; of a
    hollow shape the outer surface counts."""
    parts = shape.split(only_watertight=False)
    nested = len(parts) == 2 and (parts[0].extents > parts[1].extents).all()
    outer = parts[0] if nested else shape
    made = trimesh.Trimesh(asset.vertices, asset.faces, process=False)
    there = nearest_points(
        surface_tree(shape.vertices, shape.faces), np.asarray(made.sample(SAMPLES), np.float64)
    )
    back = nearest_points(
        surface_tree(asset.vertices, asset.faces), np.asarray(outer.sample(SAMPLES), np.float64)
    )
    return float(max(there.distance.max(), back.distance.max()) / shape.extents.max())


def normals_at(shape: trimesh.Trimesh, points: Float64) -> Float64:
    """The smooth normals (N, 3) of a shape at the points nearest to points (N, 3)."""
    merged = trimesh.Trimesh(shape.vertices, shape.faces, process=True)
    nearest = nearest_points(surface_tree(merged.vertices, merged.faces), points)
    normals = at_nearest(nearest, merged.faces, np.asarray(merged.vertex_normals))
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def degrees(found: Float64, true: Float64) -> float:
    """The mean angle between unit vectors (N, 3)."""
    return float(np.degrees(np.arccos(np.clip((found * true).sum(1), -1, 1))).mean())


def _as_shape(asset: ObjectMesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(asset.vertices, asset.faces, process=False)


if __name__ == "__main__":
    main()
