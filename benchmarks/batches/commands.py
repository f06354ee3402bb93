"""Runs `photoscene batch` as people do, and reads what it left: records, logs, files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scene.keys import digest

PHOTOSCENE = str(Path(sys.executable).with_name("photoscene"))
SAME_FILES = ("scene.glb", "scene.json", "overlay.png")


@dataclass(frozen=True)
class Finished:
    """A batch that ended: its status, summary (`--json`), messages and wall seconds."""

    status: int
    summary: Mapping[str, Any]
    messages: str
    seconds: float

    @property
    def counts(self) -> Mapping[str, int]:
        """Scenes by their state."""
        return self.summary["counts"]


def start(
    manifest: Path, output: Path, *options: object, env: Mapping[str, str], prefix: Sequence = ()
) -> subprocess.Popen[str]:
    """A batch in a process group of its own; prefix: words before the command, as `taskset`'s."""
    words = [*prefix, PHOTOSCENE, "batch", manifest, "-o", output, "--json", *options]
    return subprocess.Popen(
        [*map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, **env}, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], began: float) -> Finished:
    """Wait for a batch. Raises RuntimeError with its messages where it printed no summary."""
    out, messages = process.communicate()
    seconds = time.monotonic() - began
    try:
        summary = json.loads(out)
    except json.JSONDecodeError:
        raise RuntimeError(f"status {process.returncode}: {messages}") from None
    return Finished(process.returncode, summary, messages, seconds)


def run(
    manifest: Path, output: Path, *options: object, env: Mapping[str, str], prefix: Sequence = ()
) -> Finished:
    """Run a batch to its end."""
    began = time.monotonic()
    return finish(start(manifest, output, *options, env=env, prefix=prefix), began)


def steps(output: Path) -> list[dict[str, Any]]:
    """Every step that workers logged."""
    found = []
    for path in sorted((output / ".batch" / "logs").glob("*.jsonl")):
        for text in path.read_text("utf-8", "replace").splitlines():
            value = json.loads(text) if text.startswith("{") and text.endswith("}") else {}
            if value.get("text") == "step":
                found.append(value)
    return found


def computed_twice(output: Path) -> int:
    """How many steps were computed and published again."""
    done = Counter(
        (s["scene"], s["stage"], s["subject"]) for s in steps(output) if s["result"] == "computed"
    )
    return sum(count - 1 for count in done.values())


def step_seconds(output: Path) -> float:
    """Seconds that steps took, of all workers."""
    return sum(step["seconds"] for step in steps(output))


def digests(output: Path) -> dict[str, str]:
    """The sha256 of every file that is the same for the same input, by its path."""
    return {
        path.relative_to(output).as_posix(): digest(path.read_bytes())
        for path in sorted(output.glob("*/*"))
        if path.name in SAME_FILES
    }
