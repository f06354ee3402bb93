"""Are steps that need no server done while it starts, once, and only until it has?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from flows import server
from flows.ahead import compute_ahead
from flows.calls import Outcome
from flows.compute import model_pool, produce
from flows.request import Request
from photoscene.cli.progress import show_progress
from photoscene.inputs.request import build_request
from photoscene.runs.reconstruction import reconstruct_photo
from scene.errors import BadInput
from scene.store import Store
from support.inline import run_inline
from support.small_photo import SmallPhoto

POOL = model_pool("cpu")
FIRST_STEPS = 3  # photo, segment, map_points


def after(count: int) -> Callable[[], bool]:
    """What is false for `count` questions."""
    left = iter(range(count))
    return lambda: next(left, None) is None


def never() -> bool:
    return False


def stages(outcomes: list[Outcome]) -> list[str]:
    return [outcome.call.stage for outcome in outcomes]


@pytest.fixture
def asked(small_photo: SmallPhoto, tmp_path: Path) -> tuple[Request, Store]:
    store = Store(tmp_path / "store")
    return build_request(small_photo.arguments(), store), store


@pytest.fixture
def slow_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that starts while the first steps are done; the flow runs in this process."""

    @contextmanager
    def prefect_api(meanwhile: server.Meanwhile) -> Iterator[str]:
        meanwhile(after(FIRST_STEPS))
        yield ""

    monkeypatch.setattr("flows.server.prefect_api", prefect_api)
    monkeypatch.setattr("flows.reconstruct.run_flow", run_inline)


def test_steps_are_done_until_the_server_answers(asked: tuple[Request, Store]) -> None:
    request, store = asked
    assert compute_ahead(request, store, POOL, (), after(0)) == []
    outcomes = compute_ahead(request, store, POOL, (), after(FIRST_STEPS))
    assert stages(outcomes) == ["photo", "segment", "map_points"]
    assert all(outcome.computed for outcome in outcomes)
    rest = compute_ahead(request, store, POOL, (), never)
    assert [outcome.computed for outcome in rest[:FIRST_STEPS]] == [False] * FIRST_STEPS
    assert stages(rest)[-1] == "compose"


def test_a_step_that_is_asked_for_again_is_left_to_the_flow(asked: tuple[Request, Store]) -> None:
    request, store = asked
    assert stages(compute_ahead(request, store, POOL, ["segment"], never)) == ["photo"]


def test_a_failure_is_left_to_the_flow(
    asked: tuple[Request, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    request, store = asked
    hopeless = replace(request, photo=store.save_bytes(b"no photo", "file", ".png"))
    assert compute_ahead(hopeless, store, POOL, (), never) == []

    def broken(*args: object) -> Outcome:
        raise ZeroDivisionError

    monkeypatch.setattr("flows.ahead.produce", broken)
    assert compute_ahead(request, store, POOL, (), never) == []


def test_a_run_tells_what_it_computed_whoever_did(
    asked: tuple[Request, Store], slow_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, store = asked
    keys: list[str] = []

    def counted(*args: object) -> Outcome:
        outcome = produce(*args)  # type: ignore[arg-type]
        keys.extend([outcome.call.key] * outcome.computed)
        return outcome

    monkeypatch.setattr("flows.ahead.produce", counted)
    monkeypatch.setattr("support.inline.produce", counted)
    scene, outcomes = reconstruct_photo(request, store)
    assert scene.glb is not None
    assert all(outcome.computed for outcome in outcomes)
    assert sorted(keys) == sorted(outcome.call.key for outcome in outcomes)
    again = reconstruct_photo(request, store)[1]
    assert not any(outcome.computed for outcome in again)


def test_every_step_is_shown_once(
    asked: tuple[Request, Store], slow_server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with show_progress():
        reconstruct_photo(*asked)
    shown = [line.split()[0] for line in capsys.readouterr().err.splitlines()]
    assert [shown.count(word) for word in ("photo", "segment", "map_points", "objects")] == [1] * 4


def test_what_the_flow_cannot_use_is_refused_as_ever(
    asked: tuple[Request, Store], slow_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, store = asked
    monkeypatch.setattr("photoscene.runs.reconstruction.check_files", lambda *args: None)
    hopeless = replace(request, photo=store.save_bytes(b"no photo", "file", ".png"))
    with pytest.raises(BadInput, match="photo"):
        reconstruct_photo(hopeless, store)
