"""One reconstruction from Python: answered from the store if possible, else run by Prefect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from flows.cached import NotCached, cached_scene
from flows.calls import Outcome
from flows.request import Request
from flows.steps.photo import MAX_SIDE_PX
from photoscene.device import device_for
from scene.errors import BadInput
from scene.images import decode_photo, orientation_of
from scene.store import Store
from scene.types import DepthFile, Scene


@dataclass(frozen=True)
class InputNames:
    """What messages call the files of a request, which itself knows only their content."""

    photo: str = "the photo"
    depth: str = "the depth file"


UNNAMED = InputNames()


def reconstruct_photo(
    request: Request,
    store: Store,
    device: str = "cpu",
    refresh: Sequence[str] = (),
    names: InputNames = UNNAMED,
) -> tuple[Scene, list[Outcome]]:
    """The scene of a request, and what came of every step.

    device: as `--device` names it; refresh: steps to compute again, as "generate" or
    "generate:OBJECT_ID". Prefect, its server and the models are only imported when something must
    be computed. Raises BadInput for what was given, CannotRun for what this machine lacks.
    """
    try:
        known = cached_scene(request, store)
        if not refresh:
            return known
    except NotCached as missed:
        if missed.call.stage in ("photo", "segment", "map_points"):
            check_files(request, store, names)
    device = device_for(device, request.profile)
    from flows.server import prefect_api

    ahead: list[Outcome] = []

    def first_steps(enough: Callable[[], bool]) -> None:
        from flows.ahead import compute_ahead
        from flows.compute import model_pool

        ahead.extend(compute_ahead(request, store, model_pool(device), refresh, enough))

    with prefect_api(first_steps):
        from flows.reconstruct import run_flow

        scene, outcomes = run_flow(request, store, device, list(refresh))
    computed = {outcome.call.key for outcome in ahead if outcome.computed}
    return scene, [replace(o, computed=o.computed or o.call.key in computed) for o in outcomes]


def check_files(request: Request, store: Store, names: InputNames = UNNAMED) -> None:
    """Refuse files and prompts that cannot work before a server is started for them."""
    from flows.steps.map_points import known_camera
    from flows.steps.segment import read_mask
    from stages import map_points, segment
    from stages.devices import ModelPool
    from stages.settings import NO_SETTINGS, make_settings

    try:
        photo, size = decode_photo(store.read(request.photo), MAX_SIDE_PX)
    except BadInput as error:
        raise BadInput(f"{names.photo} {error}") from None
    turned = (
        orientation_of(store.read(request.photo)) if request.masks or request.point_map else None
    )
    segment.check_prompts(size["width"], size["height"], request.prompts)
    files = [
        read_mask(store.read(m.file), i, m.label, photo, size, turned)
        for i, m in enumerate(request.masks)
    ]
    pool = ModelPool()
    if files:
        with pool.borrow(segment.STAGE, "masks", NO_SETTINGS) as segmenter:
            masks = segmenter.segment(photo, (), tuple(files))
        segment.disjoint(masks, (photo.height, photo.width))
    camera, _ = known_camera(dict(request.camera), size, photo)
    if request.point_map is not None:
        choice = request.profile.stages["map_points"]
        data = store.read(request.point_map)
        depth = DepthFile(data, request.point_map.suffix, names.depth, turned)
        settings = make_settings(map_points.STAGE, choice.backend, choice.settings)
        with pool.borrow(map_points.STAGE, choice.backend, settings) as mapper:
            map_points.run(mapper, photo, camera, tuple(files), depth)
