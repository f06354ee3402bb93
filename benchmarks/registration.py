"""Measures how an edit is brought back to the photo, and writes the table into docs/benchmarks.md.

    python -m benchmarks.registration [--data DIR]

Over every occluded object of the ground-truth scenes: edits made from the truth, moved and drifted
as image editors do. How far visible pixels lie from their place before and after; which edits are
refused, of good ones and of bad ones; and what the rest of the displacement costs in placement.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from alignment.objects import PlacementInput
from alignment.occlusion import occluders
from benchmarks.edits import EDIT_SIDE_PX, Drift, crop_from_edit, drifted
from benchmarks.known_scenes import (
    GROUND_TRUTH,
    KnownObject,
    KnownScene,
    load_scene,
    scene_folders,
    true_cube,
)
from benchmarks.report import replace_section
from scene.cameras import crop_from_photo
from scene.types import Bool, Crop, CropCamera, Float64, Mask, Photo, PointMap, Uint8
from stages import place
from stages.complete.qwen_edit.edit_request import BACKDROPS, backdrop_name
from stages.complete.qwen_edit.edit_result import check_edit
from stages.complete.qwen_edit.registration import Registration
from stages.crops import context_crop
from stages.place.pixel_aligned import Settings, load

DOCUMENT = Path("docs/benchmarks.md")
TITLE = "Registration of an edit"
MAX_LEFT_PX, MAX_COST = 0.3, 0.001  # what is asked for: pixels; share of the depth
SCALES = (0.95, 0.98, 1.02, 1.05)
SHIFTS_PX = ((12.0, -8.5), (-4.3, 12.0))
DRIFTS = {
    "moved only": Drift(),
    "tinted, shaded, softened, compressed": Drift(
        gain=(1.06, 0.97, 0.92), bias=(6, -8, 10), shade=10, blur_px=1.2, jpeg=80
    ),
    "the same, 40 % of its fine pattern anew, 10 % painted over": Drift(
        gain=(0.93, 1.04, 1.02), bias=(-6, 4, 8), shade=10, blur_px=1, jpeg=80,
        texture=0.4, repaint=0.1,
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Occluded:
    """An object of a known scene that others hide in part.

    index: which one; whole (H, W, 4): it alone, as the photo would show it.
    """

    known: KnownScene
    index: int
    crop: Crop
    whole: Uint8

    @property
    def name(self) -> str:
        return f"{self.known.name} {self.known.objects[self.index].name}"

    def edit(self, drift: Drift, seed: int) -> Uint8:
        """The edit that shows all of it, with a drift."""
        side = self.crop.rgba.shape[0]
        scale = np.diag([EDIT_SIDE_PX / side, EDIT_SIDE_PX / side, 1])
        edit_from_photo = scale @ crop_from_photo(self.known.camera, self.crop.camera)
        plain = BACKDROPS[backdrop_name(self.crop.rgba)]
        return drifted(self.whole, edit_from_photo, plain, drift, seed)


@dataclass(frozen=True)
class Measured:
    """One good edit. Displacements: root mean square over the visible pixels, crop pixels; costs:
    error of the placed object over its depth, with a perfect, a registered and a raw edit."""

    name: str
    drift_name: str
    before_px: float
    after_px: float
    refused: str
    perfect: float
    registered: float
    raw: float


def main() -> None:
    """Measure and rewrite the document's section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=GROUND_TRUTH, help="has scenes/")
    folders = scene_folders(parser.parse_args().data)
    if not folders:
        print("no ground-truth scenes: nothing measured")
        return
    cases = [case for folder in folders for case in occluded_objects(folder)]
    good = [m for seed, case in enumerate(cases) for m in measure(case, seed)]
    bad = refusals(cases)
    text = "\n\n".join([_moved_table(good), _refused_table(bad), _cost_table(good)])
    replace_section(DOCUMENT, TITLE, text)
    print(text)


def occluded_objects(folder: Path) -> Iterator[Occluded]:
    """The objects of a scene's folder that a nearer one touches."""
    known = load_scene(folder)
    photo = _rgba(folder / "image.png")[..., :3]
    masks = [Mask(m) for m in known.masks]
    entries = json.loads((folder / "scene.json").read_text())["objects"]
    for index, nearer in enumerate(occluders(list(known.masks), known.depth)):
        if not nearer:
            continue
        before = [masks[j] for j in nearer]
        crop = context_crop(Photo(photo), known.camera, masks[index], before)
        whole = np.zeros((*known.depth.shape, 4), np.uint8)
        left, top, right, bottom = entries[index]["crop"]
        whole[top:bottom, left:right] = _rgba(folder / "amodal" / f"{index}.png")
        yield Occluded(known, index, crop, whole)


def measure(case: Occluded, seed: int) -> list[Measured]:
    """Every look at every zoom and shift."""
    side, visible = case.crop.rgba.shape[0], case.crop.rgba[..., 3] > 127
    found = []
    perfect = placement_error(case, np.eye(3))
    for (drift_name, drift), zoom, shift in product(DRIFTS.items(), SCALES, SHIFTS_PX):
        moved = replace(drift, zoom=zoom, shift_px=shift)
        true, raw = crop_from_edit(moved, side), Registration(side, 1, 0, 0)
        result = check_edit(case.edit(moved, seed), case.crop)
        where = result.where or raw
        found.append(
            Measured(
                case.name, drift_name, _rms(raw, true, visible), _rms(where, true, visible),
                result.rejection, perfect, placement_error(case, _left(where, true)),
                placement_error(case, _left(raw, true)),
            )
        )  # fmt: skip
    return found


def placement_error(case: Occluded, moved: Float64) -> float:
    """How far the object comes from its place, over its depth, when its edit is displaced.

    moved (3, 3): where the completion shows what belongs at a pixel of the context crop. The mesh
    is what a perfect pixel-aligned generator makes of that picture: the true one, each vertex on
    its displaced ray at its true depth.
    """
    known, true = case.known, case.known.objects[case.index]
    mesh, crop, outline = true_cube(displaced(true, case.crop.camera, moved), known.camera)
    mask = known.masks[case.index]
    unplaced = PlacementInput(mesh, crop, mask, outline & ~mask)
    placed = place.run(
        load(Settings(), "cpu"), [unplaced], PointMap(known.depth, known.camera), list(known.masks)
    ).placements[0]
    if placed.camera_from_object is None:
        raise RuntimeError(f"{case.name} was not placed: {placed.failure}")
    there = _middle(placed.camera_from_object.apply(mesh.vertices))
    here = _middle(true.vertices)
    return float(np.linalg.norm(there - here) / here[2])


def displaced(true: KnownObject, view: CropCamera, moved: Float64) -> KnownObject:
    """An object whose picture in a crop camera is moved by a (3, 3) homography, depths kept."""
    seen = true.vertices @ view.photo_from_crop
    pixels = seen @ view.camera.K.T @ moved.T
    rays = (pixels / pixels[:, 2:]) @ np.linalg.inv(view.camera.K).T
    return replace(true, vertices=(rays * seen[:, 2:]) @ view.photo_from_crop.T)


def _left(found: Registration, true: Registration) -> Float64:
    """(3, 3) from where a pixel belongs to where the registered edit has it."""
    side = found.side_px
    return found.photo_from_edit(side) @ np.linalg.inv(true.photo_from_edit(side))


def _rotated(edit: Uint8, degrees: float) -> Uint8:
    middle = EDIT_SIDE_PX / 2
    return _moved(edit, cv2.getRotationMatrix2D((middle, middle), degrees, 1))


def _stretched(edit: Uint8, factor: float) -> Uint8:
    return _moved(edit, np.array([[factor, 0, (1 - factor) * EDIT_SIDE_PX / 2], [0, 1, 0]]))


def _moved(edit: Uint8, how: np.ndarray) -> Uint8:
    border = tuple(int(v) for v in edit[0, 0])
    return np.asarray(cv2.warpAffine(edit, how, edit.shape[:2], borderValue=border), np.uint8)


SPOILED: dict[str, Callable[[Uint8], Uint8]] = {
    "nothing drawn": lambda edit: np.full_like(edit, edit[0, 0]),
    "noise": lambda edit: np.random.default_rng(0).integers(0, 256, edit.shape).astype(np.uint8),
    "mirrored": lambda edit: np.ascontiguousarray(edit[:, ::-1]),
    "turned by 12 degrees": lambda edit: _rotated(edit, 12),
    "stretched by 20 %": lambda edit: _stretched(edit, 1.2),
    "moved by an eighth of the picture": lambda edit: np.roll(edit, EDIT_SIDE_PX // 8, 1),
    "60 % painted over": lambda edit: edit,
    "another object": lambda edit: edit,
}


def refusals(cases: list[Occluded]) -> dict[str, list[bool]]:
    """For every kind of bad edit, which were refused. What looks the same mirrored is left out."""
    found: dict[str, list[bool]] = {kind: [] for kind in SPOILED}
    for (k, case), (kind, spoil) in product(enumerate(cases), SPOILED.items()):
        symmetric = "symmetric" in case.known.objects[case.index].kinds
        if kind == "mirrored" and symmetric:
            continue
        drift = Drift(repaint=0.6) if kind.endswith("painted over") else Drift()
        edit = spoil(case.edit(drift, k))
        if kind == "another object":
            mine = case.known.objects[case.index].name
            other = next(c for c in cases[k:] + cases if c.known.objects[c.index].name != mine)
            edit = other.edit(drift, k)
        found[kind].append(bool(check_edit(edit, case.crop).rejection))
    return found


def _moved_table(good: list[Measured]) -> str:
    rows = ["| edits | number | median before | worst | median after | worst | refused |",
            "|---|---|---|---|---|---|---|"]  # fmt: skip
    for drift_name in (*DRIFTS, "all"):
        mine = [m for m in good if drift_name in (m.drift_name, "all")]
        before = np.array([m.before_px for m in mine])
        after = np.array([m.after_px for m in mine])
        rows.append(
            f"| {drift_name} | {len(mine)} | {np.median(before):.2f} px | {before.max():.2f} px | "
            f"{np.median(after):.3f} px | {after.max():.3f} px | "
            f"{sum(bool(m.refused) for m in mine)} |"
        )
    worst = max(good, key=lambda m: m.after_px)
    within = sum(m.after_px <= MAX_LEFT_PX for m in good)
    rows += ["", f"At most {MAX_LEFT_PX} px: {within} of {len(good)}. Worst object: {worst.name}."]
    refused = [f"{m.name}: {m.refused}" for m in good if m.refused]
    return "\n".join([*rows, *[f"Refused: {line}." for line in dict.fromkeys(refused)]])


def _refused_table(bad: dict[str, list[bool]]) -> str:
    rows = ["| bad edits | number | refused |", "|---|---|---|"]
    rows += [f"| {kind} | {len(found)} | {sum(found)} |" for kind, found in bad.items()]
    return "\n".join(rows)


def _cost_table(good: list[Measured]) -> str:
    rows = [
        "| placement error, of accepted edits | median | worst | worst beyond the perfect one |"
    ]
    rows.append("|---|---|---|---|")
    good = [m for m in good if not m.refused]  # the others are not used
    perfect = np.array([m.perfect for m in good])
    named = {
        "with a perfect edit": perfect,
        "with the registered edit": [m.registered for m in good],
        "with the edit as it came": [m.raw for m in good],
    }
    for name, errors in named.items():
        beyond = np.array(errors) - perfect
        rows.append(f"| {name} | {np.median(errors):.3%} | {np.max(errors):.3%} | "
                    f"{beyond.max():.3%} |")  # fmt: skip
    lines = []
    for drift_name in DRIFTS:
        mine = [m for m in good if m.drift_name == drift_name]
        within = sum(m.registered <= m.perfect + MAX_COST for m in mine)
        lines.append(f"{drift_name}: {within} of {len(mine)}")
    return "\n".join([*rows, "", f"Within {MAX_COST:.1%} of the depth: {'; '.join(lines)}."])


def _rms(found: Registration, true: Registration, where: Bool) -> float:
    return float(np.sqrt((found.distance_px(true, where) ** 2).mean()))


def _middle(vertices: Float64) -> Float64:
    return (vertices.min(0) + vertices.max(0)) / 2


def _rgba(path: Path) -> Uint8:
    """(H, W, 4) a PNG; opaque where it has no alpha."""
    read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if read is None:
        raise ValueError(f"{path} cannot be read")
    how = cv2.COLOR_BGRA2RGBA if read.shape[2] == 4 else cv2.COLOR_BGR2RGBA
    return np.asarray(cv2.cvtColor(read, how), np.uint8)


if __name__ == "__main__":
    main()
