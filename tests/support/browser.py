"""A headless Chromium for tests of pages: found on this machine, cut off from the network."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, expect

from scene.types import Bool, Uint8

T = TypeVar("T")
PATIENCE_S = 120  # with what takes a moment on a machine with nothing else to do
BACKDROP_RGB = (255, 0, 255)  # magenta, which nothing in a test has
LOCAL_SCHEMES = ("file:", "data:", "blob:")
# What the renderer and the viewer say of a slow or busy machine is no fault of a page.
REMARKS_ON_SPEED = ("GPU stall due to ReadPixels", "rAF timed out in updateSource")

expect.set_options(timeout=1000 * PATIENCE_S)


@dataclass
class Heard:
    """What a page said and asked for: console warnings and errors, dialogs, remote requests."""

    complaints: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    remote: list[str] = field(default_factory=list)

    def nothing(self) -> bool:
        """Whether there was no complaint, no dialog and no request that leaves the machine."""
        return not (self.complaints or self.dialogs or self.remote)


@contextmanager
def open_page(
    browser: Browser, path: Path, width: int = 1400, height: int = 900, dark: bool = False
) -> Iterator[tuple[Page, Heard]]:
    """A file opened by its file:// address, offline, and what was heard of it from the start."""
    scheme = "dark" if dark else "light"
    context = browser.new_context(
        viewport={"width": width, "height": height}, offline=True, color_scheme=scheme
    )
    context.set_default_timeout(1000 * PATIENCE_S)
    page, heard = context.new_page(), Heard()

    def on_console(message: ConsoleMessage) -> None:
        on_speed = any(remark in message.text for remark in REMARKS_ON_SPEED)
        if message.type in ("warning", "error") and not on_speed:
            heard.complaints.append(f"{message.type}: {message.text}")

    def on_request(request: Request) -> None:
        if not request.url.startswith(LOCAL_SCHEMES):
            heard.remote.append(request.url)

    def on_dialog(dialog: Dialog) -> None:
        heard.dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("console", on_console)
    page.on("pageerror", lambda error: heard.complaints.append(f"uncaught: {error}"))
    page.on("dialog", on_dialog)
    page.on("request", on_request)
    page.goto(path.absolute().as_uri())
    try:
        yield page, heard
    finally:
        context.close()


def eventually(page: Page, measure: Callable[[], T], fits: Callable[[T], bool]) -> T:
    """Measure until the result fits, or patience ends; the last one, for the test to judge.

    What a page draws comes a little later, and much later on a busy machine.
    """
    for _ in range(5 * PATIENCE_S):
        found = measure()
        if fits(found):
            return found
        page.wait_for_timeout(200)
    return measure()


def picture_of(page: Page, selector: str) -> Uint8:
    """(H, W, 3): a screenshot of a 3D view, which is put on magenta first."""
    found = page.locator(selector)
    found.evaluate("e => { e.style.background = 'rgb(255, 0, 255)'; e.style.borderRadius = '0'; }")
    return np.asarray(Image.open(io.BytesIO(found.screenshot())).convert("RGB"))


def drawn(picture: Uint8) -> Bool:
    """(H, W) where a picture differs from the magenta behind it."""
    return np.abs(picture.astype(int) - BACKDROP_RGB).max(-1) > 60


def inner(mask: Bool) -> Bool:
    """A mask (H, W) without the two pixels along its border."""
    kept = mask.copy()
    for axis in (0, 1):
        for step in (-2, 2):
            kept &= np.roll(mask, step, axis)
    return kept


def overlap(a: Bool, b: Bool) -> float:
    """Intersection over union of two masks (H, W)."""
    return float((a & b).sum() / (a | b).sum())
