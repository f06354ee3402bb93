"""Progress of fetching and reading files; the command line draws it."""

from __future__ import annotations


class Progress:
    """Receives every file and its bytes; this one shows nothing."""

    def expect(self, total_bytes: int) -> None:
        """That many bytes more will be worked on."""

    def begin(self, what: str, total_bytes: int, done_bytes: int = 0) -> None:
        """A file begins; done_bytes of it are there already."""

    def advance(self, count: int) -> None:
        """count bytes of the file are through; negative where some have to come again."""

    def end(self) -> None:
        """The file is through."""

    def message(self, line: str) -> None:
        """Something that a person should know."""
