"""`--interactive` and `--browser`: lets a person choose the objects before anything is run."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from flows.request import Request
from photoscene.cli.options import Choosing
from scene.errors import BadInput
from scene.store import Store
from scene.text import printable

GO_ON = "the same command with --resume goes on"


def choose_objects(
    request: Request,
    store: Store,
    folder: Path,
    photo_name: str,
    how: Choosing,
    as_json: bool,
    device: str,
) -> Request | None:
    """The request with the objects that a person chose, None when they stopped before accepting.

    Everything said is saved in `folder`/prompts.json at once. With as_json standard output is left
    to the final document.
    """
    from photoscene.choosing.chooser import Chooser
    from photoscene.choosing.terminal import choose_at_prompt

    if request.masks:
        raise BadInput(
            "--mask, --label-map or --annotations gives the objects already: "
            "leave out --interactive and --browser"
        )
    if how.resume and request.prompts:
        raise BadInput(
            "--resume goes on with the objects of the prompt file: "
            "leave out --text, --point, --box and --prompts"
        )
    out = sys.stderr if as_json else sys.stdout
    chooser = Chooser(request, store, folder, photo_name, device)
    if how.resume:
        print(printable(chooser.resume()), file=out)
    else:
        chooser.begin(request.prompts)
    try:
        if how.browser:
            from photoscene.choosing.browser import choose_in_browser

            accepted = choose_in_browser(chooser, out)
        else:
            accepted = choose_at_prompt(chooser, os.environ, out)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; everything is in {chooser.prompts_path}: {GO_ON}"
        ) from None
    finally:
        chooser.pool.release()  # the run that follows finds these masks in the store
    print(printable(f"prompts: {chooser.prompts_path}"), file=out, flush=True)
    if not accepted:
        print(f"not accepted yet: {GO_ON}", file=sys.stderr)
        return None
    return replace(request, prompts=chooser.session.present.objects)
