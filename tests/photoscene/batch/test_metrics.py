"""What Prometheus reads of a batch: from a file, over HTTP, and never over somebody's file."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from photoscene.batch.metrics import check_target, published
from scene.errors import BadInput, CannotRun

STEP = {"stepped": "generate", "scene": "a", "subject": "s", "backend": "lite", "worker": "1",
        "seconds": 2.5, "result": "computed", "kind": "", "held_bytes": 7}  # fmt: skip
REPORTS: tuple[Mapping[str, Any], ...] = (
    {"stepped": "read", "scene": "a", "subject": "scene", "worker": "1"},
    {"read": "shape decoder", "seconds": 1.5, "worker": "1"},
    STEP,
    {**STEP, "result": "cached", "seconds": 0.0},
    {**STEP, "result": "failed", "seconds": 0.0, "kind": "out of memory"},
    {"died": "was killed by SIGSEGV"},
    {"ended": "a", "record": {"state": "done"}, "kind": "", "worker": "1"},
    {"ended": "b", "record": {"state": "failed"}, "kind": "bad input", "worker": "1"},
    {"idle": True, "worker": "1"},
)


def values(text: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels, in the order of their names."""
    families = text_string_to_metric_families(text)
    return {(s.name, *(value for _, value in sorted(s.labels.items()))): s.value
            for family in families for s in family.samples}  # fmt: skip


def test_metrics_count_steps_reads_deaths_and_failures(tmp_path: Path) -> None:
    path = tmp_path / "batch.prom"
    with published(str(path), 5) as take:
        assert values(path.read_text())["photoscene_scenes_waiting",] == 5
        for report in REPORTS:
            take(report)
    found = values(path.read_text())
    for result in ("computed", "cached", "failed"):
        assert found["photoscene_steps_total", "lite", result, "generate"] == 1
    assert found["photoscene_step_seconds_sum", "lite", "generate"] == 2.5
    assert found["photoscene_step_seconds_bucket", "lite", "1.0", "generate"] == 0
    assert found["photoscene_step_seconds_bucket", "lite", "3.0", "generate"] == 1
    assert found["photoscene_scenes_waiting",] == 3
    assert found["photoscene_scenes_total", "failed"] == 1
    assert found["photoscene_weights_reads_total", "shape decoder"] == 1
    assert found["photoscene_weights_read_seconds_total", "shape decoder"] == 1.5
    assert found["photoscene_worker_deaths_total", "was killed by SIGSEGV"] == 1
    assert found["photoscene_failures_total", "out of memory"] == 1
    assert found["photoscene_failures_total", "bad input"] == 1
    assert found["photoscene_device_memory_bytes", "1"] == 7


def test_metrics_are_served_while_the_batch_works() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(CannotRun, match=f"--metrics {port}: Address already in use"):
            with published(str(port), 1):
                pass
    with published(str(port), 1) as take:
        take(STEP)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{port}/metrics") as answer:
            assert values(answer.read().decode())["photoscene_scenes_waiting",] == 1
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize("target", ["", "0", "65536", "host:", "metrics.txt", "-1", "x:٣"])
def test_a_target_that_is_neither_a_port_nor_a_file_is_refused(target: str) -> None:
    with pytest.raises(BadInput, match="expected PORT, HOST:PORT or a file NAME.prom"):
        check_target(target)


def test_a_file_of_somebody_else_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "node.prom"
    path.write_text("# HELP node_load1 1m load average.\n")
    with pytest.raises(BadInput, match="is not of a batch and is kept"):
        check_target(str(path))
    (tmp_path / "link.prom").symlink_to(path)
    with pytest.raises(BadInput, match="is not of a batch and is kept"):
        check_target(str(tmp_path / "link.prom"))
    with pytest.raises(BadInput, match="its folder does not exist"):
        check_target(str(tmp_path / "absent" / "node.prom"))
    with published(str(tmp_path / "own.prom"), 1):
        pass
    check_target(str(tmp_path / "own.prom"))
