"""One reconstruction for the command line: carried out, written, and its outcome printed."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flows.request import Request
from photoscene.cli.output import DONE, INCOMPLETE, print_result, print_warnings
from photoscene.cli.progress import show_progress
from photoscene.cli.summary import scene_summary, scene_text
from photoscene.runs.archives import keep_scene, recall_scenes
from photoscene.runs.fits import has_failed
from photoscene.runs.reconstruction import InputNames, reconstruct_photo
from photoscene.runs.writing import Reconstruction, write_run
from scene.store import Store


@dataclass(frozen=True)
class Where:
    """The store as given (None: the default one), and the device as `--device` names it."""

    store: str | None
    device: str = "auto"


@dataclass(frozen=True)
class Work:
    """One run: its folder, what its inputs are called and where they lie, the device, and when it
    was started."""

    folder: Path
    photo_name: str
    names: InputNames
    device: str
    started: float
    inputs: Sequence[Path] = ()


def reconstruct(
    request: Request, store: Store, work: Work, refresh: Sequence[str], as_json: bool
) -> int:
    """Carry a request out, write its run folder and print what came of it; the exit status.

    refresh: steps to compute again, as "generate" or "generate:OBJECT_ID".
    """
    folder = work.folder
    with show_progress():
        (known,) = [set()] if refresh else recall_scenes([request], store)
        if not known:
            store.upload(request.files)
        scene, outcomes = reconstruct_photo(
            request, store, refresh=refresh, device=work.device, names=work.names
        )
        seconds = time.monotonic() - work.started
        made = Reconstruction(request, scene, outcomes, work.photo_name, seconds)
        noting = replace(store, noted=[])
        warnings = write_run(folder, made, noting, work.inputs)
        keep_scene(made, noting, known)
    print_warnings(warnings)
    computed = sum(outcome.computed for outcome in outcomes)
    failed = [o for o in scene.objects if has_failed(o)]
    status = INCOMPLETE if failed or not scene.objects else DONE
    if request.until == "map_points" and scene.points is not None:
        status = DONE
    summary = scene_summary(scene, folder, computed, seconds, status)
    print_result(summary, scene_text(scene, folder, computed, len(outcomes), seconds), as_json)
    if not scene.objects and status == INCOMPLETE:
        print("photoscene: no object found; point at one with --point or --box", file=sys.stderr)
    return status
