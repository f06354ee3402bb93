"""Measures the pipeline on the ground-truth scenes and writes the table into docs/benchmarks.md.

    python -m benchmarks.scenes [--data DIR]

Four questions: how well masks and depth become a scene; what is left with boxes only; whether the
true meshes come back to their true places through `place`; and what Prefect adds to the stages.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.known_scenes import GROUND_TRUTH, load_scene, scene_folders
from benchmarks.overhead import Overhead, measure_overhead
from benchmarks.perturb import exact
from benchmarks.report import replace_section
from benchmarks.score_scene import score_all
from flows.server import prefect_api
from photoscene.cli.errors import keep_quiet
from photoscene.inputs.request import Arguments, build_request
from photoscene.runs.reconstruction import reconstruct_photo
from scene.png import decode_png
from scene.store import Store
from stages import place
from stages.place.pixel_aligned import Settings, load

DOCUMENT = Path("docs/benchmarks.md")
BOX_SLACK_PX = 3  # a person's box is a little larger than the object
COLUMNS = {
    "modal_iou": "modal IoU", "depth_absrel_raw": "depth abs-rel",
    "depth_absrel_scale": "after scale",
    "volume_iou": "volume IoU", "f1": "F@1 %", "f5": "F@5 %", "shape_chamfer": "shape chamfer",
}  # fmt: skip


@dataclass(frozen=True)
class Recovery:
    """How far a true mesh came back from its place: relative errors of translation and size."""

    scene: str
    object: str
    translation: float
    size: float


def main() -> None:
    """Run all measurements and rewrite the document's sections."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=GROUND_TRUTH, help="has scenes/")
    data = parser.parse_args().data
    scenes = scene_folders(data)
    if not scenes:
        print(f"no ground-truth scenes below {data}/scenes: nothing measured")
        return
    keep_quiet()
    with tempfile.TemporaryDirectory() as work, prefect_api():
        given = score(scenes, Path(work) / "given", masks_and_depth)
        boxes = score(scenes, Path(work) / "boxes", boxes_only)
        seen = score(scenes, Path(work) / "seen", boxes_and_camera)
    recovered = [r for scene in scenes for r in recover_true_meshes(scene)]
    overhead = measure_overhead(masks_and_depth(scenes[0]))
    sections = {
        "Scenes with masks and depth": _score_table(given),
        "Scenes with boxes only": _score_table(boxes),
        "Scenes with boxes and the camera": _score_table(seen),
        "Placement of the true meshes": _recovery_table(recovered),
        "Overhead of Prefect": _overhead_table(overhead),
    }
    for title, text in sections.items():
        replace_section(DOCUMENT, title, text)
        print(f"\n{title}\n{text}")


def masks_and_depth(scene: Path) -> Arguments:
    """What `photoscene run` is told when everything is known."""
    return Arguments(
        scene / "image.png",
        masks=tuple(sorted((scene / "masks").glob("modal_*.png"))),
        camera=scene / "camera.json",
        point_map=scene / "depth.npy",
    )


def boxes_only(scene: Path) -> Arguments:
    """What `photoscene run` is told when only a box per object is known."""
    boxes = []
    for path in sorted((scene / "masks").glob("modal_*.png")):
        rows, cols = np.nonzero(_mask(path))
        low = (cols.min() - BOX_SLACK_PX, rows.min() - BOX_SLACK_PX)
        high = (cols.max() + 1 + BOX_SLACK_PX, rows.max() + 1 + BOX_SLACK_PX)
        boxes.append(",".join(str(v) for v in (*low, *high)))
    return Arguments(scene / "image.png", boxes=tuple(boxes))


def boxes_and_camera(scene: Path) -> Arguments:
    """A box per object and the true camera, but no depth."""
    return replace(boxes_only(scene), camera=scene / "camera.json")


def score(scenes: list[Path], work: Path, arguments_of: Any) -> dict[str, Any]:
    """Reconstruct every scene and let the scorer judge the GLBs; its figures come back."""
    store = Store(work / "store")
    for scene in scenes:
        made, _ = reconstruct_photo(build_request(arguments_of(scene), store), store)
        if made.glb is None:
            raise RuntimeError(f"{scene.name}: no scene was made")
        target = work / "predicted" / f"{scene.name}.glb"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(store.read(made.glb))
    return score_all(work / "predicted", scenes[0].parent)


def recover_true_meshes(folder: Path) -> list[Recovery]:
    """Normalise every true mesh into the cube of its own crop, place all of them, and compare."""
    known = load_scene(folder)
    case = exact(known, np.random.default_rng(0))
    placed = place.run(
        load(Settings(), "cpu"), list(case.objects), case.point_map, list(known.masks)
    )
    found = []
    for o, true, placement in zip(case.objects, known.objects, placed.placements, strict=True):
        if placement.camera_from_object is None:
            raise RuntimeError(f"{known.name}: {true.name} was not placed: {placement.failure}")
        vertices = placement.camera_from_object.apply(o.mesh.vertices)
        found.append(_recovery(known.name, true.name, vertices, true.vertices))
    return found


def _recovery(scene: str, name: str, placed: np.ndarray, true: np.ndarray) -> Recovery:
    """Translation of the box centre over its distance; size as the box's diagonal."""
    low, high = np.stack([placed.min(0), true.min(0)]), np.stack([placed.max(0), true.max(0)])
    centre, diagonal = (low + high) / 2, np.linalg.norm(high - low, axis=1)
    moved = float(np.linalg.norm(centre[0] - centre[1]) / np.linalg.norm(centre[1]))
    return Recovery(scene, name, moved, float(abs(diagonal[0] / diagonal[1] - 1)))


def _score_table(result: dict[str, Any]) -> str:
    rows = ["| scene | objects | " + " | ".join(COLUMNS.values()) + " |",
            "|---|---|" + "---|" * len(COLUMNS)]  # fmt: skip
    for name, scored in result["scenes"].items():
        matched = f"{scored['objects_matched']}/{scored['objects_true']}"
        rows.append(f"| {name} | {matched} | {_cells(scored['mean'])} |")
    rows.append(f"| **mean** | | {_cells(result['mean'])} |")
    return "\n".join(rows)


def _cells(mean: dict[str, float | None]) -> str:
    values = (mean.get(name) for name in COLUMNS)
    return " | ".join("-" if v is None else f"{v:.4f}" for v in values)


def _recovery_table(found: list[Recovery]) -> str:
    rows = ["| scene | objects | worst translation error | worst size error |", "|---|---|---|---|"]
    for scene in sorted({r.scene for r in found}):
        mine = [r for r in found if r.scene == scene]
        rows.append(f"| {scene} | {len(mine)} | {max(r.translation for r in mine):.5%} | "
                    f"{max(r.size for r in mine):.5%} |")  # fmt: skip
    return "\n".join(rows)


def _overhead_table(o: Overhead) -> str:
    rows = ["| run of one scene, fresh store | seconds | beyond the stages |", "|---|---|---|"]
    for name, seconds in o.rows:
        beyond = f"{seconds - o.plain_s:+.2f}" if seconds >= o.plain_s else "-"
        rows.append(f"| {name} | {seconds:.2f} | {beyond} |")
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in o.stages.items())
    return "\n".join([*rows, "", f"Stage seconds, summed over objects: {stages}."])


def _mask(path: Path) -> np.ndarray:
    return decode_png(path.read_bytes(), "L") > 127


if __name__ == "__main__":
    main()
