"""Writes a file so that no reader ever finds a part of it, and nothing stays if it fails."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_atomically(target: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never a part."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _writing_path(target)
    try:
        write_bytes(temporary, data)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)  # still there only if something failed


def create_atomically(target: Path, data: bytes) -> bool:
    """As `write_atomically`, but False where the name is taken: then nothing is changed."""
    if target.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _writing_path(target)
    try:
        write_bytes(temporary, data)
        try:
            os.link(temporary, target)
        except FileExistsError:
            return False
        except OSError:  # no hard links here
            os.replace(temporary, target)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file where nobody reads yet; an error names the folder."""
    try:
        path.write_bytes(data)
    except OSError as error:
        error.filename = error.filename or str(path.parent)  # a full disk does not say which
        raise


def _writing_path(target: Path) -> Path:
    return target.parent / f".writing-{uuid.uuid4().hex}"
