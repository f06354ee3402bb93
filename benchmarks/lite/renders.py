"""Draws scenes of the public objects to measure on: `python -m benchmarks.lite.renders`.

    python -m benchmarks.lite.renders [--out runs/lite_renders] [--count 60] [--shared ../shared]

They are path-traced by a script that is not in the repository, with Mitsuba and Open Image Denoise
(`pip install mitsuba pyoidn shapely`; DRJIT_LIBLLVM_PATH names an LLVM of version 19, Debian's
libllvm19). A scene depends on its number alone, and those that are there stay.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.known_scenes import GROUND_TRUTH
from training.common.shards import appearing, draw_missing

SEED = 77  # of other scenes than the public ones
SAMPLES = 16  # per pixel, before the denoiser
TEXTURE_PX, STRIDE = 256, 8  # of what nobody looks at here: textures of meshes, stored points
LIBRARIES = ("mitsuba", "pyoidn", "shapely")


@dataclass(frozen=True)
class Render:
    """Scene `number`, below `root`; shared: has the script, textures and environments."""

    root: Path
    number: int
    shared: Path

    @property
    def folder(self) -> Path:
        """Holds scene_NUMBER when it is drawn."""
        return self.root / "drawn" / f"{self.number:04d}"


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the missing scenes, and link all below OUT/scenes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/lite_renders"))
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args(argv)
    absent = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if absent or not script(options.shared).exists():
        print(f"no renders: needs {script(options.shared)} and {', '.join(LIBRARIES)}")
        return
    renders = [Render(options.out, number, options.shared) for number in range(options.count)]
    draw_missing(renders, draw, options.processes)
    scenes = options.out / "scenes"
    scenes.mkdir(exist_ok=True)
    for render in renders:
        link = scenes / f"render_{render.number:04d}"
        if not link.exists():
            link.symlink_to(next(render.folder.glob("scene_*")).resolve())


def draw(render: Render) -> None:
    """Draw one scene."""
    data = render.shared / "data"
    with appearing(render.folder) as unfinished:
        command = [
            sys.executable, str(script(render.shared)), "--objects", str(GROUND_TRUTH / "objects"),
            "--textures", str(data / "textures"), "--env", str(data / "env"),
            "--out", str(unfinished), "--count", str(render.number + 1),
            "--only", str(render.number), "--seed", str(SEED), "--spp", str(SAMPLES),
            "--tex", str(TEXTURE_PX), "--stride", str(STRIDE),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if not list(unfinished.glob("scene_*/scene.json")):
            raise RuntimeError(f"scene {render.number} was not drawn: {done.stderr[-500:]}")


def script(shared: Path) -> Path:
    """What draws scenes."""
    return shared / "tools" / "make_scenes.py"


if __name__ == "__main__":
    main()
