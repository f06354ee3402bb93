"""Progress bars for files on standard error: one for the file at hand, one for all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from photoscene.models.progress import Progress
from scene.text import printable


@contextmanager
def file_bars(quiet: bool) -> Iterator[Progress]:
    """Bars while inside, on a terminal that is to show any."""
    if quiet or not sys.stderr.isatty():
        yield Progress()
        return
    bars = _Bars()
    with bars.shown:
        yield bars


class _Bars(Progress):
    def __init__(self) -> None:
        from rich import progress
        from rich.console import Console

        self.shown = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=24),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self.whole = self.shown.add_task("all files", total=0)
        self.total = 0
        self.file: progress.TaskID | None = None

    def expect(self, total_bytes: int) -> None:
        self.total += total_bytes
        self.shown.update(self.whole, total=self.total)

    def begin(self, what: str, total_bytes: int, done_bytes: int = 0) -> None:
        self.end()
        self.file = self.shown.add_task(printable(what), total=total_bytes, completed=done_bytes)
        self.shown.advance(self.whole, done_bytes)

    def advance(self, count: int) -> None:
        if self.file is not None:
            self.shown.advance(self.file, count)
        self.shown.advance(self.whole, count)

    def end(self) -> None:
        if self.file is not None:
            self.shown.remove_task(self.file)
            self.file = None

    def message(self, line: str) -> None:
        self.shown.console.print(printable(line), markup=False, highlight=False)
