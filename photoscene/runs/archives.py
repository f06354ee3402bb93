"""Which archive of a store is a request's: what makes a repeated run quick on a store far away."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from flows.plan import code_versions
from flows.request import Request, request_to_json
from photoscene.report import previews
from photoscene.runs.writing import Reconstruction
from scene import archives
from scene.keys import canonical_json, digest
from scene.store import Store


def recall_scenes(requests: Sequence[Request], store: Store) -> list[set[str] | None]:
    """Let a store answer requests from their archives: the keys of the results that each has, None
    where there is none."""
    return archives.recall(store, [archive_key(request) for request in requests])


def keep_scene(made: Reconstruction, written: Store, known: Collection[str] | None) -> None:
    """Archive the results of a scene without failures, unless they are `known` to be.

    written: the store whose `noted` results its folder was written from.
    """
    manifests = [o.manifest for o in made.outcomes if o.manifest is not None]
    if written.remote is not None and len(manifests) == len(made.outcomes):
        results = (*manifests, *(written.noted or ()))
        archives.keep(written, archive_key(made.request), results, known)


def archive_key(request: Request) -> str:
    """A key for all that decides what a run reads from the store: the request and the code."""
    versions = {**code_versions(request.profile), "previews": previews.VERSION}
    return digest(canonical_json(["scene", request_to_json(request), versions]).encode())
