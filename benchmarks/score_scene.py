"""How far is a reconstructed scene from the truth? Scores a GLB against a ground-truth scene.

    python -m benchmarks.score_scene --pred runs/photo/scene.glb --gt .../scenes/scene_00
    python -m benchmarks.score_scene --pred PREDICTED --gt .../scenes    every NAME.glb of a folder

A prediction is one GLB in the camera's frame (`--frame gltf`: y up, z backward, as photoscene
writes; or `opencv`) with one node per object: the children of the first node that has more than
one. Nodes named floor, table, wall, camera and the like are left out. Other names do not matter:
predicted and true objects are paired one to one by the IoU of their whole outlines.

Three frames of comparison are kept apart: `raw`, the prediction as it is; `scale`, after one global
scale about the camera (median ratio of depths), which leaves every mask as it was; and the aligned
one, after one scale and one shift along the optical axis, a robust fit of the whole surfaces.

Per object: modal_iou, amodal_iou; depth_absrel raw and scale; aligned chamfer and F-scores, over
the true scene's diagonal, and chamfer_obj over the object's own; errors of translation and scale
over the object's size; volume and box IoU; shape_chamfer, of the shape alone. A true object without
a partner counts as 0 in every IoU and F-score. Penetration is measured between predicted objects,
over the smaller one's diagonal.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.global_alignment import Alignment, align
from benchmarks.known_scenes import KnownScene, load_scene
from benchmarks.predicted import FRAMES, Predicted, read_predicted
from benchmarks.surfaces import (
    Mesh,
    box_iou,
    cast_rays,
    chamfer_and_f,
    diagonal,
    mask_iou,
    penetrations,
    sample_surface,
    shape_chamfer,
    surface_of,
    volume_iou,
)
from scene.cameras import pixel_centres, unproject
from scene.png import decode_png
from scene.types import Bool, Float64

MIN_IOU = 0.02  # of the outlines of a pair
MIN_COMMON_PX, MIN_FIT_PX = 20, 50  # for figures of depth, and for fits of the same objects
FIT_PX = 30_000  # pixels that the alignment looks at, at most
SAMPLES = 6000  # points per object
F_THRESHOLDS = (0.01, 0.05)  # of the true scene's diagonal
CLOSE_DEPTH = 1.05  # ratio of depths that counts as right
DEEP = 0.02  # penetration that counts
MEANS = (
    "modal_iou", "amodal_iou", "depth_absrel_raw", "depth_absrel_scale", "chamfer_rel",
    "chamfer_obj", "f1", "f5", "translation_rel", "scale_err", "volume_iou", "box_iou",
    "shape_chamfer",
)  # fmt: skip
COLUMNS = {
    "modal_iou": "modal", "amodal_iou": "amodal", "depth_absrel_raw": "dRaw",
    "depth_absrel_scale": "dScale", "f1": "F@1%", "f5": "F@5%", "chamfer_obj": "CD/obj",
    "shape_chamfer": "shape", "translation_rel": "trans", "scale_ratio": "size",
    "volume_iou": "volIoU", "box_iou": "boxIoU",
}  # fmt: skip
LOST = {k: 0.0 for k in ("modal_iou", "amodal_iou", "f1", "f5", "volume_iou", "box_iou")}


@dataclass(frozen=True, eq=False)
class Truth:
    """A known scene, its whole outlines (H, W) and how much of each is visible."""

    known: KnownScene
    outlines: tuple[Bool, ...]
    visible_ratios: tuple[float, ...]

    @property
    def meshes(self) -> list[Mesh]:
        return [(o.vertices, o.faces) for o in self.known.objects]


@dataclass(frozen=True, eq=False)
class Pairing:
    """Predictions beside true objects, in the photo's pixels (H, W).

    outlines: of each prediction alone; partners: prediction by true object; depth: of what is
    predicted, inf for nothing; first: the prediction that is seen; labels, true_labels: the true
    object that is seen, -1 for none.
    """

    outlines: list[Bool]
    partners: dict[int, int]
    depth: Float64
    first: NDArray[np.int64]
    labels: NDArray[np.int64]
    true_labels: NDArray[np.int64]

    @property
    def both(self) -> Bool:
        """Where prediction and truth show an object that has a partner."""
        return (self.true_labels >= 0) & (self.labels >= 0)

    @property
    def same(self) -> Bool:
        """Where they show the same one."""
        return (self.true_labels >= 0) & (self.labels == self.true_labels)


def main(argv: Sequence[str] | None = None) -> None:
    """Score one scene or a folder of them; prints tables, and writes all figures if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pred", type=Path, required=True, help="scene.glb, or a folder")
    parser.add_argument("--gt", type=Path, required=True, help="a scene's folder, or their parent")
    parser.add_argument("--frame", default="gltf", choices=tuple(FRAMES))
    parser.add_argument("--out", type=Path, help="JSON with all figures")
    options = parser.parse_args(argv)
    if (options.gt / "camera.json").exists():
        result = score(read_predicted(options.pred, options.frame), read_truth(options.gt))
        print(table(options.gt.resolve().name, result))
    else:
        result = score_all(options.pred, options.gt, options.frame)
        for name, scored in result["scenes"].items():
            print(table(name, scored), "\n")
        print(f"over {len(result['scenes'])} scenes:", _rounded(result["mean"]))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1), "utf-8")


def score_all(predicted: Path, truths: Path, frame: str = "gltf") -> dict[str, Any]:
    """Every scene of a folder that has a prediction, NAME.glb or NAME/*.glb, and their means."""
    scored = {}
    for folder in sorted(f.parent for f in truths.glob("*/camera.json")):
        found = [
            *predicted.glob(f"{folder.name}.glb"),
            *sorted((predicted / folder.name).glob("*.glb")),
        ]
        if found:
            scored[folder.name] = score(read_predicted(found[0], frame), read_truth(folder))
    if not scored:
        raise ValueError(f"{predicted}: no GLB that is named like a scene of {truths}")
    mean = {key: _mean(r["mean"][key] for r in scored.values()) for key in MEANS}
    mean |= {f"scene_{f}": _mean(r["scene"][f] for r in scored.values()) for f in ("f1", "f5")}
    return {"scenes": scored, "mean": mean}


def read_truth(folder: Path) -> Truth:
    """A scene's folder."""
    entries = json.loads((folder / "scene.json").read_text("utf-8"))["objects"]
    outlines = tuple(
        decode_png((folder / "masks" / f"amodal_{e['index']}.png").read_bytes(), "L") > 127
        for e in entries
    )
    return Truth(load_scene(folder), outlines, tuple(e["visible_ratio"] for e in entries))


def score(predicted: Sequence[Predicted], truth: Truth) -> dict[str, Any]:
    """All figures of one scene."""
    pairing = pair(predicted, truth)
    aligned = _align(predicted, truth, pairing)
    moved = [(aligned.apply(p.mesh[0]), p.mesh[1]) for p in predicted]
    depth, ratio = _depth_figures(pairing, truth)
    rows = _object_rows(predicted, moved, truth, pairing, ratio)
    deep = penetrations([p.mesh for p in predicted])
    partnered = set(pairing.partners.values())
    return {
        "objects_true": len(truth.outlines),
        "objects_predicted": len(predicted),
        "objects_matched": len(pairing.partners),
        "depth": depth,
        "global_scale": ratio,
        "aligned": aligned._asdict(),
        "objects": rows,
        "unmatched_predictions": [p.name for j, p in enumerate(predicted) if j not in partnered],
        "scene": _scene_figures(moved, truth),
        "penetration": {
            "pairs": deep,
            "worst_rel": max((p["depth_rel"] for p in deep), default=0.0),
            "count_over_2pct": sum(p["depth_rel"] > DEEP for p in deep),
        },
        "mean": {key: _mean(row.get(key) for row in rows) for key in MEANS},
    }


def pair(predicted: Sequence[Predicted], truth: Truth) -> Pairing:
    """Which prediction stands for which true object, by their whole outlines."""
    from scipy.optimize import linear_sum_assignment

    rays = _rays(truth.known)
    meshes = [p.mesh for p in predicted]
    outlines = [np.isfinite(cast_rays([mesh], rays)[0]) for mesh in meshes]
    ious = np.array([[mask_iou(o, true) for o in outlines] for true in truth.outlines])
    chosen = linear_sum_assignment(-ious) if meshes else ([], [])
    partners = {int(k): int(j) for k, j in zip(*chosen, strict=True) if ious[k, j] > MIN_IOU}
    depth, first = cast_rays(meshes, rays)
    labels, true_labels = np.full_like(first, -1), np.full_like(first, -1)
    for k, mask in enumerate(truth.known.masks):
        true_labels[mask] = k
    for k, j in partners.items():
        labels[first == j] = k
    return Pairing(outlines, partners, depth, first, labels, true_labels)


def _rays(known: KnownScene) -> Float64:
    return unproject(known.camera, pixel_centres(known.camera.width, known.camera.height))


def _depth_figures(pairing: Pairing, truth: Truth) -> tuple[dict[str, float | None], float]:
    """Depth where both show an object, raw and after the scale that comes back beside it."""
    both, seen = pairing.both, int((pairing.true_labels >= 0).sum())
    if both.sum() < MIN_COMMON_PX:
        nothing = dict.fromkeys(("absrel_raw", "absrel_scale", "delta_1_05_scale"))
        return {**nothing, "covered": 0.0}, 1.0
    mine, true = pairing.depth[both], truth.known.depth[both]
    ratio = float(np.median(true / mine))
    close = np.maximum(ratio * mine / true, true / (ratio * mine)) < CLOSE_DEPTH
    figures: dict[str, float | None] = {
        "absrel_raw": _off(mine, true),
        "absrel_scale": _off(ratio * mine, true),
        "delta_1_05_scale": float(close.mean()),
        "covered": float(both.sum() / max(seen, 1)),
    }
    return figures, ratio


def _off(mine: Float64, true: NDArray) -> float | None:
    """Mean relative error of depths; None of none."""
    return float(np.mean(np.abs(mine - true) / true)) if len(true) else None


def _align(predicted: Sequence[Predicted], truth: Truth, pairing: Pairing) -> Alignment:
    """The one scale and shift of the paired objects."""
    if not pairing.partners:
        return Alignment()
    where = pairing.same if pairing.same.sum() >= MIN_FIT_PX else pairing.both
    chosen = np.flatnonzero(where)[:: max(1, int(where.sum()) // FIT_PX)]
    rays = _rays(truth.known).reshape(-1, 3)[chosen]
    seen = tuple(rays * d.ravel()[chosen, None] for d in (pairing.depth, truth.known.depth))
    pairs = sorted(pairing.partners.items())
    mine, true = [predicted[j].mesh for _, j in pairs], [truth.meshes[k] for k, _ in pairs]
    centres = tuple(np.array([_middle(v) for v, _ in meshes]) for meshes in (mine, true))
    return align((seen[0], seen[1]), (centres[0], centres[1]), mine, true)


def _middle(vertices: Float64) -> Float64:
    return (vertices.max(0) + vertices.min(0)) / 2


def _object_rows(
    predicted: Sequence[Predicted],
    moved: Sequence[Mesh],
    truth: Truth,
    pairing: Pairing,
    ratio: float,
) -> list[dict[str, Any]]:
    """A row of figures per true object; moved: the aligned meshes of the predictions."""
    size = _scene_diagonal(truth)
    rows = []
    for k, true in enumerate(truth.meshes):
        j = pairing.partners.get(k)
        row: dict[str, Any] = {
            "name": truth.known.objects[k].name,
            "visible_ratio": truth.visible_ratios[k],
            "matched": j is not None,
            "node": None if j is None else predicted[j].name,
        }
        if j is None:
            rows.append({**row, **LOST})
            continue
        common = pairing.same & (pairing.true_labels == k)
        mine, goal = pairing.depth[common], truth.known.depth[common]
        rows.append({
            **row,
            "modal_iou": mask_iou(pairing.first == j, truth.known.masks[k]),
            "amodal_iou": mask_iou(pairing.outlines[j], truth.outlines[k]),
            "depth_absrel_raw": _off(mine, goal),
            "depth_absrel_scale": _off(ratio * mine, goal),
            **_surface_figures(moved[j], true, k, truth, size),
        })  # fmt: skip
    return rows


def _surface_figures(
    mine: Mesh, true: Mesh, number: int, truth: Truth, scene_size: float
) -> dict[str, float]:
    """An aligned prediction against its true object; boxes stand upright in the world."""
    world = truth.known.world_from_camera[:3, :3].T  # rows of points times this: into the world
    mine_world, true_world = mine[0] @ world, true[0] @ world
    my_points = sample_surface(mine, SAMPLES, 100 + number)
    true_points = sample_surface(true, SAMPLES, number)
    chamfer, (f1, f5) = chamfer_and_f(
        surface_of(mine), surface_of(true), my_points, true_points,
        [t * scene_size for t in F_THRESHOLDS],
    )  # fmt: skip
    size = diagonal(true_world)
    ratio = diagonal(mine_world) / size
    moved = float(np.linalg.norm(_middle(mine_world) - _middle(true_world)))
    return {
        "chamfer_rel": chamfer / scene_size,
        "f1": f1,
        "f5": f5,
        "chamfer_obj": chamfer / size,
        "translation_rel": moved / size,
        "scale_ratio": ratio,
        "scale_err": abs(ratio - 1),
        "volume_iou": volume_iou(mine, true),
        "box_iou": box_iou(mine_world, true_world),
        "shape_chamfer": shape_chamfer(my_points @ world, true_points @ world),
    }


def _scene_diagonal(truth: Truth) -> float:
    """Of all true objects, in the world's axes."""
    world = truth.known.world_from_camera[:3, :3].T
    return diagonal(np.vstack([v for v, _ in truth.meshes]) @ world)


def _scene_figures(moved: Sequence[Mesh], truth: Truth) -> dict[str, float | None]:
    """The whole scene: every predicted object counts, also one without a partner."""
    size = _scene_diagonal(truth)
    if not moved:
        return {"diagonal_m": size, "chamfer_rel": None, "f1": 0.0, "f5": 0.0}
    mine = np.vstack([sample_surface(m, SAMPLES, 300 + j) for j, m in enumerate(moved)])
    true = np.vstack([sample_surface(m, SAMPLES, k) for k, m in enumerate(truth.meshes)])
    chamfer, (f1, f5) = chamfer_and_f(
        surface_of(*moved), surface_of(*truth.meshes), mine, true,
        [t * size for t in F_THRESHOLDS],
    )  # fmt: skip
    return {"diagonal_m": size, "chamfer_rel": chamfer / size, "f1": f1, "f5": f5}


def _mean(values: Any) -> float | None:
    """Mean of the values that are there; None of none."""
    there = [v for v in values if v is not None]
    return float(np.mean(there)) if there else None


def table(title: str, result: dict[str, Any]) -> str:
    """The figures of one scene for a terminal."""
    head = " ".join(f"{column:>6}" for column in COLUMNS.values())
    lines = [
        f"== {title}  matched {result['objects_matched']}/{result['objects_true']}  "
        f"predicted {result['objects_predicted']}",
        f"{'object':26} vis   {head}",
    ]
    for row in result["objects"]:
        figures = " ".join(_cell(row.get(key)) for key in COLUMNS)
        lines.append(f"{row['name'][:26]:26} {row['visible_ratio']:.2f}  {figures}")
    means = " ".join(_cell(result["mean"].get(key)) for key in COLUMNS)
    depth, scene, deep = result["depth"], result["scene"], result["penetration"]
    lines += [
        f"{'mean':26}       {means}",
        f"scene: depth raw {_cell(depth['absrel_raw'])} scaled {_cell(depth['absrel_scale'])} "
        f"covered {depth['covered']:.3f} | scale {result['global_scale']:.3f}, aligned by "
        f"{result['aligned']['scale']:.3f} and {result['aligned']['shift_z']:+.3f} | chamfer "
        f"{_cell(scene['chamfer_rel'])} F@1% {scene['f1']:.3f} F@5% {scene['f5']:.3f} | "
        f"penetration worst {deep['worst_rel']:.3f}, pairs over 2% {deep['count_over_2pct']}",
    ]
    return "\n".join(lines)


def _rounded(figures: dict[str, float | None]) -> str:
    return json.dumps({k: None if v is None else round(v, 4) for k, v in figures.items()})


def _cell(value: float | None) -> str:
    return "   -  " if value is None else f"{value:6.3f}"


if __name__ == "__main__":
    main()
