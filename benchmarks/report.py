"""Rewrites one section of a Markdown document and leaves the others alone."""

from __future__ import annotations

from pathlib import Path

from benchmarks.narrow import narrow


def replace_section(document: Path, title: str, text: str) -> None:
    """Put `text` under the heading `## title`, between the markers that follow it.

    A document without that heading gets it at its end. What stands between the heading and the
    first marker is prose for people and stays. What is written fits into 120 columns.
    """
    begin, end = f"<!-- measured: {title} -->", "<!-- /measured -->"
    old = document.read_text("utf-8") if document.exists() else "# Benchmarks\n"
    if begin not in old:
        old = f"{old.rstrip()}\n\n## {title}\n\n{begin}\n{end}\n"
    before, rest = old.split(begin, 1)
    after = rest.split(end, 1)[1]
    document.parent.mkdir(exist_ok=True)
    document.write_text(f"{before}{begin}\n{narrow(text)}\n{end}{after}", "utf-8")
