"""How many objects do the segment backends find by themselves, and are they named rightly?"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scene.images import decode_photo
from scene.png import decode_png
from scene.types import Bool, Photo
from stages import segment
from stages.segment import Segmenter

RECALLED = (0.5, 0.7)  # IoU with a true mask
RIGHT = 0.5  # IoU from which a mask is right
MAX_SIDE_PX = 2048  # of a photo in a run
# Names that are right for the scenes' scans, and for the masks of the photos in their order.
SCAN_NAMES: Mapping[str, tuple[str, ...]] = {
    "gso_akita_black_bowl": ("bowl",),
    "gso_white_bowl": ("bowl",),
    "gso_glazed_rim_porcelain_ramekin": ("bowl", "cup"),
    "rs_bottle": ("bottle",),
}
PHOTO_NAMES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "midi_books_radio_pencils": (("book",), ("cup", "vase")),
    "midi_fruit_bowl_toaster": (("toaster",), ("bowl",)),
    "midi_pencils_radio_books": (("book",), ("cup", "vase")),
}


@dataclass(frozen=True, eq=False)
class Example:
    """A photo with its true masks (H, W), and for each the names that are right for it."""

    photo: Photo
    masks: tuple[Bool, ...]
    names: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Found:
    """What a backend found in one photo: for each true mask the best IoU, and whether it came apart
    into several found ones; for each found mask whether it is right; for each named one whether its
    name is."""

    ious: tuple[float, ...]
    apart: tuple[bool, ...]
    right: tuple[bool, ...]
    named_right: tuple[bool, ...]
    seconds: float


def scene_examples(folders: Sequence[Path]) -> list[Example]:
    """Ground-truth scenes, public or rendered."""
    return [
        example(
            folder / "image.png",
            sorted((folder / "masks").glob("modal_*.png")),
            tuple(SCAN_NAMES.get(o["name"], ()) for o in _objects(folder)),
        )
        for folder in folders
    ]


def photo_examples(shared: Path) -> list[Example]:
    """The photos whose masks are known; none where they are absent."""
    photos = shared / "data" / "photos"
    return [
        example(photos / f"{name}.jpg", sorted((photos / name).glob("mask_*.png")), names)
        for name, names in PHOTO_NAMES.items()
        if (photos / f"{name}.jpg").exists()
    ]


def example(photo: Path, masks: list[Path], names: tuple[tuple[str, ...], ...]) -> Example:
    """A photo and its masks from their files."""
    pixels = tuple(np.asarray(decode_png(mask.read_bytes(), "L")) > 127 for mask in masks)
    return Example(decode_photo(photo.read_bytes(), MAX_SIDE_PX)[0], pixels, names)


def found_in(backend: Segmenter, known: Example) -> Found:
    """Segment a photo without prompts and compare with the truth."""
    started = time.process_time()
    masks = segment.run(backend, known.photo, (), ())
    seconds = time.process_time() - started
    ious = np.array([[overlap(m.pixels, t) for t in known.masks] for m in masks])
    ious = ious.reshape(len(masks), len(known.masks))
    right = ious.max(1, initial=0) >= RIGHT
    return Found(
        tuple(ious.max(0, initial=0).tolist()),
        tuple(_pieces([m.pixels for m in masks], true) > 1 for true in known.masks),
        tuple(right.tolist()),
        tuple(
            bool(right[i]) and mask.label in known.names[int(ious[i].argmax())]
            for i, mask in enumerate(masks)
            if mask.label
        ),
        seconds,
    )


def _pieces(found: list[Bool], true: Bool) -> int:
    """How many found masks lie in a true one for the most part."""
    return sum(bool((pixels & true).sum() > 0.5 * pixels.sum()) for pixels in found)


def overlap(a: Bool, b: Bool) -> float:
    """Intersection over union of two masks."""
    return float((a & b).sum() / max(int((a | b).sum()), 1))


def found_table(backends: Mapping[str, Callable[[], Segmenter]],
                examples: Mapping[str, list[Example]]) -> str:  # fmt: skip
    """A row per kind of example and backend."""
    lines = [
        "| | backend | objects | recall at 0.5 | at 0.7 | precision at 0.5 | in pieces "
        "| names right | CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    everything = [e for group in examples.values() for e in group]
    results = {name: {id(e): found_in(load(), e) for e in everything}
               for name, load in backends.items()}  # fmt: skip
    for title, group in {**examples, "**all**": everything}.items():
        for name, found in results.items():
            lines.append(f"| {title} | `{name}` | {_row([found[id(e)] for e in group])} |")
    return "\n".join(lines)


def _row(found: list[Found]) -> str:
    ious = np.array([iou for f in found for iou in f.ious])
    right = [r for f in found for r in f.right]
    named = [n for f in found for n in f.named_right]
    recalls = " | ".join(f"{np.mean(ious >= limit):.2f}" for limit in RECALLED)
    apart = float(np.mean([a for f in found for a in f.apart]))
    names = f"{sum(named)} of {len(named)}" if named else "-"
    precision, seconds = float(np.mean(right)), float(np.mean([f.seconds for f in found]))
    return f"{len(ious)} | {recalls} | {precision:.2f} | {apart:.0%} | {names} | {seconds:.1f}"


def _objects(folder: Path) -> list[dict[str, str]]:
    return json.loads((folder / "scene.json").read_text("utf-8"))["objects"]
