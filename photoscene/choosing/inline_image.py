"""Images inside a terminal: the kitty, iTerm2 and sixel protocols, and which of them it knows."""

from __future__ import annotations

import base64
import io
import os
import re
import select
import sys
from collections.abc import Mapping
from itertools import groupby

import numpy as np
from PIL import Image

from scene.types import Uint8

WIDTH_PX = 760  # of the image shown: most of a terminal's width
KITTY_CHUNK = 4096  # at most so many base64 characters in one kitty sequence
SIXEL_COLOURS = 64
ANSWER_TIMEOUT_S = 0.4
ITERM_PROGRAMS = ("iTerm.app", "WezTerm", "mintty", "Tabby")
KITTY_PROGRAMS = ("ghostty",)
SIXEL_TERMINALS = ("foot", "mlterm", "yaft", "contour")


def protocol_of(environment: Mapping[str, str]) -> str:
    """ "kitty", "iterm2", "sixel", or "" when the environment does not tell."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "KITTY_WINDOW_ID" in environment or "kitty" in term or program in KITTY_PROGRAMS:
        return "kitty"
    if program in ITERM_PROGRAMS or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    if "sixel" in term or term.split("-")[0] in SIXEL_TERMINALS:
        return "sixel"
    return ""


def answers_sixel() -> bool:
    """Ask the terminal for its attributes (DA1, ECMA-48): 4 among them is sixel graphics."""
    try:
        import termios
        import tty
    except ImportError:  # no such terminals there
        return False
    source = sys.stdin.fileno()
    before = termios.tcgetattr(source)
    try:
        tty.setcbreak(source)
        sys.stdout.write("\x1b[c")
        sys.stdout.flush()
        answer = b""
        while select.select([source], [], [], ANSWER_TIMEOUT_S)[0] and not answer.endswith(b"c"):
            answer += os.read(source, 64)
    finally:
        termios.tcsetattr(source, termios.TCSANOW, before)
    found = re.search(rb"\x1b\[\?([\d;]+)c", answer)
    return found is not None and b"4" in found[1].split(b";")


def inline_image(rgb: Uint8, protocol: str) -> str:
    """The text that shows an image (H, W, 3) in a terminal of that protocol, "" for none."""
    if not protocol:
        return ""
    image = Image.fromarray(rgb)
    if image.width > WIDTH_PX:
        image = image.resize((WIDTH_PX, round(image.height * WIDTH_PX / image.width)))
    return {"kitty": _kitty, "iterm2": _iterm2, "sixel": sixel}[protocol](image) + "\n"


def _kitty(image: Image.Image) -> str:
    """Terminal graphics protocol: PNG (f=100), shown at once (a=T), in chunks (m)."""
    data = _png(image)
    chunks = [data[i : i + KITTY_CHUNK] for i in range(0, len(data), KITTY_CHUNK)]
    heads = ["a=T,f=100,q=2,"] + [""] * (len(chunks) - 1)
    more = [1] * (len(chunks) - 1) + [0]
    return "".join(
        f"\x1b_G{head}m={m};{chunk}\x1b\\"
        for head, m, chunk in zip(heads, more, chunks, strict=True)
    )


def _iterm2(image: Image.Image) -> str:
    """Inline images protocol: OSC 1337."""
    return f"\x1b]1337;File=inline=1;width={image.width}px;preserveAspectRatio=1:{_png(image)}\x07"


def sixel(image: Image.Image) -> str:
    """DEC sixel graphics (VT340): bands of six rows, one pass for each colour in a band."""
    indexed = image.quantize(SIXEL_COLOURS)
    palette = np.asarray(indexed.getpalette(), np.float64).reshape(-1, 3)
    pixels = np.asarray(indexed)
    colours = "".join(
        "#{};2;{:.0f};{:.0f};{:.0f}".format(i, *(palette[i] / 2.55)) for i in np.unique(pixels)
    )
    height, width = pixels.shape
    bands = [_sixel_band(pixels[top : top + 6]) for top in range(0, height, 6)]
    return f'\x1bPq"1;1;{width};{height}{colours}{"-".join(bands)}\x1b\\'


def _sixel_band(rows: Uint8) -> str:
    """At most six rows: every colour's columns as characters, runs of the same one counted."""
    weights = 1 << np.arange(len(rows))
    passes = []
    for colour in np.unique(rows):
        bits = ((rows == colour) * weights[:, None]).sum(0)
        runs = ((chr(63 + int(value)), len(list(same))) for value, same in groupby(bits))
        passes.append(f"#{colour}" + "".join(c if n == 1 else f"!{n}{c}" for c, n in runs))
    return "$".join(passes)


def _png(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()
