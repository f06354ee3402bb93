"""Batches on a Ray cluster of two nodes on this machine, one of which dies in the middle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from photoscene.batch.presence import working
from support.batches import line, scene_bytes, write_manifest, write_photos
from support.small_photo import SmallPhoto, call

pytestmark = [pytest.mark.extra("ray"), pytest.mark.slow]
STORE_BYTES = 100_000_000  # Ray's own, for results that are larger than ours
SETTINGS = ("generate.backend=relief", "generate.grid=8")


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head node that takes no shard, and two others that take one each."""
    from flows.ray_pool import library

    library()
    from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    made = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    yield made
    library().shutdown()
    made.shutdown()


def test_a_node_that_dies_costs_nothing_but_time(
    small_photo: SmallPhoto, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = write_photos(tmp_path / "photos", small_photo, 4)
    lines = [{**line(n, small_photo, masks="ab"), "set": list(SETTINGS)} for n in names]
    manifest = write_manifest(tmp_path / "photos" / "all.jsonl", lines)
    here = call("batch", manifest, "-o", tmp_path / "here", "--store", tmp_path / "store")
    assert here.exit_code == 0, here.stderr
    killed: list[str] = []

    def working_and_dying(output: Path) -> Any:
        """As ever, but that a node dies with its processes once a shard is being made."""
        found = working(output)
        if found and not killed:
            node = [*cluster.worker_nodes][0]
            killed.append(node.unique_id)
            cluster.remove_node(node, allow_graceful=False)
        return found

    monkeypatch.setattr("photoscene.batch.pool.working", working_and_dying)
    made = call("batch", manifest, "-o", tmp_path / "out", "--store", tmp_path / "other",
                "--ray", cluster.address, "--shard-size", 1)  # fmt: skip
    assert made.exit_code == 0 and killed, made.stderr
    assert scene_bytes(tmp_path / "out") == scene_bytes(tmp_path / "here")
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
