"""Measures exports, colliders, the rubric and renders; writes their sections of docs/benchmarks.md.

    python -m benchmarks.exports [formats] [readers] [stability] [rubric] [cost] [--quick]
        [--run RUN] [--blender PYTHON]

Without names everything is measured, on the six public scenes and on the demo's objects, which are
reconstructed first where no --run has them. --quick: two scenes, and a scene of six objects.
--blender: a Python that has bpy, as docs/export.md says: what writes FBX, and reads most formats.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.known_scenes import GROUND_TRUTH
from benchmarks.narrow import table
from benchmarks.readers_shown import Shown, sheet, shown_by_readers, worst_by_reader
from benchmarks.report import replace_section
from benchmarks.rubric_scenes import FLAWS, good_scene, public_scene, with_first, with_mesh
from benchmarks.spoiled import SPOILED_MESHES, SPOILED_PLACES
from photoscene.export.budgets import closed
from photoscene.export.formats import EXPORTERS
from photoscene.export.libraries import missing_library
from photoscene.export.source import Source, read_source
from photoscene.physics.bodies import camera_colliders
from photoscene.quality.evidence import Evidence
from photoscene.quality.files import export_rows, exported
from photoscene.quality.judging import object_rows
from photoscene.quality.rubric import PASS, UNKNOWN
from photoscene.quality.stability import stability_rows
from photoscene.runs.folder import read_run, read_scene
from photoscene.views.rendering import stage_of, turntable
from scene.png import encode_png
from scene.store import open_store
from scene.types import Similarity

DOCUMENT = Path("docs/benchmarks.md")
SHEET, ON_SHEET = Path("docs/exports.png"), "scene_02"
SCENES = 6
MANY, SPACING = 30, 1.5  # objects, and their distance in sizes of the largest
FRAMES, FRAME_PX = 60, (640, 480)
EXPORT_LIMIT_S, TURNTABLE_LIMIT_S = 180, 60  # what a person waits for, on two cores


def main() -> None:
    """Measure what was named, or everything, and rewrite those sections."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("parts", nargs="*", help="all where none is named")
    parser.add_argument("--quick", action="store_true", help="less of everything, for a look")
    parser.add_argument("--run", type=Path, help="the run folder of the demo")
    parser.add_argument("--blender", type=Path, help="a Python that has bpy")
    asked = parser.parse_args()
    parts = {
        "formats": ("Exports: read back", formats_table),
        "readers": ("Exports: as readers show them", partial(readers_table, blender=asked.blender)),
        "stability": ("Exports: colliders and stability", stability_table),
        "rubric": ("Quality: spoiled scenes", rubric_table),
        "cost": ("Exports and renders: cost", cost_table),
    }
    if unknown := set(asked.parts) - parts.keys():
        parser.error(f"{', '.join(unknown)}: expected some of {', '.join(parts)}")
    with _demo(asked.run) as run:
        for name in asked.parts or parts:
            title, measure = parts[name]
            text = measure(run, asked.quick)
            print(f"{title}\n{text}\n")  # noqa: T201
            if not asked.quick:
                replace_section(DOCUMENT, title, text)


@contextlib.contextmanager
def _demo(given: Path | None) -> Iterator[Path]:
    """The demo's run folder."""
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        words = ["examples/breakfast.jpg", "--prompts", "examples/breakfast.prompts.json",
                 "-o", f"{folder}/run", "--store", f"{folder}/store"]  # fmt: skip
        subprocess.run([sys.executable, "-m", "photoscene", "run", *words], check=True)
        yield Path(folder) / "run"


def demo_source(run: Path) -> Source:
    """The demo's objects."""
    return read_source(run, open_store(read_run(run).record.store))[1]


def sources(run: Path, quick: bool) -> dict[str, Source]:
    """What is exported, by name."""
    found = {f"scene_{i:02d}": _public(i).source for i in range(2 if quick else SCENES)}
    return {**found, "demo": demo_source(run)}


def _public(number: int) -> Evidence:
    return public_scene(GROUND_TRUTH / "scenes" / f"scene_{number:02d}")


def formats_table(run: Path, quick: bool) -> str:
    """The largest error of a box, by format, over all scenes."""
    worst: dict[str, tuple[float, int]] = {}
    skipped: dict[str, str] = {}
    for source in sources(run, quick).values():
        for row in export_rows(source):
            name = row.subject.removesuffix(" export")
            if row.name != "read back":
                continue
            if row.figure is None:
                skipped[name] = row.text
                continue
            error, count = worst.get(name, (0.0, 0))
            worst[name] = max(error, row.figure), count + 1
    rows = [[name, str(count), f"{error:.6%}"] for name, (error, count) in worst.items()]
    lines = [f"{name}: {why}." for name, why in skipped.items()]
    return "\n\n".join([table(["format", "scenes", "largest error of a box"], rows), *lines])


def readers_table(run: Path, quick: bool, blender: Path | None) -> str:
    """By format and reader: how far its image is from the one of what was written."""
    shown: list[Shown] = []
    for name, source in sources(run, quick).items():
        own = shown_by_readers(source, blender)
        if name == ON_SHEET and not quick:
            SHEET.write_bytes(encode_png(sheet(own)))
        shown += own
    rows = [
        [kind, reader, str(count), f"{iou:.4f}", f"{difference:.2f}"]
        for (kind, reader), (count, iou, difference) in worst_by_reader(shown).items()
    ]
    heads = ["format", "reader", "scenes", "lowest IoU", "largest mean difference in colour"]
    return table(heads, rows)


def stability_table(run: Path, quick: bool) -> str:
    """Colliders and two seconds of simulation, by object; the demo's objects last."""
    rows = []
    for name, source in sources(run, quick).items():
        for own, o in zip(stability_rows(source).values(), source.placed, strict=True):
            colliders, stands = own
            parts, behaviour = colliders.note.split(" ")[0], stands.note.split(" in 2 s")[0]
            verdict = f"{stands.text} ({stands.verdict})"
            rows.append([name, o.name, parts, colliders.text, verdict, behaviour])
    heads = ["scene", "object", "parts", "outside them", "stands", "what it does"]
    return table(heads, rows)


def rubric_table(run: Path, quick: bool) -> str:
    """How many spoiled scenes are flagged in their rows, and good ones in none."""
    good = good_scene()
    hits, spoiled = 0, 0
    changes = [(with_mesh(good, change), rows) for change, rows in SPOILED_MESHES]
    changes += [(with_first(good, change), rows) for change, rows in SPOILED_PLACES]
    for evidence, expected in changes:
        found = {r.name: r.verdict for r in object_rows(evidence.objects[0], evidence)}
        spoiled += 1
        hits += all(found[name] == verdict for name, verdict in expected.items())
    false, flaws, judged = 0, 0, 0
    for number in range(2 if quick else SCENES):
        evidence = _public(number)
        for subject in evidence.objects:
            known = FLAWS.get(subject.placed.name, set())
            for row in object_rows(subject, evidence):
                judged += 1
                flagged = row.verdict not in (PASS, UNKNOWN)
                flaws += flagged and row.name in known
                false += flagged and row.name not in known
    heads = ["what", "of", "flagged as they should be", "flagged falsely"]
    return table(heads, [
        ["spoiled objects, in their rows", str(spoiled), str(hits), "-"],
        ["rows of public scenes' objects", str(judged), f"{flaws} flaws of the scans", str(false)],
    ])  # fmt: skip


def many_objects(source: Source, count: int) -> Source:
    """A source's objects again and again, side by side."""
    size = max(float(np.ptp(o.camera_vertices, axis=0).max()) for o in source.placed)
    side = int(np.ceil(np.sqrt(count)))
    placed = []
    for number in range(count):
        o = source.placed[number % len(source.placed)]
        step = SPACING * size * np.array([number % side, 0, number // side])
        place = o.camera_from_object
        moved = Similarity(place.scale, place.rotation, place.translation + step)
        placed.append(replace(o, id=f"{number:012x}", name=f"{o.name} {number + 1}",
                              camera_from_object=moved))  # fmt: skip
    return replace(source, placed=tuple(placed))


def cost_table(run: Path, quick: bool) -> str:
    """CPU seconds of a scene of many objects in every format, and of a turntable."""
    many = many_objects(demo_source(run), 6 if quick else MANY)
    rows, total = [], 0.0
    started = time.process_time()
    colliders = camera_colliders(many.placed)
    spent = time.process_time() - started
    rows.append(["colliders", f"{spent:.1f}", "-"])
    total += spent
    started = time.process_time()
    shells = tuple(replace(o, mesh=closed(o.mesh, None, None)) for o in many.placed)
    solid = replace(many, placed=shells)
    total += time.process_time() - started
    with tempfile.TemporaryDirectory() as work:
        for exporter in EXPORTERS.values():
            if exporter.name == "fbx" or missing_library(exporter.libraries):
                continue
            folder = Path(work) / exporter.name
            folder.mkdir()
            started = time.process_time()
            taken = solid if exporter.closed else many
            exporter.write(exported(taken, exporter, colliders), folder)
            spent = time.process_time() - started
            total += spent
            bytes_ = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
            rows.append([exporter.name, f"{spent:.1f}", f"{bytes_ / 1e6:.0f} MB"])
    faces = sum(len(o.mesh.faces) for o in many.placed)
    rows.append([f"all, {len(many.placed)} objects, {faces:,} faces", f"{total:.1f}",
                 f"{total / EXPORT_LIMIT_S:.0%} of {EXPORT_LIMIT_S} s"])  # fmt: skip
    frames = 6 if quick else FRAMES
    scene = read_scene(run)
    started = time.process_time()
    for _ in turntable(stage_of(scene, demo_source(run).placed), frames, FRAME_PX, (232, 232, 232)):
        pass
    cpu = time.process_time() - started
    what = f"turntable of the demo, {frames} frames of {FRAME_PX[0]} px"
    limit = f"{cpu / TURNTABLE_LIMIT_S:.0%} of {TURNTABLE_LIMIT_S} s"
    rows.append([what, f"{cpu:.1f}", limit])
    return table(["what", "seconds of CPU", "size, or part of the limit"], rows)


if __name__ == "__main__":
    main()
