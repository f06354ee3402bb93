"""How well does the lite generator reconstruct the objects that it was not trained on?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from benchmarks.lite.sources import Sources
from benchmarks.narrow import table
from stages import generate
from stages.devices import ModelPool
from stages.generate.lite import Settings
from training.generator.held_out import (
    SHAPES,
    HeldOut,
    held_out_scans,
    held_out_shapes,
    held_out_study,
    means,
    measure,
)


def held_out_table(sources: Sources) -> str:
    """IoU and depth errors from one picture alone, beside the inflated outline."""
    groups: list[tuple[str, Iterator[HeldOut]]] = [
        ("procedural, other seeds", held_out_shapes(SHAPES))
    ]
    study = sources.shared / "snippets" / "lite_study" / "gen.py"
    if study.is_file():
        groups.append(("procedural, the study's own", held_out_study(study)))
    else:
        print(f"{study} is absent (the study is not in the repository): its row is left out")
    groups.append(("scans, 12 views each", held_out_scans(sources.data / "objects")))
    rows = []
    with ModelPool().borrow(generate.STAGE, "lite", Settings()) as generator:
        for name, objects in groups:
            scores = [measure(generator, one) for one in islice(objects, sources.count)]
            iou, front, back, inflated = means(scores)
            rows.append([name, str(len(scores)), f"{iou:.3f}", f"{inflated:.3f}",
                         f"{iou - inflated:+.3f}", f"{front:.3f}", f"{back:.3f}"])  # fmt: skip
    header = ["objects", "pictures", "IoU", "inflated outline", "margin", "front error",
              "back error"]  # fmt: skip
    return table(header, rows)
