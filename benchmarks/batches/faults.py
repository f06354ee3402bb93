"""One scene in ten meets with trouble: what becomes of it, and of the others?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from benchmarks.batches.commands import digests, run
from benchmarks.batches.photos import with_backends, write_batch

SCENES, EVERY = 100, 10
TROUBLES = ("bad photo", "exception", "hang", "memory", "segfault")
HANG_S = 8


def measure(folder: Path, scenes: int = SCENES) -> str:
    """The table of troubles with the reasons that were reported, and of the batch after them."""
    env = with_backends(folder / "backends")
    cause = folder / "cause"
    cause.touch()
    troubles = {i: TROUBLES[i // EVERY % len(TROUBLES)] for i in range(3, scenes, EVERY)}

    def settings(index: int) -> list[str]:
        trouble = troubles.get(index, "bad photo")
        return (
            [] if trouble == "bad photo"
            else [f"generate.trouble={trouble}", f"generate.cause={cause}"]
        )  # fmt: skip

    manifest = write_batch(folder, scenes, settings)
    bad = [manifest.parent / f"photo_{i:05d}.png" for i, t in troubles.items() if t == "bad photo"]
    whole = {path: path.read_bytes() for path in bad}
    for path in bad:
        path.write_bytes(b"no photo")
    options = ("--store", folder / "store", "--workers", 2, "--step-limit", HANG_S)
    first = run(manifest, folder / "out", *options, env=env)
    rows = ["| trouble | scenes | reported as |", "|---|---|---|"]
    reasons: dict[str, Counter[str]] = {}
    for index, trouble in troubles.items():
        scene = first.summary["scenes"][index]
        text = scene["reason"] or "; ".join(o["failure"] for o in scene["objects"])
        text = text.replace(str(folder), "").partition("; its traceback")[0]
        reasons.setdefault(trouble, Counter())[text.replace(scene["photo"], "PHOTO")] += 1
    for trouble, texts in reasons.items():
        rows.append(f"| {trouble} | {texts.total()} | {', '.join(texts)} |")
    cause.unlink()
    for path, data in whole.items():
        path.write_bytes(data)
    again = run(manifest, folder / "out", *options, "--retry-failed", env=env)
    undisturbed = run(manifest, folder / "other", "--store", folder / "other_store",
                      "--workers", 2, env=env)  # fmt: skip
    equal = digests(folder / "out") == digests(folder / "other")
    rows += [
        "",
        f"First run: {first.counts['done']} of {scenes} done, {scenes - first.counts['done']} "
        f"reported, exit status {first.status}. `--retry-failed` once the causes were gone: "
        f"{again.counts['done']} done, exit status {again.status}; "
        f"{'the bytes are' if equal else 'BUT NOT the bytes'} those of an undisturbed batch "
        f"({undisturbed.counts['done']} done).",
    ]
    return "\n".join(rows)
