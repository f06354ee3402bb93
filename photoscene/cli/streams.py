"""The three standard streams as a command needs them, whatever it was started with."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from scene.errors import CannotRun


class ReaderGone(Exception):
    """Whoever read standard output has seen enough."""


class OutputFailed(CannotRun):
    """Standard output cannot be written to."""


class _Output(io.FileIO):
    """A standard stream that reports its first failure and drops what is written after it."""

    lost = False

    def write(self, data: Any) -> int:
        """How many bytes were taken."""
        if not self.lost:
            try:
                return super().write(data)
            except OSError as error:
                self.lost = True
                self.fail(error)
        return memoryview(data).nbytes

    def fail(self, error: OSError) -> None:
        """Tell of the first failure."""
        if isinstance(error, BrokenPipeError):
            raise ReaderGone from None
        raise OutputFailed(
            f"standard output cannot be written to ({error.strerror or error}): "
            "redirect it to another file; what was computed is kept"
        ) from None


class _Diagnostics(_Output):
    """Standard error: where nobody can take what is said, the work goes on."""

    def fail(self, error: OSError) -> None:
        """There is nobody to tell."""


def open_streams() -> None:
    """Put nothing in the place of a stream that is closed, and let no letter be in the way.

    A file that is opened later would get a closed stream's number, and what libraries say of their
    input would go into it. A terminal, a pipe or a file may not know all letters of a name.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)
    if sys.stdout is sys.__stdout__:  # else whoever calls us has a stream of their own there
        sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(_Diagnostics(2, "w", closefd=False), sys.stderr)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _text(raw: io.FileIO, before: Any) -> io.TextIOWrapper:
    """Text onto a stream in the encoding that Python has found for it; None: it was closed."""
    encoding = "utf-8" if before is None else before.encoding
    at_once = raw.isatty() or isinstance(raw, _Diagnostics)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, line_buffering=at_once)
