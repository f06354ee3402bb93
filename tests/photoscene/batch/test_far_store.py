"""A batch with a store far away: how often it is asked, and that what comes out is the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmarks.store.together import together_table
from photoscene.batch.entries import Entry
from photoscene.batch.worker import Task, reconstruct_shard
from photoscene.inputs.request import Arguments
from scene import store as stores
from stages.devices import ModelPool
from support import ROOT
from support.batches import scene_bytes, write_photos
from support.object_server import ObjectServer, object_server
from support.small_photo import FOV_X_DEG, SmallPhoto, call

pytestmark = [pytest.mark.extra("obstore"), pytest.mark.slow]
SCENES = 2
MAX_REQUESTS = 20  # of a scene of three objects that was made before


@dataclass
class Sent:
    """The reports of a worker, kept."""

    reports: list[Mapping[str, Any]] = field(default_factory=list)

    def send(self, **values: Any) -> None:
        self.reports.append(values)

    @property
    def results(self) -> set[str]:
        """What came of the steps: computed, cached, failed."""
        return {report["result"] for report in self.reports if "result" in report}


def make(photos: Path, small_photo: SmallPhoto, output: Path, store: str) -> Sent:
    """Make the scenes of some photos as a worker does, on a machine that may be new."""
    entries = [
        Entry(path.stem, None, path.name, Arguments(
            path, masks=tuple(photos / f"{name}.png" for name in "abc"), fov_x_deg=FOV_X_DEG,
            point_map=photos / "depth.npy",
            settings=("generate.backend=relief", "generate.grid=8", "complete.backend=inpaint"),
        ))
        for path in sorted(photos.glob("photo_*"))
    ]  # fmt: skip
    asked, sent = {entry.name: "" for entry in entries}, Sent()
    task = Task(str(output), store, "cpu")
    reconstruct_shard(entries, asked, task, ModelPool(), sent)  # type: ignore[arg-type]
    ended = [report["record"]["state"] for report in sent.reports if "ended" in report]
    assert ended == ["done"] * SCENES, sent.reports[-1]
    return sent


def on_a_new_machine(patch: pytest.MonkeyPatch, home: Path) -> None:
    """Nothing is kept here of any store."""
    patch.setenv("HOME", str(home))
    stores._remote_store.cache_clear()


def test_scenes_that_were_made_before_cost_few_requests(
    small_photo: SmallPhoto, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    write_photos(photos, small_photo, SCENES)
    with pytest.MonkeyPatch.context() as patch, object_server(patch) as server:
        on_a_new_machine(patch, tmp_path / "one")
        first = make(photos, small_photo, tmp_path / "first", server.url)
        assert "computed" in first.results
        one_by_one = _again(server, patch, tmp_path, photos, small_photo, "no archives", lost=True)
        again = _again(server, patch, tmp_path, photos, small_photo, "new")
        assert again <= MAX_REQUESTS * SCENES < one_by_one
        server.requests.clear()
        assert make(photos, small_photo, tmp_path / "warm", server.url).results == {"cached"}
        assert server.counts()["HEAD"] <= 3 * SCENES and server.counts().total() <= again
        assert server.counts()["GET"] == 1  # the list of what was replaced
    stores._remote_store.cache_clear()
    folders = [scene_bytes(tmp_path / name) for name in ("first", "new", "no archives", "warm")]
    assert folders[0] and all(folder == folders[0] for folder in folders)


def test_what_reads_a_run_reads_a_store_far_away_from_a_new_machine(
    small_photo: SmallPhoto, inline_runs: None, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch, object_server(patch) as server:
        on_a_new_machine(patch, tmp_path / "one")
        profile = tmp_path / "mine.yaml"
        lite = (ROOT / "configs" / "lite.yaml").read_text()
        profile.write_text(f"store: {server.url}\n{lite}")
        run = tmp_path / "run"
        words = ["run", *small_photo.options(), "--set=generate.backend=relief", "--set",
                 "generate.grid=8", "--profile", profile, "-o", run]  # fmt: skip
        assert call(*words).exit_code == 0
        glb = (run / "scene.glb").read_bytes()
        for number, words in enumerate([
            ["inspect", run, "--json"],
            ["inspect", run, "--html"],
            ["export", run, "--format", "obj", "-o", tmp_path / "exported"],
            ["quality", run, "--json"],
            ["brief", run],
            ["store", "verify", "--store", server.url],
        ]):  # fmt: skip
            on_a_new_machine(patch, tmp_path / str(number))
            made = call(*words)
            assert made.exit_code in (0, 1) and not isinstance(made.exception, Exception), words
            assert "missing" not in made.output and "damaged;" not in made.output, made.output
        on_a_new_machine(patch, tmp_path / "last")
        again = call(
            "run",
            *small_photo.options(),
            "--set=generate.backend=relief",
            "--set",
            "generate.grid=8",
            "--profile",
            profile,
            "-o",
            tmp_path / "again",
            "--json",
        )
        assert again.exit_code == 0 and (tmp_path / "again" / "scene.glb").read_bytes() == glb
    stores._remote_store.cache_clear()


def _again(
    server: ObjectServer, patch: pytest.MonkeyPatch, folder: Path, photos: Path,
    small_photo: SmallPhoto, name: str, lost: bool = False,
) -> int:  # fmt: skip
    """How many requests a new machine makes that has nothing to compute."""
    on_a_new_machine(patch, folder / f"home of {name}")
    if lost:
        store = stores.open_store(server.url)
        for entry in list(store.blobs.listed("archives")):
            store.blobs.remove(entry.name)
    server.requests.clear()
    assert make(photos, small_photo, folder / name, server.url).results == {"cached"}
    return server.counts().total()


@pytest.mark.long
def test_two_batches_at_once_share_their_work_on_a_bad_server(tmp_path: Path) -> None:
    table = together_table(1, tmp_path, {"both": {"lost": 0.05, "doubled": 0.05}})
    steps, computed, twice = (int(cell) for cell in table.splitlines()[-1].split("|")[2:5])
    assert steps == 2 * (computed - twice) and twice <= 2
