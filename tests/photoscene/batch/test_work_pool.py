"""Batches by a real work pool: the same bytes as on one machine, also when its worker is killed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import temporary_settings

from photoscene.batch import pool
from photoscene.batch.presence import working
from scene import child
from support import ROOT
from support.batches import (
    add_backends,
    kill_all,
    line,
    scene_bytes,
    wait_for,
    write_manifest,
    write_photos,
)
from support.small_photo import SmallPhoto, call

pytestmark = pytest.mark.slow
PREFECT = Path(sys.executable).with_name("prefect")
NAME = "scenes"


@contextmanager
def worker(url: str, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of the pool as its manual starts it."""
    environment = {**child.environment(), "PREFECT_API_URL": url, "PREFECT_HOME": str(home),
                   "PREFECT_WORKER_QUERY_SECONDS": "1"}  # fmt: skip
    process = subprocess.Popen(
        [PREFECT, "worker", "start", "--pool", NAME, "--limit", "1"], env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            kill_all(process.pid)
        process.wait()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_a_pool_makes_the_same_bytes_though_its_worker_is_killed(
    small_photo: SmallPhoto, prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_backends(monkeypatch, tmp_path / "backends")
    monkeypatch.setattr(pool, "SILENT_S", 6.0)
    monkeypatch.setattr(pool, "ASK_S", 1.0)
    names = write_photos(tmp_path / "photos", small_photo, 3)
    lines = [line(name, small_photo, "generate.seconds=1") for name in names]
    manifest = write_manifest(tmp_path / "photos" / "all.jsonl", lines)
    local = call("batch", manifest, "-o", tmp_path / "local", "--store", tmp_path / "store")
    assert local.exit_code == 0, local.stderr
    template = json.loads((ROOT / "configs" / "work_pools" / "process.json").read_text())
    output = tmp_path / "pool"
    with temporary_settings({"api.url": prefect_server}):  # type: ignore[dict-item]
        with get_client(sync_client=True) as client:
            client.create_work_pool(
                WorkPoolCreate(name=NAME, type="process", base_job_template=template)
            )
        with killed_once(prefect_server, tmp_path / "home", output):
            result = call("batch", manifest, "-o", output, "--store", tmp_path / "other",
                          "--pool", NAME, "--shard-size", 2, "--json")  # fmt: skip
        with get_client(sync_client=True) as client:
            artifacts = {a.key: a.data for a in client.read_artifacts()}
    assert result.exit_code == 0, result.stderr
    assert "a shard came to nothing (no sign of life for 6 s): submitted again" in result.stderr
    assert json.loads(result.stdout)["counts"]["done"] == 3
    assert set(artifacts) == {"scenes", "fits"}
    assert "![overlay](data:image/jpeg;base64," in str(artifacts["scenes"])
    assert {"object", "grade", "silhouette IoU"} <= json.loads(str(artifacts["fits"]))[0].keys()
    assert scene_bytes(output) == scene_bytes(tmp_path / "local")
    assert (output / "batch.json").read_bytes() and not list((output / ".batch/shards").iterdir())


@contextmanager
def killed_once(url: str, home: Path, output: Path) -> Iterator[None]:
    """A worker that is killed with all its processes in its first shard, and another after it."""
    with ExitStack() as workers:
        first = workers.enter_context(worker(url, home))

        def kill() -> None:
            try:
                wait_for(lambda: any(state["stage"] for state in working(output).values()))
            finally:  # without a worker the batch would wait for ever
                kill_all(first.pid)
                workers.enter_context(worker(url, home))

        killing = threading.Thread(target=kill)
        killing.start()
        yield
        killing.join()
