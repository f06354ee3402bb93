"""Turns errors into one line and an exit status: 2 for bad input, 3 for the environment."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

BAD_INPUT, ENVIRONMENT, INTERRUPTED = 2, 3, 130
REMEDIES = {
    errno.ENOSPC: "free some space, or point --store and -o to another disk",
    errno.EROFS: "choose a writable --store and -o",
    errno.EACCES: "choose a writable --store and -o",
    errno.EPERM: "choose a writable --store and -o",
    errno.ENOTDIR: "a part of that path is a file; choose another --store or -o",
    errno.EEXIST: "that path is a file; choose another --store or -o",
}
# Prefect and its telemetry look at these when they are imported; what a user set stays.
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
}


@contextmanager
def reported(debug: bool) -> Iterator[None]:
    """Report what goes wrong inside as one line on standard error and exit accordingly."""
    keep_quiet(debug)
    try:
        yield
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        _stop("stopped; finished steps are kept: run the same command to go on", INTERRUPTED, debug)
    except ValueError as error:
        _stop(str(error), BAD_INPUT, debug)
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing may be flushed into the pipe any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, "")
        where = f" ({error.filename})" if error.filename else ""
        text = f"{error.strerror or error}{where}"
        _stop(f"{text}: {remedy}" if remedy else text, ENVIRONMENT, debug)
    except (ImportError, MemoryError, RuntimeError) as error:
        known = type(error).__module__.startswith("flows")  # our own words need no type's name
        _stop(str(error) if known else f"{type(error).__name__}: {error}", ENVIRONMENT, debug)


def keep_quiet(debug: bool = False) -> None:
    """Turn Prefect's telemetry and (without debug) its log off, before it is imported."""
    for name, value in QUIET.items():
        if not debug or name != "PREFECT_LOGGING_LEVEL":
            os.environ.setdefault(name, value)


def _stop(message: str, status: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    line = " ".join(message.split())
    print(f"photoscene: {line}", file=sys.stderr)
    raise typer.Exit(status)


def store_root(given: str | None) -> str:
    """The store's absolute folder: --store, else PHOTOSCENE_STORE, else ~/.cache/photoscene."""
    root = given if given is not None else os.environ.get("PHOTOSCENE_STORE", "")
    if "://" in root:
        raise ValueError(f"store {root}: only folders are supported; mount it and give its path")
    return os.path.abspath(os.path.expanduser(root or "~/.cache/photoscene"))
