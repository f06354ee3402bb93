"""Do clicks in a real browser make masks, and does nobody else get in?"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from test_choosing import same_object

from benchmarks.browser import headless_browser
from support.small_photo import WIDTH, SmallPhoto, small_masks

PHOTOSCENE = Path(sys.executable).with_name("photoscene")
PATIENCE_S = 120  # for what takes a second or two on a machine with nothing else to do
HOSTILE = "<img src=x onerror=alert(1)>"
expect.set_options(timeout=PATIENCE_S * 1000)


@contextmanager
def command(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`photoscene` with --browser, and the address that it prints."""
    environment = {**os.environ, "BROWSER": "true"}  # a program that opens nothing
    process = subprocess.Popen(
        [PHOTOSCENE, *map(str, arguments), "--browser"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        told = iter(process.stdout.readline, "")
        yield process, next(m[0] for line in told if (m := re.search(r"http://\S+", line)))
    finally:
        process.kill()
        process.communicate()


def count_of(page: Page) -> Locator:
    return page.locator("#objects .badge")


@pytest.mark.extra("browser")
def test_clicks_and_boxes_make_masks(
    small_photo: SmallPhoto, prefect_server: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    arguments = ["segment", small_photo.photo, "-o", folder, "--store", tmp_path / "store"]
    heard: list[str] = []
    with command(*arguments) as (process, address), headless_browser() as browser:
        page = browser.new_page(viewport={"width": 1000, "height": 700})
        page.set_default_timeout(PATIENCE_S * 1000)
        page.on("console", lambda m: heard.append(m.text) if m.type != "log" else None)
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: (heard.append("dialog"), dialog.dismiss()))
        page.goto(address)
        frame = page.locator("#photo").bounding_box()
        assert frame is not None
        scale = frame["width"] / WIDTH

        def at(x: float, y: float) -> tuple[float, float]:
            return frame["x"] + x * scale, frame["y"] + y * scale

        def drag(x0: float, y0: float, x1: float, y1: float) -> None:
            page.mouse.move(*at(x0, y0))
            page.mouse.down()
            page.mouse.move(*at((x0 + x1) / 2, (y0 + y1) / 2))
            page.mouse.move(*at(x1, y1))
            page.mouse.up()

        expect(page.locator("#accept")).to_be_disabled()
        page.mouse.click(*at(50, 100))
        expect(count_of(page)).to_have_count(1)
        page.mouse.click(*at(220, 20), button="right")
        expect(page.locator("#marks circle")).to_have_count(2)
        name = page.get_by_label("Name of object 1")
        name.fill(HOSTILE)
        name.press("Enter")
        expect(page.locator("#report")).to_contain_text(HOSTILE)
        page.click("#next")
        drag(222, 147, 168, 93)
        expect(count_of(page)).to_have_count(2)
        layer = page.evaluate("""async () => {
          const image = document.getElementById('masks'); await image.decode();
          const canvas = Object.assign(document.createElement('canvas'),
            {width: image.naturalWidth, height: image.naturalHeight});
          const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);
          const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
          const alpha = (x, y) => data[4 * (y * canvas.width + x) + 3];
          return [canvas.width, alpha(50, 100), alpha(195, 120), alpha(10, 10)]; }""")
        assert layer[0] == WIDTH and layer[1] > 60 and layer[2] > 60 and layer[3] == 0
        page.keyboard.press("n")
        page.mouse.click(*at(110, 20), button="right")
        expect(page.locator("#report")).to_have_class("refused")
        page.mouse.click(*at(108, 60))
        expect(count_of(page)).to_have_count(3)
        page.get_by_label("Delete object 2").click()
        expect(count_of(page)).to_have_count(2)
        page.keyboard.press("Control+z")
        expect(count_of(page)).to_have_count(3)
        assert heard == []
        page.click("#accept")
        expect(page.locator("#report")).to_contain_text("Accepted")
        assert process.wait(PATIENCE_S) == 0
    found = sorted((folder / "objects").glob("*/mask.png"))
    masks = small_masks()
    assert [same_object(f, masks[n]) for f, n in zip(found, "acb", strict=True)] == [True] * 3
    assert found[0].parent.name.startswith("01_img_src=x")
    saved = json.loads((folder / "prompts.json").read_text("utf-8"))
    assert saved["accepted"] is True and saved["objects"][0]["label"] == HOSTILE


def status_of(address: str, **headers: str) -> int:
    data = headers.pop("data", None)
    request = urllib.request.Request(address, data and data.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_only_who_knows_the_token_is_let_in(small_photo: SmallPhoto, tmp_path: Path) -> None:
    arguments = ["segment", small_photo.photo, "-o", tmp_path / "run", "--store", tmp_path / "s"]
    with command(*arguments) as (process, address):
        host, token = address.removeprefix("http://").rstrip("/").split("/")
        json_type = {"Content-Type": "application/json"}
        entry = json.dumps({"entry": "point 50 100"})
        assert host.startswith("127.0.0.1:") and len(token) >= 32
        assert status_of(address) == status_of(address + "state") == 200
        assert status_of(f"http://{host}/") == 404
        assert status_of(f"http://{host}/{token[::-1]}/state") == 404
        assert status_of(address + "state", Host="photos.example.org") == 404
        assert status_of(address + "../page.py") == status_of(address + "chooser.py") == 404
        assert status_of(address + "entry", data=entry) == 415
        elsewhere = {**json_type, "Origin": "http://photos.example.org"}
        assert status_of(address + "entry", data=entry, **elsewhere) == 404
        assert status_of(address + "entry", data="{", **json_type) == 400
        assert status_of(address + "entry", data='{"entry": 7}', **json_type) == 400
        assert status_of(address + "entry", data=" " * 70000, **json_type) == 413
        before = json.loads((tmp_path / "run" / "prompts.json").read_text("utf-8"))
        assert before["objects"] == []
        assert status_of(address + "entry", data=entry, **json_type) == 200
        stop = json.dumps({"entry": "quit"})
        assert status_of(address + "entry", data=stop, **json_type) == 200
        assert process.wait(PATIENCE_S) == 1
    saved = json.loads((tmp_path / "run" / "prompts.json").read_text("utf-8"))
    assert saved["objects"] == [{"points": [[50, 100, 1]]}] and saved["accepted"] is False


def test_a_refusal_is_heard_by_who_is_slow_to_send(small_photo: SmallPhoto, tmp_path: Path) -> None:
    """As from a busy machine: the server has long seen the head when the rest is sent."""
    arguments = ["segment", small_photo.photo, "-o", tmp_path / "run", "--store", tmp_path / "s"]
    with command(*arguments) as (_, address):
        host, token = address.removeprefix("http://").rstrip("/").split("/")
        connection = http.client.HTTPConnection(host, timeout=PATIENCE_S)
        connection.putrequest("POST", f"/{token}/entry")
        for name, value in {"Content-Length": "80000", "Connection": "close"}.items():
            connection.putheader(name, value)
        connection.endheaders()
        for _ in range(2):
            assert status_of(address + "state") == 200
            connection.send(b" " * 40000)
        assert connection.getresponse().status == 415


@pytest.mark.slow
def test_ctrl_c_stops_the_server_and_keeps_the_choice(
    small_photo: SmallPhoto, tmp_path: Path
) -> None:
    arguments = ["segment", small_photo.photo, "-o", tmp_path / "run", "--store", tmp_path / "s"]
    with command(*arguments) as (process, address):
        entry = json.dumps({"entry": "point 50 100"})
        sent = {"Content-Type": "application/json", "data": entry}
        assert status_of(address + "entry", **sent) == 200
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=PATIENCE_S)
    if process.returncode == 0:
        pytest.fail("an interrupted choice is not done")
    assert process.returncode == 130
    assert told.strip().splitlines()[-1].startswith("photoscene: stopped; everything is in")
