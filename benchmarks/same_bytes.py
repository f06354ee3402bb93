"""`python -m benchmarks.same_bytes OTHER`: whether another checkout makes the same files.

Every known scene, with its true masks and depth and with nothing but its photo, and every photo is
run with the code of both checkouts, each with a store of its own, and what comes out is compared
byte by byte: scene.glb, overlay, masks, completions, crops, meshes, point map. It takes a quarter
of an hour. A GLB that differs is compared again without the names in it.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gallery import photo_entries, scene_entries
from benchmarks.known_scenes import GROUND_TRUTH
from benchmarks.report import replace_section

ROOT = Path(__file__).parents[1]
PAGE, TITLE = ROOT / "docs" / "benchmarks.md", "The bytes of two commits"
COMPARED = (".glb", ".png", ".npz")
RUN = "from photoscene.cli import app; app(prog_name='photoscene')"


@dataclass(frozen=True)
class Difference:
    """A file that is not the same: its name in its run folder, and whether only names in it are."""

    file: str
    names_only: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Run both checkouts, write the section, and return 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="a checkout of another commit")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    options = parser.parse_args(argv)
    jobs = run_options(options.shared)
    with tempfile.TemporaryDirectory() as folder:
        here, there = Path(folder) / "here", Path(folder) / "there"
        for name, words in jobs.items():
            run(ROOT, here, name, words)
            run(options.other, there, name, words)
            print(name, flush=True)
        count, differences = compare(here, there)
    text = section(commit(options.other), commit(ROOT), len(jobs), count, differences)
    replace_section(PAGE, TITLE, text)
    return 1 if differences else 0


def run_options(shared: Path) -> dict[str, list[str]]:
    """The options of `photoscene run` by the name of the run folder."""
    jobs = {}
    for entry in (*scene_entries(GROUND_TRUTH), *photo_entries(shared)):
        given, photo = entry.arguments, str(entry.arguments.photo)
        words = [word for mask in given.masks for word in ("--mask", str(mask))]
        if given.point_map is not None and given.camera is not None:
            words += ["--pointmap", str(given.point_map), "--camera", str(given.camera)]
        jobs[f"{entry.name}_photo"] = [photo]
        if words:
            jobs[f"{entry.name}_known"] = [photo, *words]
    return jobs


def run(code: Path, folder: Path, name: str, words: Sequence[str]) -> None:
    """One run by the code of a checkout, with the libraries of this one."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(code), "HOME": str(folder)}
    subprocess.run(
        [sys.executable, "-c", RUN, "run", *words, "-o", name, "--store", "store"],
        cwd=folder, env=environment, check=True, capture_output=True,
    )  # fmt: skip


def compare(here: Path, there: Path) -> tuple[int, list[Difference]]:
    """How many files there are, and those that differ or are on one side only."""
    names = {
        str(path.relative_to(folder))
        for folder in (here, there)
        for path in folder.glob("*_*/**/*")
        if path.suffix in COMPARED
    }
    found = []
    for name in sorted(names):
        one, other = here / name, there / name
        both = one.exists() and other.exists()
        if both and one.read_bytes() == other.read_bytes():
            continue
        names_only = both and one.suffix == ".glb" and nameless(one) == nameless(other)
        found.append(Difference(name.split("/", 1)[1], names_only))
    return len(names), found


def nameless(glb: Path) -> tuple[Any, bytes]:
    """The two chunks of a GLB, without any name in the JSON."""
    data = glb.read_bytes()
    (length,) = struct.unpack("<I", data[12:16])
    return _without_names(json.loads(data[20 : 20 + length])), data[20 + length :]


def section(other: str, this: str, runs: int, count: int, found: Sequence[Difference]) -> str:
    """What came of it, as Markdown."""
    lines = [f"{runs} runs each by {other} and {this}: {count} files, {len(found)} differ."]
    kinds = Counter((Path(d.file).name, d.names_only) for d in found)
    lines += [
        f"- {number} {file}" + (", in names only" if names_only else "")
        for (file, names_only), number in sorted(kinds.items())
    ]
    return "\n".join(["\n\n".join(lines[:2]), *lines[2:]])


def commit(folder: Path) -> str:
    """The commit of a checkout."""
    words = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def _without_names(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_names(v) for key, v in value.items() if key != "name"}
    return [*map(_without_names, value)] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
