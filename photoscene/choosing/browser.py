"""Choosing masks in a page on this machine: clicks and boxes become entries of the same session.

The server listens on the loopback address only, and answers only who knows the random token in
its address: no other user of the machine, and no other page in the same browser.
"""

from __future__ import annotations

import io
import secrets
import socket
import threading
import webbrowser
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from PIL import Image

from photoscene.choosing.chooser import Chooser
from photoscene.choosing.prompt_file import prompt_to_json
from scene.drawing import TINT, draw_outlines, mask_colour
from scene.types import Uint8

if TYPE_CHECKING:
    from starlette.applications import Starlette

LOOPBACK = "127.0.0.1"
MAX_ENTRY_BYTES = 65536
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

    Ctrl-C passes through as KeyboardInterrupt; every entry is saved by then.
    """
    import uvicorn

    listening = socket.create_server((LOOPBACK, 0))
    host = f"{LOOPBACK}:{listening.getsockname()[1]}"
    token = secrets.token_urlsafe(24)
    stopped = threading.Event()
    config = uvicorn.Config(application(chooser, host, token, stopped), log_level="critical",
                            lifespan="off", timeout_graceful_shutdown=2)  # fmt: skip
    server = uvicorn.Server(config)

    def stop_when_done() -> None:
        stopped.wait()
        server.should_exit = True

    threading.Thread(target=stop_when_done, daemon=True).start()
    address = f"http://{host}/{token}/"
    print(f"choose the objects at {address}\nCtrl-C stops; --resume goes on", file=out, flush=True)
    webbrowser.open(address)
    try:
        server.run(sockets=[listening])
    finally:
        stopped.set()
        listening.close()
    return chooser.accepted


def application(chooser: Chooser, host: str, token: str, stopped: threading.Event) -> Starlette:
    """The page's web application; `stopped` is set when the person is done."""
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    lock = threading.Lock()

    def admit(request: Request) -> None:
        """Turn away who lacks the token, and pages that reach us under another name."""
        known = secrets.compare_digest(request.path_params["token"].encode(), token.encode())
        origin = request.headers.get("origin", f"http://{host}")
        if not known or request.headers.get("host") != host or origin != f"http://{host}":
            raise HTTPException(404)

    def page(request: Request) -> Response:
        admit(request)
        name = request.path_params["name"]
        if name not in PAGE:
            raise HTTPException(404)
        text = (files("photoscene.choosing") / (name or "page.html")).read_text("utf-8")
        return Response(text, media_type=PAGE[name], headers=HEADERS)

    def photo(request: Request) -> Response:
        admit(request)
        out = io.BytesIO()
        Image.fromarray(chooser.work.photo.rgb).save(out, "JPEG", quality=JPEG_QUALITY)
        return Response(out.getvalue(), media_type="image/jpeg", headers=HEADERS)

    def masks(request: Request) -> Response:
        admit(request)
        with lock:
            drawn = masks_layer(chooser)
        out = io.BytesIO()
        Image.fromarray(drawn).save(out, "PNG", compress_level=1)
        return Response(out.getvalue(), media_type="image/png", headers=HEADERS)

    def state(request: Request) -> Response:
        admit(request)
        with lock:
            return JSONResponse(state_of(chooser, ""), headers=HEADERS)

    async def entry(request: Request) -> Response:
        admit(request)
        if request.headers.get("content-type") != "application/json":
            raise HTTPException(415)
        if int(request.headers.get("content-length", MAX_ENTRY_BYTES + 1)) > MAX_ENTRY_BYTES:
            raise HTTPException(413)
        try:
            asked = (await request.json())["entry"]
            if not isinstance(asked, str):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            raise HTTPException(400) from None
        from starlette.concurrency import run_in_threadpool

        found = await run_in_threadpool(follow, asked)
        over = chooser.accepted or asked == "quit"
        ending = BackgroundTask(stopped.set) if over else None
        return JSONResponse(found, headers=HEADERS, background=ending)

    def follow(asked: str) -> dict[str, Any]:
        with lock:
            try:
                return state_of(chooser, _follow(chooser, asked))
            except ValueError as error:
                return {**state_of(chooser, str(error)), "refused": True}

    return Starlette(
        routes=[
            Route("/{token}/photo.jpg", photo),
            Route("/{token}/masks.png", masks),
            Route("/{token}/state", state),
            Route("/{token}/entry", entry, methods=["POST"]),
            Route("/{token}/{name:path}", page),
        ]
    )


def state_of(chooser: Chooser, told: str) -> dict[str, Any]:
    """Everything the page shows, as plain JSON; coordinates in pixels of the photo."""
    session = chooser.session
    objects = [
        {
            **prompt_to_json(o.prompt),
            "colour": "rgb({}, {}, {})".format(*mask_colour(i)),
            "share": round(o.share, 4),
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
        "told": told,
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


def _follow(chooser: Chooser, asked: str) -> str:
    """Do what the page asked for; ValueError when it cannot be done."""
    if asked == "quit":
        return "stopped"
    if asked == "auto":
        return chooser.propose()
    if asked == "accept":
        return f"accepted: {len(chooser.accept())}"
    return chooser.enter(asked)
