"""What are files and objects called where only letters, digits and underscores may be used?"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

MAX_LENGTH = 48
CAMERA_NODE = "photo_camera"  # which files have beside the objects
# Windows opens no file of such a name, whatever its suffix.
DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))}


def plain_name(text: str, instead: str) -> str:
    """Text in ASCII letters, digits and underscores, led by a letter; `instead` for none."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"\W+", "_", ascii_text)[:MAX_LENGTH].strip("_") or instead
    led = name if name[0].isalpha() else f"{instead}_{name}"
    return f"{led}_" if led.lower() in DEVICES else led


def plain_names(texts: Sequence[str], instead: str = "object") -> list[str]:
    """`plain_name` of each; those that clash, capitals aside, get a number."""
    names: list[str] = []
    taken = {CAMERA_NODE}
    for text in texts:
        base = name = plain_name(text, instead)
        number = 2
        while name.lower() in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name.lower())
        names.append(name)
    return names
