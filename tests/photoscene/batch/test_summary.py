"""Is the summary of a batch that of its scenes as they stand, whoever made them?"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

from photoscene.batch.entries import KEPT, PAGE, Entry
from photoscene.batch.records import failed_record, write_record
from photoscene.batch.summary import LOCK, SUMMARY, check_output, keep_summary
from scene.claims import claims_at

CUP, PAN = Entry("cup", 1, "cup.jpg", None), Entry("pan", 2, "pan.jpg", None)


def kept_states(output: Path) -> list[str]:
    return [scene["state"] for scene in json.loads((output / SUMMARY).read_text())["scenes"]]


def test_a_scene_has_the_line_that_it_has_now(tmp_path: Path) -> None:
    """Lines may be moved between two runs; a scene that stands is not made again."""
    for entry in (CUP, PAN):
        write_record(tmp_path, failed_record(entry, "why"))
    scenes = keep_summary([replace(PAN, line=1), replace(CUP, line=7)], tmp_path, {})["scenes"]
    assert [(s["line"], s["photo"]) for s in scenes] == [(1, "pan.jpg"), (7, "cup.jpg")]


def test_whoever_writes_the_summary_last_knows_what_others_have_recorded(tmp_path: Path) -> None:
    """Shards of one batch end at the same time; none replaces a newer summary by an older one."""
    write_record(tmp_path, failed_record(CUP, "why"))
    late = threading.Thread(target=keep_summary, args=([CUP, PAN], tmp_path, {}))
    with claims_at(tmp_path / KEPT / "locks").claim(LOCK):
        late.start()
        time.sleep(0.2)  # enough to read the records, if it did not wait
        write_record(tmp_path, failed_record(PAN, "why"))
    late.join()
    assert kept_states(tmp_path) == ["failed", "failed"]


def test_a_batch_goes_on_over_its_own_files_that_a_power_cut_left_empty(tmp_path: Path) -> None:
    keep_summary([CUP], tmp_path, {})
    for name in (SUMMARY, PAGE):
        (tmp_path / name).write_bytes(b"")
    check_output(tmp_path)
    keep_summary([CUP], tmp_path, {})
    assert kept_states(tmp_path) == ["missing"]
