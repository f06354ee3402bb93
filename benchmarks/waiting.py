"""What a person waits for: an answer of the command line, one more click while choosing, and the
report of a scene of 30 objects.

`python -m benchmarks.waiting` measures them in one run and writes docs/benchmarks.md.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PIL import Image

from benchmarks.browser import headless_browser
from benchmarks.many_objects import many_objects
from benchmarks.report import replace_section
from photoscene.choosing.chooser import Chooser
from photoscene.cli.errors import keep_quiet
from photoscene.inputs.request import Arguments, build_request
from photoscene.runs.reconstruction import reconstruct_photo
from photoscene.runs.writing import Reconstruction, run_of, write_files, write_report
from scene.images import decode_photo
from scene.store import Store
from scene.types import ObjectPrompt
from stages import segment
from stages.segment import grabcut

DOCUMENT = Path("docs/benchmarks.md")
PHOTO = Path("examples/breakfast.jpg")
# Six objects, as a person would choose them; the last entry is the one more click.
ENTRIES = (
    "box 540 310 675 405", "next", "point 200 340", "next", "box 324 165 515 396", "next",
    "box 234 432 343 558", "next", "box 244 384 449 462", "next", "box 360 193 445 400",
)  # fmt: skip
LAST_ENTRY = "point 378 300"
OBJECTS = 30
ROUNDS = 3
MEGAPIXELS = {12: (4000, 3000), 100: (10000, 10000)}
NO_HUB = "http://127.0.0.1:9"  # nobody listens there


def main() -> int:
    """Measure and write; returns the exit status."""
    keep_quiet()
    with tempfile.TemporaryDirectory() as folder:
        replace_section(DOCUMENT, "CPU time of light commands", commands(Path(folder)))
        replace_section(DOCUMENT, "Time of one more click", clicks(Path(folder)))
        replace_section(DOCUMENT, "Report of 30 objects", report(Path(folder)))
    return 0


def commands(folder: Path) -> str:
    """CPU seconds of commands in a process of their own, the least of a few rounds in which they
    take turns, and as multiples of a Python that does nothing."""
    for size, sides in MEGAPIXELS.items():
        with Image.open(PHOTO) as photo:
            photo.convert("RGB").resize(sides).save(folder / f"{size}.jpg", quality=90)
    photoscene = str(Path(sys.executable).with_name("photoscene"))
    measured = {
        "`python -c pass`": [sys.executable, "-c", "pass"],
        "`photoscene --help`": [photoscene, "--help"],
        "`photoscene models pull moge` without a network": [photoscene, "models", "pull", "moge"],
        "`photoscene check` of 12 megapixels": [photoscene, "check", str(folder / "12.jpg")],
        "`photoscene check` of 100 megapixels": [photoscene, "check", str(folder / "100.jpg")],
    }  # fmt: skip
    environment = {**os.environ, "HF_ENDPOINT": NO_HUB, "PHOTOSCENE_MODELS": str(folder / "models")}

    def cpu_s(command: list[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, capture_output=True, env=environment, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    rounds = [{name: cpu_s(c) for name, c in measured.items()} for _ in range(ROUNDS)]
    least = {name: min(r[name] for r in rounds) for name in measured}
    bare = least["`python -c pass`"]
    rows = [f"| {name} | {s:.2f} | {s / bare:.0f} |" for name, s in least.items()]
    return "\n".join(["| command | CPU seconds | times a bare Python |", "|---|---|---|", *rows])


def clicks(folder: Path) -> str:
    """The seconds of each entry, and of all prompts at once by a backend that remembers nothing."""
    store = Store(folder / "store")
    request = build_request(Arguments(PHOTO, until="segment"), store)
    chooser = Chooser(request, store, folder / "chosen", PHOTO.name)
    chooser.begin(())
    each = {
        e: s for e in (*ENTRIES, LAST_ENTRY) if (s := seconds(chooser.enter, e)) and e != "next"
    }
    photo, _ = decode_photo(PHOTO.read_bytes(), 2048)
    # The mirror image is as much work, and nothing of it is remembered.
    mirrored = replace(photo, rgb=photo.rgb[:, ::-1].copy())
    moved = tuple(_mirrored(p, photo.width) for p in chooser.session.present.objects)
    backend = grabcut.load(grabcut.Settings(), "cpu")
    whole = seconds(lambda: segment.run(backend, mirrored, moved, ()))
    rows = [f"| `{entry}` | {s:.2f} |" for entry, s in each.items()]
    rows.append(f"| all six objects anew, nothing remembered | {whole:.2f} |")
    ratio = whole / each[LAST_ENTRY]
    told = f"The last click costs 1/{ratio:.0f} of finding all masks anew."
    return "\n".join(["| entry | seconds |", "|---|---|", *rows, "", told])


def _mirrored(prompt: ObjectPrompt, width: int) -> ObjectPrompt:
    """The prompt for the photo's mirror image."""
    box = prompt.box and (
        width - prompt.box[2],
        prompt.box[1],
        width - prompt.box[0],
        prompt.box[3],
    )
    points = tuple(replace(p, x_px=width - 1 - p.x_px) for p in prompt.points)
    return replace(prompt, box=box, points=points)


def report(folder: Path) -> str:
    """Size and seconds of the report of a run with many objects, written and opened."""
    from flows.server import prefect_api

    options = many_objects(folder / "many", OBJECTS)
    masks = [Path(v) for k, v in zip(options, options[1:], strict=False) if k == "--mask"]
    depth = Path(options[options.index("--pointmap") + 1])
    fov = float(options[options.index("--fov") + 1])
    store, run = Store(folder / "store"), folder / "run"
    request = build_request(
        Arguments(Path(options[0]), masks=masks, point_map=depth, fov_x_deg=fov), store
    )
    started = time.monotonic()
    with prefect_api():
        scene, outcomes = reconstruct_photo(request, store)
    run_s = time.monotonic() - started
    made = Reconstruction(request, scene, outcomes, "photo.png", run_s)
    write_files(run_of(run, made, store), scene, store, {})
    first_s = seconds(write_report, run, store)
    again_s = seconds(write_report, run, store)
    path = run / "report.html"
    opened = opening_seconds(path)
    rows = {
        f"the run itself, {len(scene.objects)} objects": f"{run_s:.1f} s",
        "report, first time": f"{first_s:.1f} s ({first_s / run_s:.2f} of the run)",
        "report, again": f"{again_s:.2f} s",
        "size": f"{path.stat().st_size / 1e6:.1f} MB",
        "opened from disk: page complete": f"{opened[0]:.2f} s",
        "opened from disk: scene shown in 3D (software rendering)": f"{opened[1]:.2f} s",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())])


def opening_seconds(path: Path) -> tuple[float, float]:
    """Seconds until the page's load event, and until its 3D viewer has loaded the scene."""
    with headless_browser() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        started = time.monotonic()
        page.goto(path.absolute().as_uri())
        loaded = time.monotonic() - started
        viewer = page.locator("model-viewer")
        viewer.scroll_into_view_if_needed()
        viewer.evaluate("v => v.loaded || new Promise(done => v.addEventListener('load', done))")
        return loaded, time.monotonic() - started


def seconds(work: Callable, *arguments: object) -> float:
    """The wall time of one call."""
    started = time.monotonic()
    work(*arguments)
    return time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main())
