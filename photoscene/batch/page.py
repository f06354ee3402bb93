"""The page of a batch: a wall of small images with grades, for a browser without a network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from photoscene.batch.images import KINDS, image_path
from photoscene.quality.kept import kept_verdict
from photoscene.report.embed import content_security_policy, template, text_of

# Tells the page from somebody else's index.html; within its first bytes.
MARK = '<meta name="generator" content="photoscene batch">'
MARKED_BYTES = 4096


def is_batch_page(path: Path) -> bool:
    """Whether a file is such a page, which may be replaced."""
    with path.open("rb") as file:
        return MARK.encode() in file.read(MARKED_BYTES)


def batch_page(summary: Mapping[str, Any], output: Path) -> bytes:
    """index.html: every scene's photo, overlay, grade and reason; sorted and filtered by a script.

    The images lie beside it and are named relative to it, so that the folder may be moved.
    """
    script = text_of("photoscene.batch", "page.js")
    # Opened as a file, the page has no origin of its own that its images could have, too.
    images = "img-src 'self' file: data:"
    text = template("photoscene.batch", "page.html.jinja").render(
        mark=MARK,
        policy=content_security_policy([script]).replace("img-src data:", images),
        style=text_of("photoscene.batch", "page.css"),
        script=script,
        counts=summary["counts"],
        objects=summary["objects"],
        scenes=[_card(scene, output) for scene in summary["scenes"]],
    )
    return text.encode("utf-8", "replace")  # a name may have bytes that are no UTF-8


def _card(scene: Mapping[str, Any], output: Path) -> dict[str, Any]:
    files = {kind: image_path(scene["name"], kind) for kind in KINDS}
    files["report"] = f"{scene['name']}/report.html"
    there = {
        # A name may have any characters of an address in it.
        kind: quote(path, errors="surrogateescape")
        for kind, path in files.items()
        if scene["name"] and os.path.exists(f"{output}/{path}")
    }
    verdict = kept_verdict(output / scene["name"]) if scene["name"] else ""
    return {**scene, "quality": verdict, "report": there.pop("report", ""), "images": there}
