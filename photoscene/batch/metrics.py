"""What Prometheus reads of a batch: steps, their seconds, results and failures, reads, memory.

Served over HTTP while the batch works, or kept in a file for node_exporter's textfile collector.
Names and units as https://prometheus.io/docs/practices/naming asks for.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import start_http_server

from photoscene.batch.records import COMPUTED
from photoscene.batch.supervisor import Report
from scene.atomic import write_atomically
from scene.errors import BadInput, CannotRun
from scene.loopback import ADDRESS

SUFFIX = ".prom"
FIRST_LINE = b"# HELP photoscene_"
RENEW_S = 5.0  # between two writes of the file
MAX_PORT = 65535
SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)  # histogram's bounds


class BatchMetrics:
    """The metrics of one process that works on a batch, from the reports of its workers."""

    def __init__(self, scenes: int) -> None:
        self.registry = CollectorRegistry()
        self._steps = self._counter("steps", "Steps that ended.", "stage", "backend", "result")
        self._seconds = Histogram(
            "photoscene_step_seconds", "Seconds that computed steps took.", ("stage", "backend"),
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._scenes = self._counter("scenes", "Scenes that ended.", "state")
        self._waiting = self._gauge("scenes_waiting", "Scenes that are still to be made.")
        self._failures = self._counter("failures", "Failures of scenes and objects.", "kind")
        self._reads = self._counter("weights_reads", "Networks read from files.", "network")
        self._read_seconds = self._counter("weights_read_seconds", "Seconds of that.", "network")
        self._deaths = self._counter("worker_deaths", "Workers that died or hung.", "cause")
        self._memory = self._gauge(
            "device_memory_bytes", "What a worker's networks hold on its device.", "worker"
        )
        self._waiting.set(scenes)

    def take(self, value: Mapping[str, Any]) -> None:
        """Count one report."""
        if "stepped" in value and "result" in value:
            names = (value["stepped"], value["backend"])
            self._steps.labels(*names, value["result"]).inc()
            if value["result"] == COMPUTED:
                self._seconds.labels(*names).observe(value["seconds"])
            self._memory.labels(value["worker"]).set(value["held_bytes"])
        elif "ended" in value:
            self._scenes.labels(value["record"]["state"]).inc()
            self._waiting.dec()
        elif "read" in value:
            self._reads.labels(value["read"]).inc()
            self._read_seconds.labels(value["read"]).inc(value["seconds"])
        elif "died" in value:
            self._deaths.labels(value["died"]).inc()
        if value.get("kind"):
            self._failures.labels(value["kind"]).inc()

    def text(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"photoscene_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"photoscene_{name}", text, labels, registry=self.registry)


def check_target(target: str) -> None:
    """BadInput unless the metrics can go there: PORT, HOST:PORT, or a file NAME.prom of ours."""
    if target.endswith(SUFFIX):
        path = Path(target)
        if os.path.lexists(path) and not _is_own(path):
            raise BadInput(f"--metrics {target} is not of a batch and is kept: give another name")
        if not path.absolute().parent.is_dir():
            raise BadInput(f"--metrics {target}: its folder does not exist")
        return
    _address(target)


@contextlib.contextmanager
def published(target: str | None, scenes: int) -> Iterator[Report]:
    """Publish the metrics of a batch while inside; yields what takes its reports.

    target: as `check_target` has it; None publishes nothing. Raises CannotRun where it cannot be
    served there.
    """
    if target is None:
        yield lambda value: None
        return
    metrics = BatchMetrics(scenes)
    if target.endswith(SUFFIX):
        with _in_file(Path(target), metrics) as take:
            yield take
        return
    host, port = _address(target)
    try:
        server, thread = start_http_server(port, host, metrics.registry)
    except OSError as error:
        raise CannotRun(f"--metrics {target}: {error.strerror}: give another port") from None
    try:
        yield metrics.take
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def _in_file(path: Path, metrics: BatchMetrics) -> Iterator[Report]:
    """Renewed now and then, and once more at the end, so that the last values stay."""
    written = 0.0

    def take(value: Mapping[str, Any]) -> None:
        """Count one report, and write the file if it is time."""
        nonlocal written
        metrics.take(value)
        if time.monotonic() - written > RENEW_S:
            written = time.monotonic()
            with contextlib.suppress(OSError):  # the batch is worth more than its metrics
                write_atomically(path, metrics.text())

    write_atomically(path, metrics.text())
    try:
        yield take
    finally:
        with contextlib.suppress(OSError):
            write_atomically(path, metrics.text())


def _address(target: str) -> tuple[str, int]:
    host, _, port = target.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) <= MAX_PORT:
        raise BadInput(f"--metrics {target}: expected PORT, HOST:PORT or a file NAME{SUFFIX}")
    return host or ADDRESS, int(port)


def _is_own(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(FIRST_LINE)) == FIRST_LINE
