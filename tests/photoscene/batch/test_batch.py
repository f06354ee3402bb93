"""Batches through the command: resumed, in shards, beside one another, through every trouble."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from photoscene.batch import supervisor
from photoscene.batch.records import read_scene_record
from scene import child
from support.batches import (
    add_backends,
    children,
    line,
    scene_bytes,
    wait_for,
    write_manifest,
    write_photos,
)
from support.small_photo import SmallPhoto, call

PHOTOSCENE = str(Path(sys.executable).with_name("photoscene"))
TROUBLES = ("exception", "hang", "memory", "segfault", "killed")


@pytest.fixture(autouse=True)
def backends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The backend `troubled` is there."""
    add_backends(monkeypatch, tmp_path / "backends")


@pytest.fixture
def quick_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that takes longer than eight seconds hangs; two workers are enough to lose."""
    limits = supervisor.Limits(attempts=2, seconds={"generate": 8.0})
    monkeypatch.setattr(supervisor, "limits_from", lambda step_s, recycle: limits)


def run_batch(source: Path, output: Path, *options: object) -> dict:
    """The summary of a batch, with its exit status."""
    result = call("batch", source, "-o", output, "--json", *options)
    assert result.exit_code in (0, 1), result.stderr
    return {**json.loads(result.stdout), "status": result.exit_code}


def states(summary: dict) -> list[str]:
    return [scene["state"] for scene in summary["scenes"]]


def test_a_batch_has_the_bytes_of_single_runs_and_does_nothing_twice(
    small_photo: SmallPhoto, inline_runs: None, tmp_path: Path
) -> None:
    names = write_photos(tmp_path / "photos", small_photo, 3)
    lines = [line(name, small_photo, masks="ab") for name in names]
    manifest = write_manifest(tmp_path / "photos" / "all.jsonl", lines)
    store = ("--store", tmp_path / "store")
    first = run_batch(manifest, tmp_path / "out", *store)
    assert (first["status"], states(first)) == (0, ["done"] * 3)
    for name in names:
        single = call("run", tmp_path / "photos" / name, "--mask", tmp_path / "photos" / "a.png",
                      "--mask", tmp_path / "photos" / "b.png", "--pointmap",
                      tmp_path / "photos" / "depth.npy", "--fov", 55, "--set",
                      "generate.backend=troubled", "-o", tmp_path / "single" / Path(name).stem,
                      "--store", tmp_path / "other")  # fmt: skip
        assert single.exit_code == 0, single.stderr
    assert scene_bytes(tmp_path / "out") == scene_bytes(tmp_path / "single")
    assert (tmp_path / "out" / "index.html").read_text().count("<article") == 3

    again = call("batch", manifest, "-o", tmp_path / "out", *store)
    assert again.exit_code == 0 and not again.stderr
    (tmp_path / "out" / "photo_001" / "scene.glb").unlink()
    assert "1/1  photo_001" in call("batch", manifest, "-o", tmp_path / "out", *store).stderr
    lines[2]["seed"] = 5
    write_manifest(manifest, lines)
    assert "1/1  photo_002" in call("batch", manifest, "-o", tmp_path / "out", *store).stderr


@pytest.mark.slow
def test_every_trouble_costs_its_own_scene_only(
    small_photo: SmallPhoto, quick_limits: None, tmp_path: Path
) -> None:
    names = write_photos(tmp_path / "photos", small_photo, 15)
    cause = tmp_path / "cause"
    cause.touch()
    lines = [
        line(name, small_photo, f"generate.trouble={TROUBLES[i // 2]}", f"generate.cause={cause}")
        if i % 2 and i < 10 else line(name, small_photo)
        for i, name in enumerate(names)
    ]  # fmt: skip
    (tmp_path / "photos" / names[14]).write_bytes(b"no photo")
    manifest = write_manifest(tmp_path / "photos" / "all.jsonl", lines)
    options = ("--store", tmp_path / "store", "--workers", 2)
    summary = run_batch(manifest, tmp_path / "out", *options)
    reasons = {
        s["photo"]: "; ".join([s["reason"], *(o["failure"] for o in s["objects"])])
        for s in summary["scenes"]
    }
    assert summary["status"] == 1 and summary["counts"]["done"] == 9
    expected = [
        (1, "a fault of photoscene itself: KeyError"),
        (3, "set aside: its worker hung for 8 s in generate"),
        (5, "not enough even for a box"),
        (7, "set aside: its worker was killed by SIGSEGV in generate"),
        (9, "set aside: its worker was killed by SIGKILL (perhaps for memory) in generate"),
        (14, "is not a picture in a known format"),
    ]
    for index, reason in expected:
        assert reason in reasons[names[index]]
    assert call("batch", "status", tmp_path / "out").exit_code == 1

    cause.unlink()
    (tmp_path / "photos" / names[14]).write_bytes((tmp_path / "photos" / names[0]).read_bytes())
    summary = run_batch(manifest, tmp_path / "out", *options, "--retry-failed")
    assert (summary["status"], summary["counts"]["done"]) == (0, 15)


def started(*words: object) -> subprocess.Popen[str]:
    """A batch as a process of its own, in a group of its own; it listens to SIGINT, which a suite
    in the background ignores."""
    return subprocess.Popen(
        [PHOTOSCENE, "batch", *map(str, words)], env=child.environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_workers_that_are_killed_at_random_lose_nothing(
    small_photo: SmallPhoto, tmp_path: Path
) -> None:
    names = write_photos(tmp_path / "photos", small_photo, 8)
    lines = [line(name, small_photo, "generate.seconds=0.3", masks="ab") for name in names]
    manifest = write_manifest(tmp_path / "photos" / "all.jsonl", lines)
    undisturbed = run_batch(manifest, tmp_path / "out", "--store", tmp_path / "store")
    assert undisturbed["counts"]["done"] == 8
    process = started(manifest, "-o", tmp_path / "killed", "--store", tmp_path / "other",
                      "--workers", 2)  # fmt: skip
    kills, pauses = 0, iter([0.3, 1.5, 0.9, 2.2, 1.2, 3.0] * 9)
    while process.poll() is None and kills < 6:
        time.sleep(next(pauses))
        for pid in children(process.pid)[:1]:
            os.kill(pid, signal.SIGKILL)
            kills += 1
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, (out, err)
    assert kills >= 3 and "was killed by SIGKILL" in err
    assert scene_bytes(tmp_path / "killed") == scene_bytes(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("ended_by", ["interrupt", "cancel", "kill"])
def test_a_batch_that_is_ended_goes_on_where_it_was(
    small_photo: SmallPhoto, tmp_path: Path, ended_by: str
) -> None:
    names = write_photos(tmp_path / "photos", small_photo, 4)
    lines = [line(name, small_photo, "generate.seconds=2") for name in names]
    manifest = write_manifest(tmp_path / "photos" / "all.jsonl", lines)
    out, store = tmp_path / "out", tmp_path / "store"
    process = started(manifest, "-o", out, "--store", store)
    wait_for(lambda: list(store.glob("results/*/*.json")))
    wait_for(lambda: list((out / ".batch" / "working").glob("*.json")))
    workers = children(process.pid)
    if ended_by == "cancel":
        assert call("batch", "cancel", out).stdout.startswith("1 process")
    else:
        stop = signal.SIGINT if ended_by == "interrupt" else signal.SIGKILL
        os.kill(process.pid, stop)
    _, err = process.communicate(timeout=60)
    assert process.returncode == {"interrupt": 130, "cancel": 130, "kill": -9}[ended_by]
    if ended_by != "kill":
        assert "run the same command to go on" in err
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 20)
    before = len(list(store.glob("results/*/*.json")))
    summary = run_batch(manifest, out, "--store", store)
    assert summary["counts"]["done"] == 4
    steps = sum(scene["steps"] for scene in summary["scenes"])
    assert sum(scene["computed"] for scene in summary["scenes"]) <= steps - before


@pytest.mark.slow
def test_two_batches_on_one_store_compute_nothing_twice(
    small_photo: SmallPhoto, tmp_path: Path
) -> None:
    names = write_photos(tmp_path / "photos", small_photo, 6)
    lines = [line(name, small_photo, "generate.seconds=0.2") for name in names]
    manifest = write_manifest(tmp_path / "photos" / "all.jsonl", lines)
    store = ("--store", tmp_path / "store", "--json")
    both = [started(manifest, "-o", tmp_path / name, *store) for name in "ab"]
    summaries = [json.loads(process.communicate(timeout=300)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    computed = sum(s["computed"] for summary in summaries for s in summary["scenes"])
    assert computed == len(list((tmp_path / "store" / "results").glob("*/*.json"))) - _previews(
        tmp_path / "store"
    )
    assert scene_bytes(tmp_path / "a") == scene_bytes(tmp_path / "b")


def _previews(store: Path) -> int:
    """How many results are previews of reports, which no step computes."""
    results = (json.loads(p.read_text())["result"] for p in store.glob("results/*/*.json"))
    return sum(result["stage"] == "preview" for result in results)


@pytest.mark.slow
def test_shards_together_are_the_whole(small_photo: SmallPhoto, tmp_path: Path) -> None:
    names = write_photos(tmp_path / "photos", small_photo, 3)
    lines = [line(name, small_photo) for name in names]
    manifest = write_manifest(tmp_path / "photos" / "all.jsonl", lines)
    whole = run_batch(manifest, tmp_path / "whole", "--store", tmp_path / "store", "--workers", 2)
    for number in (2, 1):
        part = run_batch(manifest, tmp_path / "parts", "--store", tmp_path / "other",
                         "--shard", f"{number}/2")  # fmt: skip
        assert part["status"] == 0
        assert part["counts"] == {
            "scenes": 3, "done": {2: 1, 1: 3}[number], "incomplete": 0, "failed": 0,
            "missing": {2: 2, 1: 0}[number],
        }  # fmt: skip
    assert whole["counts"] == part["counts"]
    assert scene_bytes(tmp_path / "parts") == scene_bytes(tmp_path / "whole")
    assert call("batch", "status", tmp_path / "parts").exit_code == 0


@pytest.mark.slow
def test_a_store_that_takes_nothing_stops_the_batch(
    small_photo: SmallPhoto, tmp_path: Path
) -> None:
    write_photos(tmp_path / "photos", small_photo, 2)
    (tmp_path / "store").write_text("a file")
    result = call("batch", tmp_path / "photos", "-o", tmp_path / "out",
                  "--store", tmp_path / "store")  # fmt: skip
    assert result.exit_code in (1, 3) and "store" in result.stderr


@pytest.mark.slow
def test_a_run_folder_that_somebody_went_on_with_stays(
    small_photo: SmallPhoto, inline_runs: None, tmp_path: Path
) -> None:
    names = write_photos(tmp_path / "photos", small_photo, 1)
    lines = [line(names[0], small_photo)]
    manifest = write_manifest(tmp_path / "photos" / "all.jsonl", lines)
    run_batch(manifest, tmp_path / "out", "--store", tmp_path / "store")
    folder = tmp_path / "out" / "photo_000"
    assert call("rerun", folder, "--object", 1, "--seed", 7).exit_code == 0
    changed = (folder / "run.json").read_bytes()
    run_batch(manifest, tmp_path / "out", "--store", tmp_path / "store")
    assert (folder / "run.json").read_bytes() == changed


def test_a_folder_called_status_is_a_folder(
    small_photo: SmallPhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "status", small_photo, 2)
    result = call("batch", "status", "-o", "out", "--dry-run", "--include", "photo*")
    assert result.exit_code == 0 and "2 of 2 scenes would be made" in result.stdout
    assert not (tmp_path / "out").exists()
    result = call("batch", "status", "status")
    assert result.exit_code == 2 and "is not the output folder of a batch" in result.stderr


@pytest.fixture
def clocks() -> Iterator[threading.Event]:
    stop = threading.Event()
    yield stop
    stop.set()


def test_a_process_lives_whose_file_changes_whatever_its_clock_says(
    tmp_path: Path, clocks: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    from photoscene.batch import presence

    monkeypatch.setattr(presence, "RENEW_S", 0.05)
    monkeypatch.setattr(presence, "WATCH_S", 1.0)
    living, gone = presence.Presence(tmp_path, 3), presence.Presence(tmp_path, 3)
    gone.renew()
    living.renew()

    def renew() -> None:
        while not clocks.wait(0.02):
            living.renew()
            for path in presence.working_folder(tmp_path).glob("[!.]*.json"):
                try:
                    os.utime(path, (0, 0))
                except FileNotFoundError:
                    pass

    threading.Thread(target=renew, daemon=True).start()
    assert set(presence.working(tmp_path)) == {living.id, gone.id}
    assert set(presence.alive(tmp_path)) == {living.id}
    assert presence.cancel(tmp_path) == (2, 0)
    assert living.is_cancelled() and not presence.Presence(tmp_path, 1).is_cancelled()


def test_scenes_whose_worker_dies_between_two_steps_are_set_aside_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import os, socket, sys; socket.socket(fileno=int(sys.argv[1])).sendall(b'{}\\n');"
        "os.kill(os.getpid(), 9)"
    )
    monkeypatch.setattr(child, "python", lambda *words: [sys.executable, "-c", program, words[1]])
    ended: list[Mapping[str, Any]] = []
    limits = supervisor.Limits(deaths=3)
    task = supervisor.Task(str(tmp_path), str(tmp_path / "store"), "cpu")
    asked = {"a": "", "b": ""}
    entries = [supervisor.Entry(name, None, f"{name}.png", None) for name in asked]
    workers = supervisor.Supervisor(task, [{}], asked, limits, ended.append, lambda: "")
    assert workers.carry_out([entries]) == ""
    assert [value["ended"] for value in ended if "ended" in value] == ["a", "b"]
    for name in asked:
        record = read_scene_record(tmp_path, name)
        assert record is not None and "its worker was killed by SIGKILL" in record.reason


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--step-limit", "0.5"), "--step-limit 0.5: expected 1 to 604800 seconds"),
        (("--step-limit", "nan"), "--step-limit nan: expected 1 to 604800 seconds"),
        (("--recycle", "-1"), "--recycle -1: expected 0 or more shards"),
    ],
)
def test_limits_that_cannot_be_are_refused(
    tmp_path: Path, options: tuple[str, str], reason: str
) -> None:
    (tmp_path / "photos").mkdir()
    result = call("batch", tmp_path / "photos", "-o", tmp_path / "out", *options)
    assert (result.exit_code, result.stderr.strip()) == (2, f"photoscene: {reason}")
    limits = supervisor.limits_from(8.0, 0)
    assert (limits.limit_s("generate"), limits.limit_s("write"), limits.recycle) == (8.0, 8.0, 0)


def test_records_are_read_back_or_taken_for_absent(tmp_path: Path) -> None:
    from photoscene.batch.entries import Entry
    from photoscene.batch.records import failed_record, write_record

    record = failed_record(Entry("a/b", 3, "b.jpg", None), "why")
    write_record(tmp_path, record)
    assert read_scene_record(tmp_path, "a/b") == record
    path = tmp_path / ".batch" / "scenes" / "a" / "b.json"
    path.write_bytes(re.sub(rb'"reason"', b'"raisin"', path.read_bytes()))
    assert read_scene_record(tmp_path, "a/b") is None
    path.write_bytes(b"{")
    assert read_scene_record(tmp_path, "a/b") is None
