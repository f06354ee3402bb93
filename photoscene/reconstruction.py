"""One reconstruction from Python: answered from the store if possible, else run by Prefect."""

from __future__ import annotations

from collections.abc import Sequence

from flows.cached import NotCached, cached_scene
from flows.request import Request
from flows.steps import MAX_PHOTO_SIDE_PX, Outcome
from scene.pictures import decode_photo
from scene.store import Store
from scene.types import Scene


def reconstruct_photo(
    request: Request, store: Store, device: str = "cpu", refresh: Sequence[str] = ()
) -> tuple[Scene, list[Outcome]]:
    """The scene of a request, and what came of every step.

    refresh: steps to compute again, as "generate" or "generate:OBJECT_ID". Prefect, its server and
    the models are only imported when something must be computed. Raises ValueError for bad input.
    """
    if not refresh:
        try:
            return cached_scene(request, store)
        except NotCached as missed:
            if missed.call.stage == "photo":
                _check_photo(request, store)
    from flows.server import prefect_api

    with prefect_api():
        from flows.reconstruct import run_flow

        return run_flow(request, store, device, list(refresh))


def _check_photo(request: Request, store: Store) -> None:
    """Refuse a broken photo before a server is started for it."""
    try:
        decode_photo(store.read(request.photo), MAX_PHOTO_SIDE_PX)
    except ValueError as error:
        raise ValueError(f"the photo {error}") from None
