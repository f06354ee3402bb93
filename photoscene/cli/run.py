"""`photoscene run` and `photoscene segment`: from a photo to a run folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from flows.profile import known_stage
from photoscene.choosing import MASKS
from photoscene.cli.choose import choose_objects
from photoscene.cli.errors import store_root
from photoscene.cli.options import Choosing
from photoscene.cli.output import INCOMPLETE, print_warnings
from photoscene.cli.reconstruct import Where, Work, reconstruct
from photoscene.device import check_device, device_for
from photoscene.inputs.request import (
    Arguments,
    build_request,
    check_local,
    input_files,
)
from photoscene.runs.folder import (
    check_contents,
    check_folder,
    default_folder,
    files_until,
)
from photoscene.runs.reconstruction import InputNames, check_files
from scene.store import open_store


def run_photo(
    arguments: Arguments,
    output: Path | None,
    where: Where,
    refresh: Sequence[str],
    choosing: Choosing,
    as_json: bool,
) -> int:
    """Reconstruct a photo, as far as the arguments say; returns the exit status."""
    folder = output or default_folder(arguments.photo)
    choosing.check()
    check_device(where.device)
    check_local(folder, "-o")
    known_stage(arguments.until)
    for stage in refresh:
        known_stage(stage)
    store = open_store(store_root(where.store, arguments.profile))
    request = build_request(arguments, store.kept_here)
    called = InputNames(f"photo {arguments.photo}", f"--pointmap {arguments.point_map}")
    check_folder(folder)
    names = files_until(arguments.until) + ([MASKS] if choosing.by_hand else [])
    print_warnings(check_contents(folder, names, input_files(arguments)))
    if choosing.by_hand:
        store.upload(request.files)
        check_files(request, store, called)
        device = device_for(where.device, request.profile)
        chosen = choose_objects(
            request, store, folder, arguments.photo.name, choosing, as_json, device
        )
        if chosen is None:
            return INCOMPLETE
        request = chosen
    started = time.monotonic()
    inputs = tuple(input_files(arguments).values())
    work = Work(folder, arguments.photo.name, called, where.device, started, inputs)
    return reconstruct(request, store, work, refresh, as_json)
