"""A kept rubric that somebody has edited is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from photoscene.quality.kept import QUALITY, kept_quality, quality_file
from photoscene.quality.rubric import Quality, measured
from scene.types import Artifact, Scene

SCENE = Scene(Artifact("photo", "b" * 64, ".png"))
KEPT = quality_file(Quality((measured("scene", "scale", 1),), ()), SCENE)


def test_what_was_kept_is_found(tmp_path: Path) -> None:
    (tmp_path / QUALITY).write_bytes(KEPT)
    found = kept_quality(tmp_path, SCENE)
    assert found is not None and found["rows"][0]["name"] == "scale"


@pytest.mark.parametrize("name", ["rows", "counts", "remedies", "assumptions", "verdict"])
def test_what_lacks_a_part_is_none(name: str, tmp_path: Path) -> None:
    value = json.loads(KEPT)
    for edited in ({**value, name: 1}, {k: v for k, v in value.items() if k != name}):
        (tmp_path / QUALITY).write_text(json.dumps(edited))
        assert kept_quality(tmp_path, SCENE) is None
    del value["rows"][0]["limits"]
    (tmp_path / QUALITY).write_text(json.dumps(value))
    assert kept_quality(tmp_path, SCENE) is None
