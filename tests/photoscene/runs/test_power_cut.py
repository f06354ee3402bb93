"""Is no file of a run folder empty after a power cut?"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from scene.store import Store
from support.run_folders import Ready


def test_every_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk, fsync = set(), os.fsync

    def seen(descriptor: int) -> None:
        on_disk.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    ready, folder = Ready(Store(tmp_path / "store")), tmp_path / "run"
    ready.write(folder, ready.scene(np.random.default_rng(7)), "compose", [])
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 3 and {path.stat().st_ino for path in files} <= on_disk
