"""Batches whose shards a work pool makes: what is lost is submitted again, what is done is not."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from flows import pool as work_pools
from flows.pool import RunState
from flows.settings import ServerFailed
from photoscene.batch import pool, presence
from photoscene.batch.entries import Entry
from photoscene.batch.pool import Watch, make_by_pool
from photoscene.batch.records import failed_record, write_record
from photoscene.batch.run import Work
from photoscene.batch.shard_files import Making, cut_shards, read_shard, shard_files, write_shard
from photoscene.batch.supervisor import Limits
from photoscene.cli.batch_shard import make_shard
from photoscene.inputs.request import Arguments, absolute
from scene.atomic import write_atomically
from scene.errors import CannotRun
from scene.files import encode_json
from support import ROOT
from support.small_photo import call

RUNNING, CRASHED = RunState("RUNNING", ""), RunState("CRASHED", "the machine is gone")
NAMES = [f"photo_{k}" for k in range(7)]


@dataclass
class Server:
    """A Prefect server with one pool; `begin` is what its workers do with a run."""

    begin: Callable[[Server, Path], RunState]
    name: str = "scenes"
    kind: str = "process"
    ends_with_command: bool = False
    runs: dict[str, Path] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    away: int = 0

    def submit(self, shard: Path, name: str, key: str) -> str:
        self.runs[str(len(self.runs))] = shard
        return str(len(self.runs) - 1)

    def states(self, runs: list[str]) -> Mapping[str, RunState]:
        self.away -= 1
        if self.away >= 0:
            raise ServerFailed("the server is away")
        return {run: self.begin(self, self.runs[run]) for run in runs}

    def open_runs(self, folder: Path) -> dict[Path, str]:
        return {path: run for run, path in self.runs.items() if run not in self.ended}

    def cancel(self, run: str) -> None:
        self.ended[run] = "cancelled"

    def give_up(self, run: str, why: str) -> None:
        self.ended[run] = why

    def has_worker(self) -> bool:
        return False


def make_scenes(server: Server, path: Path) -> RunState:
    """What a process does that makes a shard: records first, then its file goes."""
    shard = read_shard(path)
    for entry in shard.entries if shard else ():
        write_record(path.parents[2], failed_record(entry, "made"))
    path.unlink(missing_ok=True)
    return RunState("COMPLETED", "")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits."""
    for name, seconds in {"POLL_S": 0.001, "ASK_S": 0, "SILENT_S": 0.01, "ENDING_S": 0}.items():
        monkeypatch.setattr(pool, name, seconds)


def work_of(names: list[str]) -> tuple[Work, Making]:
    entries = [Entry(name, None, f"{name}.png", Arguments(Path(f"{name}.png"))) for name in names]
    making = Making("/store", "cpu", "lite", (), 1, False, Limits())
    return Work(entries, entries, entries, {name: f"asked {name}" for name in names}), making


def watched(output: Path, server: Server, names: list[str] = NAMES) -> tuple[str, list[Any]]:
    """Why a batch is not done, and what was reported."""
    reports: list[Any] = []
    work, making = work_of(names)
    watch = Watch(output, cast(work_pools.Pool, server), reports.append)
    why = make_by_pool(work, making, 3, watch)
    assert not list(shard_files(output)) and watch.count == 0
    return why, reports


def notes(reports: list[Any]) -> list[str]:
    return [report["note"] for report in reports if "note" in report]


def test_shards_have_every_scene_once_and_say_all_about_it(tmp_path: Path) -> None:
    work, making = work_of(NAMES)
    shards = cut_shards(work.missing, work.asked, making, 3)
    assert [len(shard.entries) for shard in shards] == [3, 2, 2]
    assert sorted(e.name for shard in shards for e in shard.entries) == NAMES
    path = write_shard(tmp_path, shards[0])
    assert read_shard(path) == shards[0]
    for entry in shards[0].entries:
        assert entry.arguments and entry.arguments.photo == Path.cwd() / entry.photo
        assert entry.arguments == absolute(entry.arguments)
    path.write_text("{")
    assert read_shard(path) is None


def test_records_say_what_is_done(tmp_path: Path) -> None:
    why, reports = watched(tmp_path, Server(make_scenes))
    assert why == ""
    assert sorted(report["ended"] for report in reports if "ended" in report) == NAMES


def test_a_run_that_comes_to_nothing_is_replaced_until_it_is_given_up(tmp_path: Path) -> None:
    states = iter([CRASHED, RUNNING])
    server = Server(lambda s, path: next(states, None) or make_scenes(s, path))
    why, reports = watched(tmp_path, server, NAMES[:3])
    assert why == "" and 2 <= len(server.runs) <= 3
    assert "a shard came to nothing (the machine is gone): submitted again" in notes(reports)

    server = Server(lambda server, path: CRASHED)
    why, _ = watched(tmp_path, server, NAMES[:3])
    assert why == "a shard was given up after 10 runs without a new step: the machine is gone"
    assert len(server.runs) == pool.MAX_UNBEGUN


@pytest.mark.parametrize("fruitful", [0, 4])
def test_a_shard_is_given_up_after_runs_that_begin_and_bring_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fruitful: int
) -> None:
    monkeypatch.setattr(presence, "RENEW_S", 0)
    begun: list[presence.Presence] = []

    def crash(server: Server, path: Path) -> RunState:
        """A run writes its process's file, and has crashed when somebody asks again."""
        if len(begun) == len(server.runs):
            return CRASHED
        begun.append(presence.Presence(tmp_path, 3, path))
        if len(begun) <= fruitful:
            begun[-1].note({"result": "computed"})
        begun[-1].renew()
        return RUNNING

    monkeypatch.setattr(pool, "SILENT_S", 60.0)
    server = Server(crash)
    why, _ = watched(tmp_path, server, NAMES[:3])
    assert why == "a shard was given up after 3 runs without a new step: the machine is gone"
    assert len(server.runs) == pool.MAX_RUNS + fruitful


@pytest.mark.parametrize(("kind", "limit_s"), [("process", 120), ("kubernetes", 900)])
def test_a_run_that_its_worker_never_started_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, limit_s: int
) -> None:
    clock = itertools.count(0, 100)  # seconds, which pass whenever somebody looks
    monkeypatch.setattr(pool.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(pool.time, "sleep", lambda seconds: None)
    server = Server(lambda server, path: RunState("PENDING", ""), kind=kind)
    why, _ = watched(tmp_path, server, NAMES[:3])
    assert why.endswith(f"runs without a new step: not started within {limit_s} s")
    assert set(server.ended.values()) == {f"not started within {limit_s} s"}
    assert len(server.ended) == pool.MAX_UNBEGUN


def test_scenes_that_ended_before_a_crash_are_reported(tmp_path: Path) -> None:
    def crash(server: Server, path: Path) -> RunState:
        write_record(tmp_path, failed_record(Entry(NAMES[0], None, "", None), "no photo"))
        return CRASHED

    why, reports = watched(tmp_path, Server(crash), NAMES[:2])
    assert why and [value["ended"] for value in reports if "ended" in value] == [NAMES[0]]


def test_a_run_without_a_sign_of_life_is_lost(tmp_path: Path) -> None:
    server = Server(lambda s, path: RUNNING if len(s.runs) < 2 else make_scenes(s, path))
    why, reports = watched(tmp_path, server, NAMES[:3])
    assert why == "" and server.ended == {"0": "no sign of life for 0.01 s"}
    assert len(notes(reports)) == 1


def test_signs_of_life_keep_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "RENEW_S", 0)
    living: list[presence.Presence] = []
    killed = presence.working_folder(tmp_path) / "zz.json"  # of a process that it follows, by id

    def live(server: Server, path: Path) -> RunState:
        living.append(living[0] if living else presence.Presence(tmp_path, 3, path))
        write_atomically(killed, encode_json({"shard": path.stem, "count": 9, "stage": ""}))
        living[0].renew()
        return RUNNING if len(living) < 100 else make_scenes(server, path)

    seconds = itertools.count()  # one passes whenever somebody looks
    monkeypatch.setattr(pool.time, "monotonic", lambda: float(next(seconds)))
    monkeypatch.setattr(pool, "SILENT_S", 60.0)
    server = Server(live)
    assert watched(tmp_path, server, NAMES[:3])[0] == ""
    assert len(server.runs) == 1


def test_a_server_that_is_away_is_waited_for(tmp_path: Path) -> None:
    why, reports = watched(tmp_path, Server(make_scenes, away=3))
    assert why == ""
    assert [note.partition(";")[0] for note in notes(reports)] == [
        "the server is away",
        "the Prefect server answers again",
    ]


def test_a_batch_that_is_cancelled_ends_and_so_do_runs_that_a_person_cancels(
    tmp_path: Path,
) -> None:
    def cancelled(server: Server, path: Path) -> RunState:
        assert presence.cancel(tmp_path) in [(0, 3), (0, 0)]  # one that is repeated does no harm
        return RunState("SCHEDULED", "")

    assert watched(tmp_path, Server(cancelled))[0] == presence.CANCELLED
    by_a_person = Server(lambda server, path: RunState("CANCELLED", ""))
    assert watched(tmp_path, by_a_person)[0] == presence.CANCELLED


def test_a_process_whose_shard_is_cancelled_stops(tmp_path: Path) -> None:
    work, making = work_of(NAMES)
    path = write_shard(tmp_path, cut_shards(work.missing, work.asked, making, 7)[0])
    assert presence.waiting_shards(tmp_path) == {path.stem}
    with presence.Presence(tmp_path, 7, path) as process:
        assert presence.waiting_shards(tmp_path) == set()
        assert not process.is_cancelled()
        assert presence.cancel(tmp_path) == (1, 0)
        assert process.is_cancelled()


def test_the_same_command_takes_up_what_it_submitted(tmp_path: Path) -> None:
    work, making = work_of(NAMES)
    server = Server(make_scenes)
    same, other = cut_shards(work.missing, work.asked, making, 4)
    changed = write_shard(
        tmp_path, cut_shards(other.entries, dict.fromkeys(NAMES, ""), making, 4)[0]
    )
    orphan = write_shard(tmp_path, same)
    for path in (write_shard(tmp_path, same), changed):
        server.submit(path, "", "")
    why, _ = watched(tmp_path, server)
    assert why == "" and server.ended == {"1": "cancelled"}
    submitted = [path for run, path in server.runs.items() if run > "1"]
    assert len(submitted) == 1 and orphan not in submitted  # of the three scenes that were left


def test_a_shard_is_made_by_the_version_that_was_asked_for(tmp_path: Path) -> None:
    work, making = work_of(NAMES[:1])
    path = write_shard(tmp_path, cut_shards(work.missing, work.asked, making, 1)[0])
    with pytest.raises(CannotRun, match="install the same on all machines"):
        make_shard(path)
    path.unlink()
    assert make_shard(path) == 130


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--pool", "scenes"), "--pool scenes needs a Prefect server that all machines reach"),
        (("--pool", "scenes", "--shard", "1/2"), "--pool and --shard both say who makes"),
        (("--ray", "ray://a:1"), "--ray ray://a:1: expected HOST:PORT of the head node"),
        (("--pool", "scenes", "--shard-size", "65"), "--shard-size 65: expected 1 to 64"),
    ],
)
def test_what_a_pool_cannot_make_is_refused(
    options: tuple[str, ...], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_pools, "read_settings", lambda: (None, tmp_path))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"")
    result = call("batch", tmp_path / "photos", "-o", tmp_path / "out",
                  "--store", tmp_path / "store", *options)  # fmt: skip
    assert result.exit_code == 2 and reason in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["process", "docker", "kubernetes"])
def test_templates_of_work_pools_declare_what_they_use(kind: str) -> None:
    template = json.loads((ROOT / "configs" / "work_pools" / f"{kind}.json").read_text())
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    assert used == set(template["variables"]["properties"])
    if kind == "kubernetes":  # more executes a shard twice
        assert template["job_configuration"]["job_manifest"]["spec"]["backoffLimit"] == 0


def test_the_deployment_of_prefect_yaml_is_that_of_the_command() -> None:
    (deployment,) = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert deployment["entrypoint"] == work_pools.ENTRYPOINT
    assert deployment["name"] == deployment["work_pool"]["name"]
    assert deployment["work_pool"]["job_variables"] == work_pools.JOB_VARIABLES
    assert deployment["schedules"] is None  # else `prefect deploy --all` asks for one


def test_jobs_of_a_slurm_array_are_shards(tmp_path: Path) -> None:
    program = tmp_path / "photoscene"
    program.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    program.chmod(0o755)
    environment = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8",
                   "PATH": f"{tmp_path}:{os.environ['PATH']}"}  # fmt: skip
    script = ROOT / "configs" / "slurm" / "batch.sbatch"
    done = subprocess.run(
        ["bash", str(script), "my photos", "out", "--seed", "5"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "batch|my photos|-o|out|--shard|3/8|--seed|5|"
