"""A headless Chromium for tests of pages: found on this machine, cut off from the network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
)  # fmt: skip
LOCAL_SCHEMES = ("file:", "data:", "blob:")
# What the software renderer itself says about its speed is no fault of a page.
RENDERER_REMARK = "GPU stall due to ReadPixels"


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
def headless_browser() -> Iterator[Browser]:
    """A running browser; the test is skipped where the machine has none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser on this machine (looked for {', '.join(NAMES)})")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield browser
        browser.close()


@contextmanager
def open_page(
    browser: Browser, path: Path, width: int = 1400, height: int = 900, dark: bool = False
) -> Iterator[tuple[Page, Heard]]:
    """A file opened by its file:// address, offline, and what was heard of it from the start."""
    scheme = "dark" if dark else "light"
    context = browser.new_context(
        viewport={"width": width, "height": height}, offline=True, color_scheme=scheme
    )
    page, heard = context.new_page(), Heard()

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("warning", "error") and RENDERER_REMARK not in message.text:
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
