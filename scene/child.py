"""Python processes of our own, with this one's import path and nothing of the working directory."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

HOME = Path(__file__).parents[1]  # of our packages


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours, without its working directory on the path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """This process's environment, with the import path that a process of ours is to have.

    An empty entry of PYTHONPATH, as `PYTHONPATH=$PYTHONPATH:/x` makes one, is the working directory
    too: a folder of pictures may hold a `scene` or a `socket.py`.
    """
    return {**os.environ, "PYTHONPATH": os.pathsep.join(import_path(sys.path))}


def import_path(path: Sequence[str]) -> list[str]:
    """An import path without the working directory, unless our packages lie there."""
    try:
        here = os.path.realpath(os.getcwd())
    except FileNotFoundError:  # it was deleted
        here = ""
    if here == os.path.realpath(HOME):
        return [entry or here for entry in path]
    return [entry for entry in path if entry and os.path.realpath(entry) != here]
