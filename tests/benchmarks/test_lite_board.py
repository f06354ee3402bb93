"""The lite profile's figures: known answers, the rivals of a stage, and lines that go stale."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.found_objects import Example, found_in
from benchmarks.known_scenes import GROUND_TRUTH, scene_folders
from benchmarks.lite.completions import figures_of, hidden_objects
from benchmarks.lite.photo_sheets import VERDICTS, Verdict, read_verdicts, shown_verdict
from benchmarks.lite.point_maps import scaled_error
from benchmarks.lite.runs import angle, mean_of
from benchmarks.lite.sources import Sources, rivals
from scene.types import Completion, Mask, ObjectPrompt, Photo
from stages import complete, generate, map_points, segment
from support import ROOT

HALVES = np.arange(8)[None, :].repeat(8, 0) < 4  # the left half of 8 x 8 pixels


@pytest.mark.parametrize(
    ("stage", "here", "absent"),
    [
        (segment.STAGE, {"grabcut", "lite"}, {"sam2", "sam3"}),
        (map_points.STAGE, {"ground_plane"}, {"moge", "file"}),
        (complete.STAGE, {"inpaint", "passthrough"}, {"qwen_edit"}),
        (generate.STAGE, {"billboard", "relief", "lite"}, {"pixal3d"}),
    ],
)
def test_rivals_are_what_runs_with_nothing_downloaded(
    stage, here: set[str], absent: set[str]
) -> None:
    found = rivals(stage)
    assert here <= set(found) and not absent & set(found)
    assert "lite" not in found[:-1]


def test_only_kinds_of_scenes_that_are_here_are_measured(tmp_path: Path) -> None:
    sources = Sources(GROUND_TRUTH, tmp_path, tmp_path, count=2)
    assert [(kind, len(folders)) for kind, folders in sources.scenes()] == [("scenes", 2)]


def test_a_point_map_of_another_unit_is_as_right_as_it_was() -> None:
    true = np.linspace(1, 2, 64, dtype=np.float32).reshape(8, 8)
    everywhere = np.ones_like(HALVES)
    assert scaled_error(3 * true, true, everywhere) == pytest.approx(0, abs=1e-6)
    bent = np.where(HALVES, true, np.float32(1.5) * true)
    bent[0, 0] = np.nan
    assert scaled_error(bent, true, HALVES) == pytest.approx(0, abs=1e-6)
    assert scaled_error(bent, true, everywhere) > 0.1


def test_angles_and_means() -> None:
    assert angle(np.array([0, -2.0, 0]), np.array([0, -1.0, 1])) == pytest.approx(math.pi / 4)
    assert mean_of([{"a": 1.0}, {"a": None}, {}, {"a": 2.0}], "a") == "1.500"
    assert mean_of([{}], "a") == "-"


def test_the_whole_object_is_a_perfect_completion_and_the_visible_part_is_none() -> None:
    folder = next(
        f for f in scene_folders(GROUND_TRUTH)
        if any(0.5 <= o["visible_ratio"] <= 0.85
               for o in json.loads((f / "scene.json").read_text())["objects"])
    )  # fmt: skip
    hidden = next(hidden_objects(folder))
    perfect = figures_of(Completion(hidden.whole), hidden)
    assert perfect["found"] == 1 and perfect["colour"] == 0 and perfect["amodal_iou"] == 1
    seen = figures_of(Completion(hidden.crop.rgba), hidden)
    assert seen["found"] == 0 and seen["colour"] is None and 0.4 < seen["amodal_iou"] < 0.9


def test_an_object_in_two_found_pieces_has_come_apart() -> None:
    class Halves:
        """Finds both halves of the left half, and the right half."""

        def segment(
            self, photo: Photo, prompts: tuple[ObjectPrompt, ...], files: tuple[Mask, ...]
        ) -> list[Mask]:
            top = np.arange(8)[:, None].repeat(8, 1) < 4
            return [Mask(HALVES & top), Mask(HALVES & ~top), Mask(~HALVES)]

    photo = Photo(np.zeros((8, 8, 3), np.uint8))
    found = found_in(Halves(), Example(photo, (HALVES, ~HALVES), ((), ())))
    assert found.apart == (True, False) and found.ious == (0.5, 1.0)


def test_a_verdict_on_another_sheet_is_marked() -> None:
    verdict = Verdict("Stands level.", "abc")
    assert shown_verdict(verdict, "abc") == "Stands level."
    assert shown_verdict(verdict, "def") == "Of an earlier sheet: Stands level."
    assert shown_verdict(None, "abc") == "No verdict yet."


def test_sheets_with_a_verdict_are_there() -> None:
    for name, verdict in read_verdicts(VERDICTS).items():
        assert (ROOT / "docs" / "lite_photos" / f"{name}.png").exists(), name
        assert verdict.line and verdict.sheet
