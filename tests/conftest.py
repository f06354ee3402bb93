"""Fixtures: a small photo with known masks and depth, and one Prefect server."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from support.extras import missing
from support.small_photo import SmallPhoto, write_small_photo

# Tests run side by side, and threads that wait for a core spin; commands started here inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"  # read when Prefect is imported
for name in ("PREFECT_API_URL", "PHOTOSCENE_STORE"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def small_photo(tmp_path_factory: pytest.TempPathFactory) -> SmallPhoto:
    """The small photo; its files are shared by all tests and must be left as they are."""
    return write_small_photo(tmp_path_factory.mktemp("small_photo"))


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """The URL of one private server that all tests of the flow use."""
    from flows.server import prefect_api

    with prefect_api() as url:
        yield url


@pytest.fixture(scope="module")
def inline_runs() -> Iterator[None]:
    """Runs of this module carry out their steps in this process, one after the other.

    For tests of what comes out, whoever runs the steps: an orchestrator costs more than they do.
    """
    from support.inline import run_inline

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.server.prefect_api", nullcontext)
        patch.setattr("flows.reconstruct.run_flow", run_inline)
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose extra is missing."""
    for mark in item.iter_markers("extra"):
        if remedy := missing(mark.args[0]):
            pytest.skip(remedy)


def pytest_collection_finish() -> None:
    """What was imported by now stays: no collector needs to walk over it again and again."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    beside = Path(__file__).parents[2] / "shared" / "parity"
    parser.addoption("--parity", default=str(beside), help="folder of golden fixtures")
