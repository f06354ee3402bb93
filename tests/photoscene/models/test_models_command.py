"""`photoscene models`: list, pull and verify against a small hub on loopback."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import Result

from photoscene.models.hub import Hub as HubAccess
from photoscene.models.hub import HubUnreachable, check_reachable
from stages.model_record import RECORD_NAME, matching, read_record
from stages.model_table import known_model, model_table
from stages.weights import (
    MEMO_NAME,
    MissingWeights,
    cached_revision,
    hub_cache,
    weights_digest,
    weights_folder,
    weights_places,
)
from support.hub import Hub, Repository, git_id, running_hub, sha256
from support.small_photo import call

PATIENCE_S = 120  # with what answers in a moment on a machine with nothing else to do
ONE, TWO = "1" * 40, "2" * 40
RANDOM = np.random.default_rng(6)
PART = [RANDOM.bytes(200_000), RANDOM.bytes(150_000)]
BIG = RANDOM.bytes(40 << 20)
INDEX = json.dumps({"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}).encode()
THING = {
    "config.json": b'{"kind": "thing"}',
    "parts/a.safetensors": PART[0],
    "parts/b.safetensors": PART[1],
    "parts/model.safetensors.index.json": INDEX,
    "README.md": b"not wanted",
    "deep/parts/c.safetensors": b"not wanted",
}
ROW = {"stage": "generate", "backend": "pixal3d", "gigabytes": 0.1, "licence": "MIT", "about": "x"}
TABLE = {
    "thing": {**ROW, "repo": "maker/thing", "revision": ONE, "licence": "Apache-2.0",
              "files": ["config.json", "parts/*.safetensors", "parts/*.index.json"],
              "sha256": {"parts/a.safetensors": sha256(PART[0])}},
    "big": {**ROW, "repo": "maker/big", "revision": ONE, "files": ["model.safetensors"]},
    "closed": {**ROW, "repo": "maker/closed", "revision": ONE, "files": ["model.safetensors"],
               "gated": True, "instead": "thing"},
    "loose": {**ROW, "repo": "maker/loose", "revision": "", "files": ["config.json"]},
    "pickled": {**ROW, "repo": "maker/pickled", "revision": ONE, "files": ["parts/*"]},
    "cooked": {**ROW, "repo": "maker/cooked", "revision": ONE, "files": ["model.pt"],
               "stage": "map_points", "backend": "moge"},
    "parts": {**ROW, "repo": "maker/parts", "revision": ONE, "backend": "direct3d_s2",
              "files": ["v/model_refiner.ckpt"]},
    "addition": {**ROW, "repo": "maker/thing", "revision": ONE, "files": ["extra.safetensors"],
                 "also": ["thing"]},
}  # fmt: skip


def repositories() -> dict[str, Repository]:
    """What the hub of a test holds."""
    return {
        "maker/thing": Repository(ONE, {**THING, "extra.safetensors": b"more"}),
        "maker/big": Repository(ONE, {"model.safetensors": BIG}),
        "maker/closed": Repository(ONE, {"model.safetensors": b"x"}, True, ("secret",)),
        "maker/loose": Repository(ONE, {"config.json": b"{}"}),
        "maker/pickled": Repository(ONE, {"parts/a.safetensors": b"1", "parts/b.bin": b"2"}),
    }


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub with the repositories, and a machine that knows the table and has no model yet."""
    pytest.importorskip("huggingface_hub", reason="pulling needs it: pip install '.[full]'")
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(TABLE, sort_keys=False))
    monkeypatch.setattr("stages.model_table.resources", lambda package: tmp_path)
    monkeypatch.setattr("photoscene.cli.manage_models.PATIENCE_S", PATIENCE_S)
    model_table.cache_clear()
    with running_hub(repositories()) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running
    model_table.cache_clear()


def environment(folder: Path) -> dict[str, str]:
    """Variables that keep everything in one folder and on this machine."""
    return {
        "PHOTOSCENE_MODELS": str(folder / "models"),
        "HF_HUB_CACHE": str(folder / "hub"),
        "HF_HOME": str(folder / "home"),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


@pytest.fixture
def thing(hub: Hub, tmp_path: Path) -> Path:
    """The folder of a model that was pulled whole; the hub has forgotten it."""
    done = call("models", "pull", "thing")
    assert done.exit_code == 0, done.output
    hub.forget()
    return tmp_path / "models" / "maker" / "thing"


def pulled(*arguments: object) -> dict:
    result = call("models", "pull", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["models"][0]


def states(result: Result) -> dict[str, str]:
    """What verify --json found of the first model, file by file."""
    return {f["file"]: f["state"] for f in json.loads(result.stdout)["models"][0]["findings"]}


def test_pull_brings_exactly_the_files_of_the_row(hub: Hub, tmp_path: Path) -> None:
    told = pulled("thing")
    folder = tmp_path / "models" / "maker" / "thing"
    names = matching(THING, known_model("thing").files)
    assert sorted(told["fetched"]) == sorted(names) and told["commit"] == ONE
    assert told["bytes_fetched"] == sum(len(THING[name]) for name in names)
    files = {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()}
    assert files == {*names, RECORD_NAME, MEMO_NAME}
    assert not any(f.is_symlink() for f in folder.rglob("*"))
    assert all((folder / name).read_bytes() == THING[name] for name in names)
    record = read_record(folder)
    assert record is not None and (record.repo, record.commit) == ("maker/thing", ONE)
    large, small = record.files["parts/a.safetensors"], record.files["config.json"]
    assert (large.bytes, large.sha256) == (200_000, sha256(PART[0]))
    assert large.known_by == "hub sha256" and small.known_by == "hub git id"
    assert small.sha256 == sha256(THING["config.json"])
    assert small.git_id == git_id(THING["config.json"])


def test_a_pulled_model_is_found_and_need_not_be_read_for_its_digest(thing: Path) -> None:
    """The first run believes what pull remembered; the record itself is no part of the digest."""
    assert weights_folder("", "thing", "generate") == thing
    patterns = ("*.json", "parts/*")
    before = weights_digest(thing, patterns)
    memo = json.loads((thing / MEMO_NAME).read_text())
    assert memo["parts/b.safetensors"][2] == sha256(PART[1])
    memo["parts/b.safetensors"][2] = "0" * 64
    (thing / MEMO_NAME).write_text(json.dumps(memo))
    assert weights_digest(thing, patterns) != before
    (thing / RECORD_NAME).unlink()
    (thing / MEMO_NAME).unlink()
    assert weights_digest(thing, patterns) == before


def test_what_is_there_whole_needs_no_network(
    thing: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = call("models", "pull", "thing")
    assert result.exit_code == 0 and f"already there, {thing}" in result.stdout
    assert hub.requests == []


def test_a_mirror_is_written_where_it_is_asked_for(hub: Hub, tmp_path: Path) -> None:
    told = pulled("thing", "--to", tmp_path / "mirror")
    assert told["folder"] == str(tmp_path / "mirror" / "maker" / "thing")
    assert not (tmp_path / "models").exists()
    verified = call("models", "verify", "thing")
    assert verified.exit_code == 3 and "thing is not in" in verified.stderr


def test_a_mirror_that_is_copied_is_whole_elsewhere(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulled("thing", "--to", tmp_path / "mirror")
    (tmp_path / "mirror").rename(tmp_path / "node")
    monkeypatch.setenv("PHOTOSCENE_MODELS", str(tmp_path / "node"))
    assert call("models", "verify", "thing").exit_code == 0
    assert weights_folder("", "thing", "generate") == tmp_path / "node" / "maker" / "thing"


def test_models_that_it_needs_come_along(hub: Hub, tmp_path: Path) -> None:
    """Both are of one repository: one folder and one record hold them."""
    result = call("models", "pull", "addition", "--json")
    assert [m["name"] for m in json.loads(result.stdout)["models"]] == ["addition", "thing"]
    folder = tmp_path / "models" / "maker" / "thing"
    record = read_record(folder)
    assert record is not None and {"extra.safetensors", "config.json"} < set(record.files)
    assert call("models", "verify", "thing", "addition").exit_code == 0


RUN = """
import pathlib, sys
import stages.model_table
folder = pathlib.Path(sys.argv.pop(1))
stages.model_table.resources = lambda package: folder
from photoscene.cli import app
app(prog_name="photoscene")
"""


# Every try of a connection looks an address up first.
COUNT_TRIES = """
import pathlib, sys
tries = pathlib.Path(sys.argv[1]) / "tries"
tries.touch()
def note(event, arguments):
    if event == "socket.getaddrinfo":
        with tries.open("a") as file:
            print(arguments[0], file=file)
sys.addaudithook(note)
"""


def start(folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """The command in a process of its own, with the table that lies in a folder."""
    command = [sys.executable, "-c", COUNT_TRIES + RUN, str(folder), *arguments]
    env = {**os.environ, **variables}
    return subprocess.Popen(
        command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.slow
def test_a_killed_pull_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    hub.bytes_per_s = 24 << 20
    process = start(tmp_path, "models", "pull", "big", "--wait", f"{PATIENCE_S}")
    folder = tmp_path / "models" / "maker" / "big"
    while not (there := sum(f.stat().st_size for f in folder.glob("*.incomplete"))) >= 10 << 20:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "model.safetensors").exists()
    with pytest.raises(MissingWeights, match="model.safetensors of the weights big"):
        weights_folder("", "big", "generate")
    while hub.sending:
        time.sleep(0.02)
    hub.forget()
    hub.bytes_per_s = 0
    told = pulled("big")
    assert hub.sent["model.safetensors"] <= len(BIG) - there
    assert told["bytes_fetched"] == hub.sent["model.safetensors"] < len(BIG)
    assert (folder / "model.safetensors").read_bytes() == BIG
    assert [f.name for f in folder.glob("*incomplete*")] == []


def test_a_connection_that_breaks_off_is_taken_up_again(hub: Hub, tmp_path: Path) -> None:
    hub.break_after, hub.breaks = 24 << 20, 1
    pulled("big")
    assert hub.breaks == 0 and len(BIG) < hub.sent["model.safetensors"] < 1.3 * len(BIG)
    assert (tmp_path / "models" / "maker" / "big" / "model.safetensors").read_bytes() == BIG


@pytest.mark.slow
def test_two_pulls_of_one_file_do_not_mix(hub: Hub, tmp_path: Path) -> None:
    hub.bytes_per_s = 16 << 20
    first = start(tmp_path, "models", "pull", "big", "--wait", f"{PATIENCE_S}")
    folder = tmp_path / "models" / "maker" / "big"
    while not any(f.stat().st_size for f in folder.glob("*.incomplete")):
        assert first.poll() is None
        time.sleep(0.02)
    second = call("models", "pull", "big")
    assert second.exit_code == 3 and "another process is fetching" in second.stderr
    assert first.wait() == 0
    assert call("models", "verify", "big").exit_code == 0


def flip_a_byte(file: Path) -> None:
    """As a bad disk does it: size and time stay."""
    status = file.stat()
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


DAMAGE = {
    "a flipped byte": (flip_a_byte, "changed"),
    "a truncated file": (lambda f: f.write_bytes(f.read_bytes()[:-1]), "truncated"),
    "a missing file": (lambda f: f.unlink(), "missing"),
}


@pytest.mark.parametrize("case", DAMAGE)
@pytest.mark.parametrize("name", ["parts/b.safetensors", "parts/a.safetensors"])
def test_damage_is_found_and_only_the_damaged_file_fetched_again(
    case: str, name: str, thing: Path, hub: Hub
) -> None:
    damage, state = DAMAGE[case]
    damage(thing / name)
    found = call("models", "verify", "thing", "--json")
    assert found.exit_code == 1
    wrong = {f: s for f, s in states(found).items() if s != "whole"}
    assert wrong == {name: state}
    text = call("models", "verify").stdout
    assert "DAMAGED" in text and f"{name}" in text and "photoscene models pull thing" in text
    assert pulled("thing")["fetched"] == [name]
    assert list(hub.sent) == [name]
    assert call("models", "verify", "thing").exit_code == 0


def test_a_damaged_file_is_never_believed_after_it_was_found(thing: Path) -> None:
    before = weights_digest(thing, ("parts/*",))
    flip_a_byte(thing / "parts" / "b.safetensors")
    assert weights_digest(thing, ("parts/*",)) == before  # size and time are the same
    call("models", "verify", "thing")
    assert weights_digest(thing, ("parts/*",)) != before


def test_a_wrong_revision_is_found_and_mended(
    thing: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table pins another commit now, in which one file differs."""
    table = {**TABLE, "thing": {**TABLE["thing"], "revision": TWO}}
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(table))
    model_table.cache_clear()
    found = call("models", "verify", "thing", "--json")
    assert found.exit_code == 1 and states(found)[""] == "revision"
    new = {**THING, "config.json": b'{"kind": "new"}'}
    hub.repositories["maker/thing"] = Repository(TWO, new)
    assert pulled("thing")["fetched"] == ["config.json"]
    assert call("models", "verify", "thing").exit_code == 0


def test_a_pickle_is_refused_and_found(hub: Hub, thing: Path) -> None:
    refused = call("models", "pull", "pickled")
    assert refused.exit_code == 3 and "parts/b.bin, a pickle" in refused.stderr
    assert hub.sent == {}
    (thing / "parts" / "pytorch_model.bin").write_bytes(b"x")
    found = call("models", "verify", "thing")
    assert found.exit_code == 1 and "pickle parts/pytorch_model.bin" in found.stdout
    assert f"delete {thing / 'parts' / 'pytorch_model.bin'}" in found.stdout


def test_a_named_pickle_becomes_safetensors_once(hub: Hub, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="reads the pickle: pip install '.[pixal3d]'")
    content = tmp_path / "model.pt"
    torch.save({"model_config": {"a": 1}, "model": {"w": torch.ones(3)}}, content)
    hub.repositories["maker/cooked"] = Repository(ONE, {"model.pt": content.read_bytes()})
    pulled("cooked")
    folder = tmp_path / "models" / "maker" / "cooked"
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert call("models", "verify", "cooked").exit_code == 0
    pulled("cooked")
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    (folder / "model.safetensors").write_bytes(b"damaged")
    found = call("models", "verify", "cooked", "--json")
    assert states(found)["model.safetensors"] == "truncated"
    hub.forget()
    pulled("cooked")
    assert hub.sent == {} and call("models", "verify", "cooked").exit_code == 0


class Code:
    """What makes a file when it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple:
        return Path.touch, (self.made,)


def test_a_pickle_of_parts_is_converted_and_one_with_code_is_refused(
    hub: Hub, tmp_path: Path
) -> None:
    """As Direct3D-S2 is released: nothing in the file is carried out."""
    torch = pytest.importorskip("torch", reason="reads the pickle: pip install '.[pixal3d]'")
    from safetensors.torch import load_file

    file, folder, made = tmp_path / "x.ckpt", tmp_path / "models/maker/parts/v", tmp_path / "made"
    torch.save({"refiner": {"w": torch.ones(3), "code": Code(made)}}, file)
    hub.repositories["maker/parts"] = Repository(ONE, {"v/model_refiner.ckpt": file.read_bytes()})
    refused = call("models", "pull", "parts")
    assert refused.exit_code == 3 and len(refused.stderr.strip().splitlines()) == 1
    assert "v/model_refiner.ckpt is damaged, or holds more than tensors" in refused.stderr
    assert "free some space" not in refused.stderr
    assert not made.exists() and not list(folder.glob("*.safetensors"))
    torch.save({"refiner": {"w": torch.ones(3)}}, file)
    (folder / "model_refiner.ckpt").unlink()
    (folder.parent / RECORD_NAME).unlink()
    hub.repositories["maker/parts"] = Repository(ONE, {"v/model_refiner.ckpt": file.read_bytes()})
    pulled("parts")
    assert load_file(folder / "model_refiner.safetensors")["refiner.w"].tolist() == [1, 1, 1]
    assert call("models", "verify", "parts").exit_code == 0


def test_a_gated_repository_says_where_to_go(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result = call("models", "pull", "closed", "thing")
    assert result.exit_code == 3 and len(result.stderr.strip().splitlines()) == 1
    assert "you are not logged in: visit https://huggingface.co/maker/closed" in result.stderr
    assert "`hf auth login` (or set HF_TOKEN)" in result.stderr
    assert "ungated instead: `photoscene models pull thing`" in result.stderr
    assert "thing: fetched" in result.stdout  # one that is refused stops no other
    assert call("models", "verify", "closed").exit_code == 3
    monkeypatch.setenv("HF_TOKEN", "unknown")
    assert "your token has no access to it yet" in call("models", "pull", "closed").stderr
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert call("models", "pull", "closed").exit_code == 0
    assert hub.sent["model.safetensors"] == 1 and hub.tokens_at_cdn == 0


def test_without_a_pinned_commit_the_first_one_stays(hub: Hub, tmp_path: Path) -> None:
    first = pulled("loose")
    assert first["commit"] == ONE and f"commit {ONE} is recorded" in first["note"]
    hub.repositories["maker/loose"] = Repository(TWO, {"config.json": b"[]"})
    assert pulled("loose")["commit"] == ONE
    (tmp_path / "models" / "maker" / "loose" / "config.json").unlink()
    gone = call("models", "pull", "loose")
    assert gone.exit_code == 3 and f"{ONE} any more" in gone.stderr


def test_a_hub_with_other_contents_is_not_trusted(hub: Hub, tmp_path: Path) -> None:
    other = {**THING, "parts/a.safetensors": b"other"}
    hub.repositories["maker/thing"] = Repository(ONE, other)
    result = call("models", "pull", "thing")
    assert result.exit_code == 3 and "photoscene knows it as" in result.stderr
    assert hub.sent == {}


def test_bytes_that_differ_from_the_listing_do_not_count(hub: Hub, tmp_path: Path) -> None:
    hub.spoil = True
    result = call("models", "pull", "big")
    assert result.exit_code == 3 and "arrived with other bytes" in result.stderr
    assert not (tmp_path / "models" / "maker" / "big" / "model.safetensors").exists()
    hub.spoil = False
    assert call("models", "pull", "big").exit_code == 0


def test_a_repository_that_is_not_there(hub: Hub) -> None:
    del hub.repositories["maker/big"]
    result = call("models", "pull", "big")
    assert result.exit_code == 3 and "has no repository maker/big, or your token" in result.stderr


@pytest.mark.slow
def test_bars_are_for_terminals(hub: Hub, tmp_path: Path) -> None:
    pexpect = pytest.importorskip("pexpect", reason="plays a terminal; part of the extra dev")
    quiet = call("models", "pull", "loose")
    assert quiet.exit_code == 0 and quiet.stderr == ""
    words = [sys.executable, "-c", RUN, str(tmp_path)]
    words += ["models", "pull", "thing", "--wait", f"{PATIENCE_S}"]
    shown = pexpect.run(shlex.join(words), timeout=PATIENCE_S).decode()
    assert "all files" in shown and "thing: fetched 4 files" in shown
    shown = pexpect.run(shlex.join([*words, "--json"]), timeout=PATIENCE_S).decode()
    assert '"fetched"' in shown and "all files" not in shown


def test_a_full_disk_is_said_before_the_first_byte(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("photoscene.models.pull.SPARE_BYTES", 1 << 60)
    result = call("models", "pull", "big")
    assert result.exit_code == 3 and "GB are to come: free some space" in result.stderr
    assert hub.sent == {}


def test_a_folder_that_may_not_be_written(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = call("models", "pull", "thing", "--to", tmp_path / "file")
    assert result.exit_code == 3 and "choose another folder by --to" in result.stderr


@pytest.fixture
def cached(hub: Hub, tmp_path: Path) -> Path:
    """A snapshot of `thing` in the hub's cache, as its own library writes it."""
    from huggingface_hub import snapshot_download

    snapshot = snapshot_download(
        "maker/thing", revision=ONE, endpoint=hub.url, cache_dir=tmp_path / "hub",
        allow_patterns=list(known_model("thing").files),
    )  # fmt: skip
    hub.forget()
    return Path(snapshot)


def test_the_hubs_cache_is_used_and_verified(cached: Path, hub: Hub, tmp_path: Path) -> None:
    there = call("models", "pull", "thing")
    assert f"already there, {cached}" in there.stdout and hub.requests == []
    assert call("models", "verify", "thing").exit_code == 0
    listed = json.loads(call("models", "list", "--profile", "lite", "--json").stdout)
    assert listed["models"] == []


@pytest.mark.parametrize("name", ["parts/b.safetensors", "config.json"])
def test_damage_in_the_hubs_cache_is_found_and_mended(
    name: str, cached: Path, hub: Hub, tmp_path: Path
) -> None:
    blob = (cached / name).resolve()
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    found = call("models", "verify", "thing", "--json")
    assert found.exit_code == 1 and states(found)[name] == "changed"
    assert f"delete {blob}, then photoscene models pull thing" in found.stdout
    blob.unlink()
    assert states(call("models", "verify", "thing", "--json"))[name] == "missing"
    assert pulled("thing")["fetched"] == [name]
    assert list(hub.sent) == [name]  # the others' bytes are taken from the cache
    assert weights_folder("", "thing", "generate") == tmp_path / "models" / "maker" / "thing"


def test_a_shard_that_never_came_is_missed_by_the_index(cached: Path) -> None:
    (cached / "parts" / "b.safetensors").unlink()
    assert states(call("models", "verify", "thing", "--json"))["parts/b.safetensors"] == "missing"


def test_another_snapshot_of_the_hubs_cache_is_the_wrong_revision(cached: Path) -> None:
    cached.rename(cached.with_name(TWO))
    assert states(call("models", "verify", "thing", "--json"))[""] == "revision"


def test_files_put_there_by_hand(hub: Hub, tmp_path: Path) -> None:
    """The table knows one of them; of the others only a pull can say that they are right."""
    folder = tmp_path / "models" / "maker" / "thing"
    for name in matching(THING, known_model("thing").files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(THING[name])
    found = call("models", "verify", "thing", "--json")
    assert found.exit_code == 0
    assert states(found)["parts/a.safetensors"] == "whole"
    assert states(found)["parts/b.safetensors"] == "unknown"
    assert sha256(PART[1]) in call("models", "verify", "thing").stdout
    told = pulled("thing")
    assert told["fetched"] == [] and told["kept"] == 4 and hub.sent == {}
    assert set(states(call("models", "verify", "thing", "--json")).values()) == {"whole"}


def test_list(thing: Path) -> None:
    """Every row, in words and for machines."""
    from photoscene.models.listing import listing, listing_table

    found = listing(list(model_table()), {"mine": ["thing", "big"]})
    rows = {row["name"]: row for row in found["models"]}
    assert list(rows) == list(TABLE)
    assert rows["thing"]["here"] and rows["thing"]["folder"] == str(thing)
    assert rows["big"]["missing"] == ["model.safetensors"] and not rows["big"]["here"]
    assert found["profiles"]["mine"] == {
        "models": ["thing", "big"], "gigabytes": 0.2, "missing_gigabytes": 0.1
    }  # fmt: skip
    text = listing_table(found)
    assert f"maker/thing @ {ONE[:12]}" in text and "Apache-2.0" in text
    assert "ask for access at https://huggingface.co/maker/closed" in text
    assert "profile mine: thing, big: 0.2 GB, 0.1 GB not here" in text
    (thing / "parts" / "a.safetensors").unlink()
    text = listing_table(listing(["thing"], {}))
    assert "partly here" in text and f"in {thing} without parts/a.safetensors" in text


MISTAKES = {
    "nothing named": (("pull",), "give NAME..., or --profile"),
    "both": (("pull", "thing", "--profile", "lite"), "give NAME..., or --profile"),
    "unknown model": (("pull", "thin"), "did you mean thing?"),
    "unknown profile": (("list", "--profile", "none"), "unknown profile 'none'"),
    "no weights": (("pull", "--profile", "lite"), "it needs no weights"),
    "verify": (("verify", "bog"), "did you mean big?"),
    "wait": (("pull", "thing", "--wait", "0"), "--wait 0: expected 0 to 600 seconds"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_one_line(case: str, hub: Hub) -> None:
    arguments, message = MISTAKES[case]
    result = call("models", *arguments)
    assert result.exit_code == 2 and message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1 and hub.requests == []


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def refused() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}"


OFFLINE = {
    "silent": "no answer from",
    "refused": "cannot be reached (Connection refused)",
    "no name": "cannot be reached",
    "told": "HF_HUB_OFFLINE is set",
}


@pytest.mark.parametrize("case", OFFLINE)
def test_without_a_network_it_is_said_at_once_what_lacks_and_where_it_belongs(
    case: str, hub: Hub, silent: str, refused: str, tmp_path: Path
) -> None:
    """The command as a process, against addresses that give no answer: each is tried once."""
    addresses = {"silent": silent, "refused": refused, "no name": "http://nowhere.invalid"}
    told = {"HF_HUB_OFFLINE": "1"} if case == "told" else {}
    address = addresses.get(case, hub.url)
    process = start(tmp_path, "models", "pull", "thing", "big", HF_ENDPOINT=address, **told)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3
    lines = errors.strip().splitlines()
    assert len(lines) == 2
    assert OFFLINE[case] in lines[0]
    assert "missing or damaged: config.json, parts/*.safetensors" in lines[0]
    assert str(tmp_path / "models" / "maker" / "thing") in lines[0] and ONE in lines[0]
    host = "nowhere.invalid" if case == "no name" else "127.0.0.1"
    assert (tmp_path / "tries").read_text().split() == ([] if told else [host])


def test_the_first_answer_is_waited_for_within_bounds(hub: Hub, silent: str) -> None:
    with pytest.raises(HubUnreachable, match=r"within 0\.4 s"):
        check_reachable(HubAccess(silent, patience_s=0.4))
    check_reachable(HubAccess(hub.url, patience_s=PATIENCE_S))


@pytest.mark.parametrize("written", [b"", b"\xff\xfe", b"a\x00b", b"../../elsewhere", b"a b"])
def test_a_damaged_reference_of_the_hubs_cache_names_no_commit(
    written: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    entry = replace(next(iter(model_table().values())), revision="")
    main = hub_cache(entry) / "refs" / "main"
    main.parent.mkdir(parents=True)
    main.write_bytes(written)
    assert cached_revision(entry) == "" and len(weights_places(entry)) == 1
    main.write_text("1a2b\n")
    assert weights_places(entry)[-1] == hub_cache(entry) / "snapshots" / "1a2b"
