"""How does the list of bundled weights learn of a new file?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path


def write_entry(index: Path, entry: Mapping[str, str]) -> None:
    """Renew a file's entry in the list of bundled weights: `entry` and the file's digest."""
    listed = json.loads(index.read_text("utf-8")) if index.exists() else []
    others = [e for e in listed if e["file"] != entry["file"]]
    renewed = {**entry, "sha256": sha256(index.parent / entry["file"])}
    index.write_text(json.dumps([*others, renewed], indent=1) + "\n", "utf-8")


def sha256(path: Path) -> str:
    """The digest by which code and index know a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
