"""Pictures of what a person sees, for docs/screenshots: `python -m benchmarks.screenshots`.

The example photo is chosen at a real terminal and in the real page, and its report is opened.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pexpect
import pyte
from PIL import Image
from playwright.sync_api import Page, ViewportSize, expect

from benchmarks.browser import headless_browser

PHOTOSCENE = Path(sys.executable).with_name("photoscene")
PHOTO = Path("examples/breakfast.jpg")
PROMPTS = Path("examples/breakfast.prompts.json")
SITTING = (
    "box 540 310 675 405", "label ramekin", "next", "point 200 340", "label patterned bowl",
    "next", "point 9999 20", "box 234 432 343 558", "undo", "redo", "list",
)  # fmt: skip
ROWS, COLUMNS = 44, 96
# An answer, and after it the prompt for the next entry.
ANSWERED = r"(masks\.png|not done: |> +\d)[^\n]*\n.*object \d"
VIEWER_ORBIT_MS = 3000  # the camera glides to its new place
PAPER_PX = ViewportSize(width=690, height=1000)  # A4 within its margins, at 96 pixels an inch
TERMINAL_PAGE = """<!doctype html><meta charset="utf-8"><body style="margin:0;background:#16181d;
display:flex;gap:18px;padding:18px;align-items:flex-start;width:1560px"><pre style="margin:0;flex:1;
font:13px/1.5 monospace;color:#dfe3ea;white-space:pre-wrap">{text}</pre>
<img style="width:640px;border-radius:4px" src="data:image/png;base64,{picture}"></body>"""


def main() -> int:
    """Take all pictures; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/screenshots"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, headless_browser() as browser:
        page = browser.new_page(viewport={"width": 1600, "height": 900})
        terminal_image(page, Path(folder), out / "terminal.png")
        page.set_viewport_size({"width": 1280, "height": 860})
        browser_image(page, Path(folder), out / "browser.png")
        report_images(page, Path(folder), out)
    for path in sorted(out.glob("*.png")):
        with Image.open(path) as picture:
            small = picture.convert("RGB").quantize(256)
        small.save(path, optimize=True)  # a third of the bytes, and no difference to see
    return 0


def terminal_image(page: Page, folder: Path, target: Path) -> None:
    """A sitting at the prompt: the terminal's screen, and the picture of masks beside it."""
    environment = {**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"}
    arguments = ["segment", str(PHOTO), "-i", "-o", "runs/breakfast", "--store", "store"]
    arguments[1] = str(PHOTO.absolute())
    heard = io.StringIO()
    child = pexpect.spawn(
        str(PHOTOSCENE), arguments, env=environment, encoding="utf-8", cwd=folder,
        dimensions=(ROWS, COLUMNS), timeout=60, logfile=None,
    )  # fmt: skip
    child.logfile_read = heard
    child.expect(ANSWERED)
    for entry in SITTING:
        child.sendline(entry)
        child.expect(ANSWERED)
    child.sendintr()
    child.expect(pexpect.EOF)
    screen = pyte.Screen(COLUMNS, ROWS)
    pyte.Stream(screen).feed(heard.getvalue())
    shown = [f"$ photoscene segment {PHOTO.name} --interactive", *screen.display]
    picture = base64.b64encode((folder / "runs/breakfast/masks.png").read_bytes()).decode()
    text = html.escape("\n".join(line.rstrip() for line in shown).rstrip())
    page.set_content(TERMINAL_PAGE.format(text=text, picture=picture))
    page.locator("body").screenshot(path=target)


def browser_image(page: Page, folder: Path, target: Path) -> None:
    """The page after some clicks."""
    run, store = folder / "page", folder / "store"
    command = [PHOTOSCENE, "segment", PHOTO, "--browser", "-o", run, "--store", store]
    environment = {**os.environ, "BROWSER": "true"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        told = iter(process.stdout.readline, "")
        page.goto(next(m[0] for line in told if (m := re.search(r"http://\S+", line))))
        frame = page.locator("#photo").bounding_box()
        assert frame is not None
        scale = frame["width"] / 768
        for x, y, name in ((610, 360, "ramekin"), (200, 340, "patterned bowl")):
            count = page.locator("#objects .badge").count()
            page.mouse.click(frame["x"] + x * scale, frame["y"] + y * scale)
            expect(page.locator("#objects .badge")).to_have_count(count + 1, timeout=60000)
            page.get_by_label(f"Name of object {count + 1}").fill(name)
            page.get_by_label(f"Name of object {count + 1}").press("Enter")
            expect(page.locator("#told")).to_contain_text(name)
            page.click("#next")
            expect(page.locator("#next")).to_be_disabled()
        page.click("#auto")
        expect(page.locator("#told")).to_contain_text("proposed", timeout=60000)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=target)
        page.click("#quit")


def report_images(page: Page, folder: Path, out: Path) -> None:
    """The report of the example: its top, the scene in 3D, the objects, and a printed page."""
    run = folder / "run"
    command = [PHOTOSCENE, "run", PHOTO, "--prompts", PROMPTS, "-o", run, "--store",
               folder / "store"]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    page.set_viewport_size({"width": 1400, "height": 900})
    page.goto((run / "report.html").as_uri())
    page.screenshot(path=out / "report_top.png")
    viewer = page.locator("#viewer")
    viewer.scroll_into_view_if_needed()
    expect(viewer).to_have_attribute("data-ready", "yes", timeout=60000)
    page.click("#turned-view")
    page.wait_for_timeout(VIEWER_ORBIT_MS)
    page.locator("#scene").screenshot(path=out / "report_viewer.png")
    for image in page.locator("#objects img").all():
        image.scroll_into_view_if_needed()
    page.locator("#objects").screenshot(path=out / "report_objects.png")
    page.set_viewport_size(PAPER_PX)
    page.emulate_media(media="print")
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=out / "report_print.png")


if __name__ == "__main__":
    sys.exit(main())
