"""What a folder or a manifest says: names that stay apart, and lines that cannot be used."""

from __future__ import annotations

import errno
import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from photoscene.batch.entries import Entry, entry_from_json, entry_to_json, shard_of
from photoscene.batch.run import MAX_SHARD, shards_of
from photoscene.batch.sources import Chosen, read_entries
from photoscene.batch.summary import check_output, keep_summary
from photoscene.inputs.request import Arguments
from scene.errors import BadInput
from support.batches import write_manifest

DEFAULTS = Arguments(Path(), settings=("generate.grid=8",), seed=3)


def folder_of(root: Path, *names: str) -> Path:
    """A folder with files of these names; each holds its own name."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def entries(source: Path, *globs: str, root: Path | None = None, **chosen: Any) -> list[Entry]:
    return read_entries(source, root, DEFAULTS, Chosen(globs, **chosen), source.parent / "out")


def manifest_entries(
    tmp_path: Path, lines: Sequence[Mapping[str, Any] | str], **options: Any
) -> list[Entry]:
    folder_of(tmp_path, "a.jpg", "b.jpg", "sub/a.jpg", "m.png", "p.json")
    return entries(write_manifest(tmp_path / "all.jsonl", lines), **options)


def names(found: Sequence[Entry]) -> list[str]:
    return [entry.name for entry in found]


def test_a_folder_gives_its_photos_and_nothing_of_a_run(tmp_path: Path) -> None:
    photos = folder_of(
        tmp_path / "photos", "b.JPG", "a.png", "deep/er/c.heic", "notes.txt", ".hidden.png",
        ".git/d.png", "run/photo.png", "other/run.json", "other/e.png",
    )  # fmt: skip
    (photos / "run" / "run.json").write_text('{"format": "photoscene-run/1"}')
    folder_of(photos / "out", "x/photo.png")
    found = read_entries(photos, None, DEFAULTS, Chosen(), photos / "out")
    assert names(found) == ["a", "b", "deep/er/c", "other/e"]
    assert found[2].arguments is not None
    assert found[2].arguments.photo == photos / "deep" / "er" / "c.heic"
    assert (found[2].arguments.seed, found[2].line) == (3, None)
    assert names(entries(photos, "*.png")) == ["a", "other/e", "out/x/photo"]
    assert names(entries(photos, "deep/*")) == ["deep/er/c"]
    assert names(entries(photos, exclude=("a*", "out/*", "other/*"))) == ["b", "deep/er/c"]
    assert names(entries(photos, limit=1)) == ["a"]
    with pytest.raises(BadInput, match="leave none of 5"):
        entries(photos, "*.gif")
    with pytest.raises(BadInput, match="has no photo"):
        entries(folder_of(tmp_path / "empty", "x.txt"))


def test_a_folder_that_cannot_be_read_is_a_scene_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = folder_of(tmp_path / "photos", "a.png", "closed/b.png")
    scan = os.scandir

    def refusing(path: str) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = entries(photos)
    assert names(found) == ["a", ""]
    assert (found[1].photo, found[1].fault) == (
        "closed", "folder cannot be read (Permission denied): make it readable"
    )  # fmt: skip


def test_no_photo_has_its_scene_outside_or_among_the_files_of_the_batch(tmp_path: Path) -> None:
    """Nor a name too long for the files that are called after it."""
    photos = folder_of(tmp_path, "...png", ".batch.png", "sub/trail ..png", "index.html.png",
                       "x" * 246 + ".png", "é" * 120 + ".png", "batch.json/a.png")  # fmt: skip
    lines = [
        {"photo": path.relative_to(photos).as_posix()} for path in sorted(photos.rglob("*.*p*g"))
    ]
    found = entries(write_manifest(tmp_path / "all.jsonl", lines))
    assert [e.fault for e in found if "own files are there" not in e.fault] == [""] * 6
    assert sorted(n.rpartition("_")[0] or n for n in names(found)) == [
        "batch", "batch.json/a", "index.html", "photo", "sub/trail", "x" * 193, "é" * 96
    ]  # fmt: skip


def test_a_scene_has_one_name_whichever_are_chosen(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "p", "cup.jpg", "cup.png", "pan.png")
    assert [*names(entries(photos, "*.jpg")), *names(entries(photos, "*.png"))] == names(
        entries(photos)
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system_and_nowhere_else(tmp_path: Path, end: str) -> None:
    folder_of(tmp_path, "a.jpg", "b.jpg")
    texts = ['{"photo": "a.jpg", "text": "one\u2028\x85line"}', '{"photo": "b.jpg"}', ""]
    (tmp_path / "l.jsonl").write_bytes(end.join(texts).encode())
    found = entries(tmp_path / "l.jsonl")
    assert [(e.line, e.fault) for e in found] == [(1, ""), (2, "")]
    (tmp_path / "t.csv").write_bytes(end.join(["photo,text", 'a.jpg,"a, b"', "b.jpg,c"]).encode())
    assert [e.fault for e in entries(tmp_path / "t.csv")] == ["", ""]


def test_paths_are_below_the_manifests_folder_also_when_one_works_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of(tmp_path, "out.jpg", "in/a.jpg", "in/b.jpg", "in/c.jpg")
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path / "in")
    write_manifest(Path("l.jsonl"), [
        {"photo": "../out.jpg"}, {"photo": str(tmp_path / "in" / "a.jpg")},
        {"photo": "./x/../b.jpg"}, {"photo": "link/../c.jpg"},
    ])  # fmt: skip
    outside, *inside = entries(Path("l.jsonl"))
    assert "leads out of" in outside.fault
    assert [(e.name, e.fault) for e in inside] == [("a", ""), ("b", ""), ("c", "")]


def test_names_that_a_disk_may_take_for_one_another_get_digits(tmp_path: Path) -> None:
    accent = unicodedata.normalize("NFD", "é")
    photos = folder_of(tmp_path / "p", "cup.jpg", "cup.png", "Pan.jpg", "pan.jpeg", "one.jpg",
                       "é.jpg", f"{accent}.png", "bowl.jpg", "bowl/top.jpg")  # fmt: skip
    found = names(entries(photos))
    assert len({unicodedata.normalize("NFC", n).casefold() for n in found}) == 9
    assert [n for n in found if "_" not in n] == ["bowl/top", "one"]
    assert all(len(n.rpartition("_")[2]) == 6 for n in found if "_" in n)
    assert names(entries(photos)) == found


def test_a_line_is_what_the_options_of_run_are(tmp_path: Path) -> None:
    line = {
        "photo": "sub/a.jpg", "point": [[1, 2], [3, 4.5]], "box": [1, 2, 3, 4], "text": "cup",
        "set": {"generate.grid": 16, "complete.backend": "inpaint"}, "fov": 40, "seed": 2**60,
        "prompts": "p.json", "objects": [{"box": [1, 2, 3, 4]}], "name": "Küche/eins",
    }  # fmt: skip
    (found,) = manifest_entries(tmp_path, [line])
    assert found.fault == "" and found.name == "Küche/eins" and found.arguments is not None
    assert found.arguments == Arguments(
        tmp_path / "sub" / "a.jpg", texts=("cup",), points=("1,2", "3,4.5"), boxes=("1,2,3,4",),
        prompts=tmp_path / "p.json", objects=({"box": [1, 2, 3, 4]},), fov_x_deg=40, seed=2**60,
        settings=("generate.grid=8", "generate.grid=16", 'complete.backend="inpaint"'),
    )  # fmt: skip
    assert entry_from_json(json.loads(json.dumps(entry_to_json(found)))) == found


def test_a_table_is_what_lines_are(tmp_path: Path) -> None:
    folder_of(tmp_path, "a.jpg", "m.png", "n.png")
    rows = ["\ufeffPhoto,name,mask,set,seed", "a.jpg,one,m.png;n.png,generate.grid=9,7", "",
            "a.jpg,two,,,", "a.jpg,x,,,,9"]  # fmt: skip
    (tmp_path / "t.csv").write_text("\r\n".join(rows), "utf-8")
    one, two, bad = entries(tmp_path / "t.csv")
    assert one.arguments is not None and two.arguments is not None
    assert one.arguments.masks == (tmp_path / "m.png", tmp_path / "n.png")
    assert (one.arguments.settings[-1], one.arguments.seed) == ("generate.grid=9", 7)
    assert (two.arguments.masks, two.arguments.seed, two.line) == ((), 3, 4)
    assert (bad.line, bad.fault) == (5, "has 6 cells, the first line has 5: mend it")
    (tmp_path / "t.tsv").write_text("photo\tname\na.jpg\tone\n")
    assert names(entries(tmp_path / "t.tsv")) == ["one"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "is not JSON"),
        ("[1]", "is no JSON object"),
        ("[" * 5000, "nested too deeply"),
        ('{"photo": "a.jpg", "seed": %s}' % ("9" * 5000), "thousands of digits"),
        ('{"photo": "a.jpg", "objects": [{"box": [NaN, 1, 2, 3]}]}', "a number is not finite"),
        ({"photo": None}, "has no photo"),
        ({"photo": "sub"}, "is no file"),
        ({"photo": "x" * 300}, "does not exist"),
        ({}, "has no photo"),
        ({"photo": 3}, "photo 3: expected text"),
        ({"photo": "gone.jpg"}, "does not exist: check the name"),
        ({"photo": "../a.jpg"}, "leads out of"),
        ({"photo": "sub/../../a.jpg"}, "leads out of"),
        ({"photo": "/etc/passwd"}, "leads out of"),
        ({"photo": "https://x.org/a.jpg"}, "https://x.org/a.jpg is not on this machine"),
        ({"photo": "a.jpg", "mask": ["../m.png"]}, "mask ../m.png leads out of"),
        ({"photo": "a.jpg", "name": "../x"}, "name ../x: expected a name"),
        ({"photo": "a.jpg", "name": "/x"}, "expected a name"),
        ({"photo": "a.jpg", "name": ".batch/x"}, "the batch's own files"),
        ({"photo": "a.jpg", "name": "Index.html"}, "the batch's own files"),
        ({"photo": "a.jpg", "name": "index.html/x"}, "the batch's own files"),
        ({"photo": "a.jpg", "name": ".x"}, "a dot at its start hides it"),
        ({"photo": "a.jpg", "name": "x" * 300}, "at most 200 bytes"),
        ({"photo": "a.jpg", "name": "sub"}, "other scenes are to be in that folder"),
        ({"photo": "a.jpg", "name": "a\nb"}, "expected a name"),
        ({"photo": "a.jpg", "fov": "wide"}, "fov 'wide': expected a number"),
        ({"photo": "a.jpg", "seed": 1.5}, "seed 1.5: expected a whole number"),
        ({"photo": "a.jpg", "photos": 1}, "'photos': a line has name, photo,"),
        ({"photo": "a.jpg", "objects": {}}, "objects {}: expected"),
        ({"photo": "b.jpg"}, "is the same scene again"),
        ({"photo": "b.jpg", "seed": 9}, "would be written where that of line 1 (b.jpg) is"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_used_is_named_and_the_rest_stands(
    tmp_path: Path, line: Mapping[str, Any] | str, fault: str
) -> None:
    found = manifest_entries(tmp_path, [{"photo": "b.jpg"}, "", line, {"photo": "sub/a.jpg"}])
    assert [entry.line for entry in found] == [1, 3, 4]
    assert fault in found[1].fault
    assert (found[0].fault, found[2].fault) == ("", "")
    assert names(found)[::2] == ["b", "sub/a"]


def test_a_name_that_a_line_gives_is_kept_but_for_the_second_one(tmp_path: Path) -> None:
    lines = [{"photo": "b.jpg"}, {"photo": "a.jpg", "name": "B"}, {"photo": "b.jpg", "name": "b"}]
    found = manifest_entries(tmp_path, lines)
    assert [len(name) for name in names(found)] == [len("b_123456"), 1, 1]
    assert "would be written where that of line 2 (a.jpg) is" in found[2].fault


def test_a_root_is_where_all_paths_begin(tmp_path: Path) -> None:
    folder_of(tmp_path, "photos/a.jpg")
    manifest = write_manifest(folder_of(tmp_path / "lists", "x") / "all.jsonl", [
        {"photo": "../photos/a.jpg"}, {"photo": "photos/a.jpg"},
    ])  # fmt: skip
    inside, below = entries(manifest, root=tmp_path)
    assert "leads out of" in inside.fault and below.fault == ""
    assert names(entries(manifest, root=tmp_path / "lists" / "..")) == ["", "photos/a"]


@pytest.mark.parametrize(("shard", "count"), [("1/1", 7), ("1/3", 3), ("3/3", 2), ("9/9", 0)])
def test_every_entry_is_in_one_shard(shard: str, count: int) -> None:
    every = [Entry(str(i), i, "", None) for i in range(7)]
    assert len(shard_of(every, shard)) == count
    total = int(shard.partition("/")[2])
    parts = [shard_of(every, f"{i + 1}/{total}") for i in range(total)]
    assert sorted(names([e for part in parts for e in part])) == names(every)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/5", "²/3"])
def test_a_shard_is_a_number_of_a_count(text: str) -> None:
    with pytest.raises(BadInput, match="expected I/N with I from 1 to N"):
        shard_of([], text)


@pytest.mark.parametrize(("count", "workers"), [(1, 4), (100, 2), (17, 1), (33, 4), (1000, 3)])
def test_workers_have_shards_of_one_size(count: int, workers: int) -> None:
    every = [Entry(str(i), i, "", None) for i in range(count)]
    shards = shards_of(every, workers)
    sizes = [len(shard) for shard in shards]
    assert sum(sizes) == count and max(sizes) <= MAX_SHARD and max(sizes) - min(sizes) <= 1
    assert len(shards) % workers == 0 or len(shards) == count
    assert {entry.name for shard in shards for entry in shard} == set(names(every))


def test_a_source_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for source, reason in [
        (tmp_path / "gone", "does not exist: expected a folder of photos, or a manifest"),
        (tmp_path / "gone.jsonl", "does not exist"),
        (folder_of(tmp_path, "empty.jsonl") / "none.csv", "does not exist"),
    ]:
        with pytest.raises(BadInput, match=reason):
            entries(source)
    (tmp_path / "l.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="is not UTF-8"):
        entries(tmp_path / "l.jsonl")
    (tmp_path / "h.csv").write_text("name\nx\n")
    with pytest.raises(BadInput, match="has no column photo"):
        entries(tmp_path / "h.csv")
    (tmp_path / "n.jsonl").write_text("\n\n")
    with pytest.raises(BadInput, match="has no line"):
        entries(tmp_path / "n.jsonl")


@pytest.mark.parametrize("name", ["index.html", "batch.json", ".batch"])
def test_files_of_somebody_else_stay_where_the_batch_would_write(tmp_path: Path, name: str) -> None:
    folder_of(tmp_path / "out", name, "notes.txt")
    with pytest.raises(BadInput, match="is not of a batch and is kept: give another -o"):
        check_output(tmp_path / "out")
    assert (tmp_path / "out" / name).read_text() == name


def test_a_batch_may_go_on_where_one_has_written(tmp_path: Path) -> None:
    found = entries(folder_of(tmp_path / "photos", "a.png"))
    out = tmp_path / "out"
    check_output(out)
    keep_summary(found, out, {})
    check_output(out)
    (out / "index.html").write_text("<h1>my own page</h1>")
    with pytest.raises(BadInput, match=r"index\.html is not of a batch"):
        check_output(out)
