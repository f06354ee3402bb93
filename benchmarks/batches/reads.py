"""How often are weights read when only one network at a time is in memory?

Tiny checkpoints of the official classes; the loaders log every read, and a worker's log is counted.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from benchmarks.batches.commands import run
from benchmarks.batches.photos import write_photos
from photoscene.self_test.tiny_moge import write_moge
from photoscene.self_test.tiny_pixal3d import write_tiny_checkpoint
from photoscene.self_test.tiny_qwen import save_tiny_qwen
from photoscene.self_test.tiny_sam import save_sam3
from support import TESTS
from support.batches import write_manifest

SCENES, SCENES_SINGLY = 48, 2
SAM_SEED, MOGE_SEED = 6, 2  # weights by which one of two objects hides a part of the other
SETTINGS = (
    "segment.threshold=0", "segment.max_objects=2", "complete.steps=2", "complete.side_px=64",
    "complete.tries=1", "complete.min_contact=0", "generate.resolution=1024", "generate.steps=1",
    "generate.texture_px=64", "generate.faces=200",
)  # fmt: skip
FILES = {"SAM 3": "segment", "MoGe": "map_points", "Qwen-Image-Edit": "complete"}
SITE = """
import flows.shard
from photoscene.self_test.tiny_moge import register_backbone
register_backbone()
flows.shard.MAX_LOCKSTEP = {members}
"""


def measure(folder: Path, scenes: int = SCENES, singly: int = SCENES_SINGLY) -> str:
    """A table of reads, for one worker in lockstep, and for a few scenes object by object."""
    weights = {
        "segment": save_sam3(folder / "sam3", SAM_SEED),
        "map_points": write_moge(folder / "moge", seed=MOGE_SEED),
        "complete": save_tiny_qwen(folder / "qwen"),
        "generate": write_tiny_checkpoint(folder / "pixal3d"),
    }
    settings = [*SETTINGS]
    for stage, path in weights.items():
        settings += [f"{stage}.weights={path}", f"{stage}.memory=one_at_a_time"]
    objects_singly, before = _reads(folder / "singly", singly, settings, 1)
    objects, now = _reads(folder / "lockstep", scenes, settings, None)
    rows = [
        f"| stage | weights | {singly} scenes, {objects_singly} objects one after another "
        f"| {scenes} scenes, {objects} objects in lockstep |",
        "|---|---|---|---|",
    ]
    rows += [f"| {FILES.get(n, 'generate')} | {n} | {before[n]} | {now[n]} |" for n in now]
    return "\n".join(rows)


def _reads(
    folder: Path, scenes: int, settings: list[str], members: int | None
) -> tuple[int, Counter[str]]:
    """The objects of a batch by one worker, and how often each of its weights was read.

    members: of a lockstep at most, None for the default.
    """
    from flows.shard import MAX_LOCKSTEP

    _, names = write_photos(folder / "photos", scenes)
    lines = [{"photo": name, "text": "cup"} for name in names]
    manifest = write_manifest(folder / "photos" / "all.jsonl", lines)
    (folder / "sitecustomize.py").write_text(SITE.format(members=members or MAX_LOCKSTEP))
    options = [part for setting in settings for part in ("--set", setting)]
    made = run(
        manifest, folder / "out", "--store", folder / "store", "--profile", "full", "--device",
        "cpu", *options, env={"PYTHONPATH": f"{folder}:{TESTS}"},
    )  # fmt: skip
    if made.counts["failed"]:
        raise RuntimeError(made.messages)
    reads: Counter[str] = Counter()
    for path in (folder / "out" / ".batch" / "logs").glob("*.jsonl"):
        for line in path.read_text("utf-8").splitlines():
            text = json.loads(line)["text"] if line.startswith("{") else ""
            if " read in " in text:
                reads[text.split(" read in ")[0]] += 1
    return sum(len(scene["objects"]) for scene in made.summary["scenes"]), reads
