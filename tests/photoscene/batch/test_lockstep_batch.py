"""Batches whose objects share their networks: how often these are read, and who is suspect."""

from __future__ import annotations

import collections
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from photoscene.batch import run
from support.batches import add_backends, line, write_manifest, write_photos
from support.small_photo import SmallPhoto, call

pytest.importorskip("torch", reason="networks: pip install -e '.[pixal3d]'")

CASCADED = "generate.backend=cascaded"
NETWORKS = ("encoder", "upsampler", "coarse", "decoder", "fine", "colour")


@pytest.fixture(autouse=True)
def backends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The backend `cascaded` is there."""
    add_backends(monkeypatch, tmp_path / "backends")


def made(manifest: Path, output: Path, *options: object) -> tuple[Mapping[str, Any], str]:
    """The summary of a batch, and its messages."""
    result = call("batch", manifest, "-o", output, "--store", output / "store", "--json", *options)
    assert result.exit_code in (0, 1), result.stderr
    return json.loads(result.stdout), result.stderr


def reads(output: Path) -> collections.Counter[str]:
    """How often workers read each network."""
    texts = [
        json.loads(line)["text"]
        for path in (output / ".batch" / "logs").glob("*.jsonl")
        for line in path.read_text().splitlines()
        if line.startswith("{")
    ]
    return collections.Counter(t.split(" read in ")[0] for t in texts if " read in " in t)


@pytest.mark.slow
def test_a_worker_reads_each_network_once_for_a_shard(
    small_photo: SmallPhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "MAX_SHARD", 2)
    names = write_photos(tmp_path / "photos", small_photo, 4)
    lines = [
        {**line(name, small_photo, CASCADED, masks="ab"), "seed": seed}
        for seed, name in enumerate(names)
    ]
    manifest = write_manifest(tmp_path / "photos" / "all.jsonl", lines)
    summary, _ = made(manifest, tmp_path / "out")
    assert summary["counts"]["done"] == 4
    assert reads(tmp_path / "out") == dict.fromkeys(NETWORKS, 2)


@pytest.mark.slow
def test_a_worker_that_dies_makes_only_the_object_suspect_that_it_worked_on(
    small_photo: SmallPhoto, tmp_path: Path
) -> None:
    names = write_photos(tmp_path / "photos", small_photo, 5)
    (tmp_path / "cause").touch()
    trouble = ("generate.trouble=killed", f"generate.cause={tmp_path / 'cause'}")
    lines = [
        {**line(name, small_photo, CASCADED, *(trouble if i == 2 else ())), "seed": i}
        for i, name in enumerate(names)
    ]
    manifest = write_manifest(tmp_path / "photos" / "all.jsonl", lines)
    summary, messages = made(manifest, tmp_path / "out")
    states = [scene["state"] for scene in summary["scenes"]]
    assert states == ["done", "done", "failed", "done", "done"]
    assert "SIGKILL (perhaps for memory) in generate" in summary["scenes"][2]["reason"]
    assert messages.count(": replaced") == 3  # once for all, and the one scene by itself
    # The four others: begun with the fifth, then together; `fine` is where that one dies.
    assert reads(tmp_path / "out")["colour"] == 1
