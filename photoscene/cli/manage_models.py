"""What `photoscene models` does, and how it prints it."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from flows.profile import profile_names
from photoscene.cli.bars import file_bars
from photoscene.models.hub import PATIENCE_S, Hub
from photoscene.models.listing import listing, listing_table, profile_models
from photoscene.models.pull import CannotPull, Pulled, pull_model, with_companions
from photoscene.models.verify import Verified, verify_model
from scene.errors import BadInput
from scene.text import printable
from stages.model_table import ModelEntry, known_model, model_table
from stages.weights import models_folder

DONE, DAMAGED, BAD_INPUT, ENVIRONMENT = 0, 1, 2, 3
ENDPOINT = "https://huggingface.co"
OFFLINE_NAMES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def show_models(profile: str | None, as_json: bool) -> int:
    """`photoscene models list`: returns the exit status."""
    profiles = {name: profile_models(name) for name in ([profile] if profile else profile_names())}
    names = profiles[profile] if profile else list(model_table())
    found = listing(names, profiles)
    _print(found, listing_table(found), as_json)
    return DONE


def pull_models(
    names: Sequence[str],
    profile: str | None,
    to: Path | None,
    wait: float | None,
    as_json: bool,
    debug: bool,
) -> int:
    """`photoscene models pull`: returns the exit status; one that cannot come stops no other."""
    wanted = with_companions(_asked_for(names, profile))
    if wait is not None and not 0 < wait <= 600:
        raise BadInput(f"--wait {wait:g}: expected 0 to 600 seconds")
    hub = Hub(
        (os.environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/"), _offline(), wait or PATIENCE_S
    )
    logging.getLogger("huggingface_hub").setLevel(logging.DEBUG if debug else logging.CRITICAL)
    done: list[Pulled] = []
    failures: list[str] = []
    root = None if to is None else to.expanduser()
    with file_bars(quiet=as_json) as progress:
        for name in wanted:
            try:
                done.append(pull_model(known_model(name), root, hub, progress))
            except CannotPull as error:
                failures.append(str(error))
                # Once is enough to find out; what is here whole needs no hub.
                hub = replace(hub, offline=hub.offline or error.unreachable)
    status = ENVIRONMENT if failures else DONE
    summary = {
        "status": status,
        "folder": str(root or models_folder()),
        "models": [{**asdict(pulled), "folder": str(pulled.folder)} for pulled in done],
        "failures": failures,
    }
    _print(summary, "\n".join(map(_pulled_line, done)), as_json)
    for failure in failures:
        print(f"photoscene: {printable(' '.join(failure.split()))}", file=sys.stderr)
    return status


def verify_models(names: Sequence[str], as_json: bool) -> int:
    """`photoscene models verify`: returns 0 whole, 1 damaged, 3 nothing here."""
    entries = [known_model(name) for name in names] or list(model_table().values())
    found: list[Verified] = []
    absent: list[ModelEntry] = []
    with file_bars(quiet=as_json) as progress:
        for entry in entries:
            here = verify_model(entry, progress)
            found += here
            absent += [] if here else [entry]
    lacking = absent if names or not found else []
    damaged = any(verified.damaged for verified in found)
    status = DAMAGED if damaged else ENVIRONMENT if lacking else DONE
    summary = {
        "status": status,
        "models": [{**asdict(v), "folder": str(v.folder)} for v in found],
        "absent": [entry.name for entry in lacking],
    }
    _print(summary, "\n".join(map(_verified_text, found)), as_json)
    if lacking:
        named = lacking[0].name if names else "NAME"
        which = ", ".join(e.name for e in lacking) if names else "no model"
        verb = "is not" if len(lacking) == 1 or not names else "are not"
        what = f"{which} {verb if names else 'is'} in {models_folder()} or the hub's cache"
        print(f"photoscene: {what}: `photoscene models pull {named}`", file=sys.stderr)
    return status


def _asked_for(names: Sequence[str], profile: str | None) -> list[str]:
    if bool(names) == (profile is not None):
        raise BadInput("give NAME..., or --profile: `photoscene models list` has the names")
    if profile is None:
        return list(names)
    models = profile_models(profile)
    if not models:
        raise BadInput(f"--profile {profile}: it needs no weights but those it comes with")
    return models


def _offline() -> str:
    """Which variable says that the hub must not be asked, as its own library understands it."""
    yes = ("1", "ON", "YES", "TRUE")
    names = [name for name in OFFLINE_NAMES if os.environ.get(name, "").upper() in yes]
    return f"{names[0]} is set" if names else ""


def _pulled_line(pulled: Pulled) -> str:
    note = f" ({pulled.note})" if pulled.note else ""
    if not pulled.fetched:
        return f"{pulled.name}: already there, {pulled.folder}{note}"
    kept = f", {pulled.kept} were there" if pulled.kept else ""
    fetched = f"{len(pulled.fetched)} files, {pulled.bytes_fetched / 1e9:.3g} GB"
    return f"{pulled.name}: fetched {fetched}{kept}: {pulled.folder}{note}"


def _verified_text(verified: Verified) -> str:
    """A line for the folder, and one for every file that is not known to be whole."""
    files = [f for f in verified.findings if f.file]
    whole = sum(f.state == "whole" for f in files)
    state = "DAMAGED" if verified.damaged else "whole" if whole == len(files) else "not known"
    at = f" at {verified.commit[:12]}" if verified.commit else ""
    lines = [f"{verified.name}{at}: {state}, {whole} of {len(files)} files: {verified.folder}"]
    for finding in verified.findings:
        if finding.state != "whole":
            parts = [finding.state, finding.file, finding.detail]
            line = " ".join(part for part in parts if part)
            lines.append(f"  {line}: {finding.remedy}")
    return "\n".join(lines)


def _print(value: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(value, indent=1))
    for line in [] if as_json else text.splitlines():
        print(printable(line))
