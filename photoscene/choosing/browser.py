"""Choosing masks in a page on this machine: clicks and boxes become entries of the same session.

The server listens on the loopback address only, and answers only who knows the random token in
its address: no other user of the machine, and no other page in the same browser.
"""

from __future__ import annotations

import io
import json
import secrets
import threading
import webbrowser
from importlib.resources import files
from typing import Any, TextIO

import numpy as np
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from photoscene.choosing.chooser import Chooser
from photoscene.choosing.prompt_file import prompt_to_json
from scene.drawing import TINT, draw_outlines, mask_colour
from scene.errors import BadInput
from scene.loopback import ADDRESS, listen
from scene.proxies import exempt_from_proxies
from scene.types import Uint8

MAX_ENTRY_BYTES, MAX_READ_BYTES = 1 << 16, 1 << 24
JPEG_QUALITY = 90
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; "
    "script-src 'self'; connect-src 'self'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PAGE = {"": "text/html", "page.css": "text/css", "page.js": "text/javascript"}


def choose_in_browser(chooser: Chooser, out: TextIO) -> bool:
    """Serve the page until the choice is accepted (True) or the page's Stop button is pressed.

    What goes wrong in a request and is no refused entry ends the serving, and is raised. Ctrl-C
    passes through as KeyboardInterrupt; every entry is saved by then.
    """
    listening = listen()
    host = f"{ADDRESS}:{listening.getsockname()[1]}"
    token = secrets.token_urlsafe(24)
    stopped = threading.Event()
    page = PageServer(chooser, host, token, stopped)
    server = uvicorn.Server(
        uvicorn.Config(
            page.application, log_level="critical", lifespan="off", timeout_graceful_shutdown=2
        )
    )

    def stop_when_done() -> None:
        stopped.wait()
        server.should_exit = True

    threading.Thread(target=stop_when_done, daemon=True).start()
    address = f"http://{host}/{token}/"
    print(f"choose the objects at {address}\nCtrl-C stops; --resume goes on", file=out, flush=True)
    exempt_from_proxies()
    webbrowser.open(address)
    try:
        server.run(sockets=[listening])
    finally:
        stopped.set()
        listening.close()
    if page.error is not None:
        raise page.error
    return chooser.accepted


class PageServer:
    """The page's web application; `stopped` is set when the person is done."""

    def __init__(self, chooser: Chooser, host: str, token: str, stopped: threading.Event) -> None:
        self.chooser, self.host, self.token, self.stopped = chooser, host, token, stopped
        self.lock = threading.Lock()  # one entry at a time, and no image of half an entry
        self.error: Exception | None = None  # what ended the serving
        self.application = Starlette(
            routes=[
                Route("/{token}/photo.jpg", self.photo),
                Route("/{token}/masks.png", self.masks),
                Route("/{token}/state", self.state),
                Route("/{token}/entry", self.entry, methods=["POST"]),
                Route("/{token}/{name:path}", self.page),
            ],
            exception_handlers={Exception: self.give_up},
        )

    def admit(self, request: Request) -> None:
        """Turn away who lacks the token, and pages that reach us under another name."""
        known = secrets.compare_digest(request.path_params["token"].encode(), self.token.encode())
        own = f"http://{self.host}"
        origin = request.headers.get("origin", own)
        if not known or request.headers.get("host") != self.host or origin != own:
            raise HTTPException(404)

    def give_up(self, request: Request, error: Exception) -> Response:
        """Keep an error that no handler knows for whoever serves, and end the serving."""
        self.error = error
        self.stopped.set()
        return Response("photoscene has stopped: its terminal says why", 500, headers=HEADERS)

    def page(self, request: Request) -> Response:
        """The page itself, its style and its script."""
        self.admit(request)
        name = request.path_params["name"]
        if name not in PAGE:
            raise HTTPException(404)
        text = (files("photoscene.choosing") / (name or "page.html")).read_text("utf-8")
        return Response(text, media_type=PAGE[name], headers=HEADERS)

    def photo(self, request: Request) -> Response:
        """The photo at its working size."""
        self.admit(request)
        image = Image.fromarray(self.chooser.work.photo.rgb)
        return _image_response(image, "JPEG", quality=JPEG_QUALITY)

    def masks(self, request: Request) -> Response:
        """The masks, to lay over the photo."""
        self.admit(request)
        with self.lock:
            drawn = masks_layer(self.chooser)
        return _image_response(Image.fromarray(drawn), "PNG", compress_level=1)

    def state(self, request: Request) -> Response:
        """What the page shows when it is opened."""
        self.admit(request)
        with self.lock:
            return JSONResponse(state_of(self.chooser, ""), headers=HEADERS)

    async def entry(self, request: Request) -> Response:
        """Carry out one entry; where that fails, the reason comes back as report and refused."""
        try:
            body = await _body(request)
        except ClientDisconnect:
            raise HTTPException(400) from None
        self.admit(request)
        if request.headers.get("content-type") != "application/json":
            raise HTTPException(415)
        if len(body) > MAX_ENTRY_BYTES:
            raise HTTPException(413)
        try:
            asked = json.loads(body)["entry"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise HTTPException(400) from None
        if not isinstance(asked, str):
            raise HTTPException(400)
        found = await run_in_threadpool(self.enter, asked)
        over = self.chooser.accepted or asked == "quit"
        ending = BackgroundTask(self.stopped.set) if over else None
        return JSONResponse(found, headers=HEADERS, background=ending)

    def enter(self, asked: str) -> dict[str, Any]:
        """The state after an entry, or the same with why it was refused."""
        with self.lock:
            try:
                return state_of(self.chooser, _enter(self.chooser, asked))
            except BadInput as error:
                return {**state_of(self.chooser, str(error)), "refused": True}
            except OSError as error:  # a full disk, perhaps: the person may mend it and go on
                return {**state_of(self.chooser, f"not saved: {error}"), "refused": True}


async def _body(request: Request) -> bytes:
    """What was sent; at most one chunk more than an entry may have.

    Also a request that will be refused is read to its end, within reason: whoever is still sending
    when the answer comes and the connection is closed sees a broken connection, not the answer.
    """
    kept, read = b"", 0
    async for chunk in request.stream():
        read += len(chunk)
        if len(kept) <= MAX_ENTRY_BYTES:
            kept += chunk
        if read > MAX_READ_BYTES:
            break
    return kept


def _image_response(image: Image.Image, kind: str, **options: int) -> Response:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return Response(out.getvalue(), media_type=f"image/{kind.lower()}", headers=HEADERS)


def state_of(chooser: Chooser, report: str) -> dict[str, Any]:
    """Everything the page shows, as plain JSON; coordinates in pixels of the photo."""
    session = chooser.session
    objects = [
        {
            **prompt_to_json(o.prompt),
            "colour": "rgb({}, {}, {})".format(*mask_colour(i)),
            "fraction": round(o.fraction, 4),
            "score": round(o.mask.score, 2),
        }
        for i, o in enumerate(chooser.objects)
    ]
    return {
        "photo": vars(chooser.work.file),
        "objects": objects,
        "current": session.present.current,
        "undo": bool(session.past),
        "redo": bool(session.future),
        "words": chooser.knows_words,
        "version": len(session.entries),
        "accepted": chooser.accepted,
        "report": report,
    }


def masks_layer(chooser: Chooser) -> Uint8:
    """(H, W, 4) uint8: the tinted masks with their outlines, transparent elsewhere."""
    layer = np.zeros((*chooser.work.photo.rgb.shape[:2], 4), np.uint8)
    for index, chosen in enumerate(chooser.objects):
        layer[chosen.mask.pixels] = (*mask_colour(index), round(TINT * 255))
    lines = np.zeros((*layer.shape[:2], 3), np.uint8)
    width_px = max(1, round(max(layer.shape) / 500))
    draw_outlines(lines, [o.mask.pixels for o in chooser.objects], width_px)
    drawn = lines.any(-1)
    layer[drawn, :3], layer[drawn, 3] = lines[drawn], 255
    return layer


def _enter(chooser: Chooser, asked: str) -> str:
    """Do what the page asked for; BadInput when it cannot be done."""
    if asked == "quit":
        return "stopped"
    if asked == "auto":
        return chooser.propose()
    if asked == "accept":
        return f"accepted: {len(chooser.accept())}"
    return chooser.enter(asked)
