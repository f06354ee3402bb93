"""Choosing by hand: do entries mean what they say, is nothing lost, does a replay give the same?"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pexpect
import pytest
from PIL import Image

import stages.segment
from photoscene.choosing.choice_image import tick_step
from photoscene.choosing.entries import Choice, Session, begin, enter
from photoscene.choosing.inline_image import inline_image, protocol_of, sixel
from photoscene.choosing.prompt_file import ChosenPhoto, load_session, save_prompts
from scene.types import Bool, ObjectPrompt, Point
from support import BACKENDS
from support.small_photo import SmallPhoto, call, small_masks

PHOTOSCENE = str(Path(sys.executable).with_name("photoscene"))
PHOTO = ChosenPhoto("cup.jpg", "ab" * 32, 240, 180)
CUP = ObjectPrompt("cup", points=(Point(5, 6), Point(7, 8.5, False)))


def after(*entries: str) -> Choice:
    return begin((), entries).present


def test_points_boxes_and_labels_make_objects() -> None:
    choice = after("point 5 6", "not 7,8.5", "label cup", "next", "box 30 40 10 20", "select 1")
    assert choice.objects == (CUP, ObjectPrompt(box=(10, 20, 30, 40)))
    assert choice.current == 0
    assert after("p 5,6", "- 7 8.5", "l cup") == Choice((CUP,), 0)
    assert after("text red mug").objects == (ObjectPrompt("red mug", "red mug"),)
    assert len(after("point 1 1", "boxes 0 0 5 5; 6 6 9 9").objects) == 3


def test_what_words_found_becomes_named_objects() -> None:
    first, second = (ObjectPrompt("red: mug", "red: mug", b) for b in ((0, 0, 5, 5), (6, 6, 9, 9)))
    several = after("point 1 1", "found red: mug: 0 0 5 5; 6 6 9 9", "box 1 1 2 2")
    assert several.objects[1:] == (first, second, ObjectPrompt(box=(1, 1, 2, 2)))
    assert after("found red: mug: 0 0 5 5", "label mug").objects == (
        ObjectPrompt("mug", "red: mug", (0, 0, 5, 5)),
    )


def test_undo_and_redo_walk_through_the_choices() -> None:
    entries = ["point 5 6", "next", "box 1 1 9 9", "delete 1", "label pan"]
    states = [begin((), tuple(entries[:i])).present for i in range(len(entries) + 1)]
    session = begin((), tuple(entries))
    for expected in reversed(states[:-1]):
        session = enter(session, "undo")
        assert session.present == expected
    for expected in states[1:]:
        session = enter(session, "redo")
        assert session.present == expected
    with pytest.raises(ValueError, match="nothing was undone"):
        enter(session, "redo")
    assert begin((), session.entries) == session


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (["point 5"], "expected X Y"),
        (["found cup 1 2 3 4"], "found: expected WORDS: X0 Y0 X1 Y1"),
        (["found : 1 2 3 4"], "found: expected WORDS: X0 Y0 X1 Y1"),
        (["found cup: 1 2 3"], "expected X0 Y0 X1 Y1"),
        (["point nan 5"], "expected X Y"),
        (["box 1 2 3"], "expected X0 Y0 X1 Y1"),
        (["box 1 2 1 9"], "two corners"),
        (["not 5 5"], "click on the object first"),
        (["label cup"], "point at the object first"),
        (["next"], "nothing yet"),
        (["delete"], "nothing yet"),
        (["select 1"], "no object yet"),
        (["point 1 1", "delete 2"], "1 to 1"),
        (["point 1 1", "label a\x1b[31mb"], "printable"),
        (["point 1 1", "label " + "a" * 300], "at most 200"),
        (["text"], "say what to look for"),
        (["undo"], "nothing was entered"),
        (["undo 3"], "nothing follows"),
        (["jump 1 2"], "'jump' is no entry"),
    ],
)
def test_what_makes_no_sense_is_refused(entries: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        begin((), tuple(entries))


def test_the_prompt_file_keeps_the_session(tmp_path: Path) -> None:
    session = begin((CUP,), ("box 1 2 30.25 40", "label a \"b\" 'c' é", "undo", "next", "p 3 3"))
    path = tmp_path / "prompts.json"
    save_prompts(path, PHOTO, session, accepted=False)
    assert load_session(path, PHOTO) == session
    objects = json.loads(path.read_text("utf-8"))["objects"]
    assert objects[0] == {"label": "cup", "points": [[5, 6, 1], [7, 8.5, 0]]}


def test_objects_edited_by_hand_count(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    save_prompts(path, PHOTO, begin((), ("point 5 6", "label cup")), accepted=True)
    value = json.loads(path.read_text("utf-8"))
    value["objects"][0]["label"] = "mug"
    path.write_text(json.dumps(value), "utf-8")
    session = load_session(path, PHOTO)
    assert session == Session((ObjectPrompt("mug", points=(Point(5, 6),)),), (),
                              Choice((ObjectPrompt("mug", points=(Point(5, 6),)),), 1))  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"photo": {"name": "other.jpg", "sha256": "cd"}}, "another photo"),
        ({"format": "photoscene-prompts/9"}, "this version"),
        ({"objects": [{"points": [[1]]}]}, "expected .x, y"),
        ({"entries": ["jump"]}, "is no entry"),
        ({"entries": 7}, "not iterable"),
        ({"start": None}, "not iterable"),
    ],
)
def test_a_prompt_file_that_does_not_fit_is_refused(
    change: dict, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "prompts.json"
    save_prompts(path, PHOTO, begin((CUP,)), accepted=False)
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}), "utf-8")
    with pytest.raises(ValueError, match=words) as refused:
        load_session(path, PHOTO)
    assert str(path) in str(refused.value)


def same_object(found: Path, expected: Bool) -> bool:
    mask = cv2.imread(str(found), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    return (mask > 127)[expected].mean() > 0.9 and expected[mask > 127].mean() > 0.9


# Each entry at the terminal, and what is answered to it (a pattern that no echo fits).
FIRST_SITTING = [
    ("point 50 100", " 1  object_01 +1 point  "),
    ("box 15 68 105 126", " 1  object_01 +box, 1 point  "),
    ("undo", " 1  object_01 +1 point  "),
    ("point 9000 10", "not done: .* is outside.*the photo is 240 x 180"),
    ("text red box", "not done: .* does not know words"),
    ("label long box", " 1  long box +1 point  "),
    ("next", " 2  a new object"),
    ("box 168 93 222 147", " 2  object_02 +box  "),
    ("next", " 3  a new object"),
    ("not 110 20", "not done: not: click on the object first"),
    ("point 108 60", " 3  object_03 +1 point  "),
    ("delete 1", " 2  object_02 +1 point  "),
    ("undo", " 3  object_03 +1 point  "),
]
SECOND_SITTING = [
    ("delete 3", " 3  a new object"),
    ("point 108 60", " 3  object_03 +1 point  "),
    ("list", "   1  long box +1 point  "),
]


@pytest.mark.slow
def test_a_sitting_at_a_terminal_that_is_stopped_and_resumed(
    small_photo: SmallPhoto, prefect_server: str, tmp_path: Path
) -> None:
    folder, store = tmp_path / "run", tmp_path / "store"
    wordless = ["--set", "segment.backend=grabcut"]
    arguments = ["segment", str(small_photo.photo), "-i", "-o", str(folder), "--store", str(store)]
    arguments += wordless
    first = sit_down(arguments, "1  a new object", prefect_server)
    for entry, told in FIRST_SITTING:
        first.sendline(entry)
        first.expect(told)
    first.expect("object 3>")  # a key pressed before the prompt listens can be lost
    first.sendintr()
    first.expect("--resume goes on")
    first.expect(pexpect.EOF)
    first.close()
    assert first.exitstatus == 130
    saved = json.loads((folder / "prompts.json").read_text("utf-8"))
    assert [o.get("label", "") for o in saved["objects"]] == ["long box", "", ""]
    assert saved["accepted"] is False and len(saved["entries"]) == 10

    refused = call(*arguments)
    assert refused.exit_code == 2 and "--resume" in refused.stderr

    greeting = "resumed with 3 objects, after 10 entries"
    second = sit_down([*arguments, "--resume"], greeting, prefect_server)
    for entry, told in SECOND_SITTING:
        second.sendline(entry)
        second.expect(told)
    second.sendline("accept")
    second.expect("3  object_03")
    second.expect(pexpect.EOF)
    second.close()
    assert second.exitstatus == 0

    found = sorted((folder / "objects").glob("*/mask.png"))
    masks = small_masks()
    assert [same_object(f, masks[n]) for f, n in zip(found, "acb", strict=True)] == [True] * 3

    replay = tmp_path / "replay"
    options = ["--prompts", folder / "prompts.json", "--until", "segment"]
    options += ["--store", tmp_path / "other", "-o", replay, *wordless]
    result = call("run", small_photo.photo, *options)
    assert result.exit_code == 0, result.stderr
    assert "2 of 2 steps computed" in result.stdout
    for path in [folder / "scene.json", *found]:
        assert (replay / path.relative_to(folder)).read_bytes() == path.read_bytes()


def sit_down(arguments: list[str], greeting: str, server: str) -> pexpect.spawn:
    """The command in a terminal of its own, at its first prompt, once it has greeted so."""
    own = {"PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm", "PREFECT_API_URL": server}
    environment = {**os.environ, **own}
    child = pexpect.spawn(
        PHOTOSCENE, arguments, env=environment, encoding="utf-8", dimensions=(40, 140), timeout=120
    )
    child.expect(greeting)
    child.expect("masks.png")
    return child


def test_words_are_entries_where_the_backend_knows_words(
    small_photo: SmallPhoto, inline_runs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backends = str(BACKENDS)
    monkeypatch.setattr(stages.segment, "__path__", [*stages.segment.__path__, backends])
    options = ["--set", "segment.backend=by_colour", "--store", tmp_path / "store"]
    lines = "text red\nnext\ntext purple\ntext blue\nlabel egg\nnext\npoint 195 120\naccept\n"
    result = call("segment", small_photo.photo, "-i", "-o", tmp_path / "a", *options, lines=lines)
    assert result.exit_code == 0, result.stderr
    assert "not done: nothing here is called 'purple'" in result.stdout
    found = sorted((tmp_path / "a" / "objects").glob("*/mask.png"))
    assert [f.parent.name for f in found] == ["01_red", "02_egg", "03_object_03"]
    masks = small_masks()
    assert [same_object(f, masks[n]) for f, n in zip(found, "abc", strict=True)] == [True] * 3
    entries = json.loads((tmp_path / "a" / "prompts.json").read_text("utf-8"))["entries"]
    assert [e.split(":")[0] for e in entries[:3]] == ["found red", "next", "found blue"]
    replayed = call("segment", small_photo.photo, "--prompts", tmp_path / "a" / "prompts.json",
                    "-o", tmp_path / "b", *options[:2], "--store", tmp_path / "other")  # fmt: skip
    assert replayed.exit_code == 0, replayed.stderr
    for path in found:
        twin = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert twin.read_bytes() == path.read_bytes()


def test_words_written_into_the_prompt_file_are_found_on_going_on(
    small_photo: SmallPhoto, inline_runs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backends = str(BACKENDS)
    monkeypatch.setattr(stages.segment, "__path__", [*stages.segment.__path__, backends])
    command = ["segment", small_photo.photo, "-i", "-o", tmp_path / "run", "--store",
               tmp_path / "store", "--set", "segment.backend=by_colour"]  # fmt: skip
    assert call(*command, lines="point 195 120\n").exit_code == 1
    file = tmp_path / "run" / "prompts.json"
    written = json.loads(file.read_text("utf-8"))
    written["objects"].append({"text": "red"})
    file.write_text(json.dumps(written))
    result = call(*command, "--resume", lines="accept\n")
    assert result.exit_code == 0, result.stderr
    assert "resumed with 2 objects" in result.stdout
    box = json.loads(file.read_text("utf-8"))["objects"][1]
    assert box["label"] == box["text"] == "red"
    np.testing.assert_allclose(box["box"], (20, 72, 101, 122), atol=2)


def test_an_input_that_ends_early_keeps_the_choice(
    small_photo: SmallPhoto, inline_runs: None, tmp_path: Path
) -> None:
    options = ["--store", tmp_path / "store", "-o", tmp_path / "run"]
    result = call("segment", small_photo.photo, "-i", *options, lines="point 50 100\naccept now\n")
    assert result.exit_code == 1
    assert "not accepted yet: the same command with --resume goes on" in result.stderr
    again = call("segment", small_photo.photo, "-i", "--resume", *options, lines="accept\n")
    assert again.exit_code == 0, again.stderr
    assert "resumed with 1 object, after 1 entries" in again.stdout


@pytest.mark.slow
def test_proposals_become_boxes_that_replay(
    small_photo: SmallPhoto, inline_runs: None, tmp_path: Path
) -> None:
    options = ["--store", tmp_path / "store", "-o", tmp_path / "run"]
    lines = "accept\npoint 195 120\nnext\nauto\nauto\naccept\n"
    result = call("segment", small_photo.photo, "-i", *options, lines=lines)
    assert result.exit_code == 0, result.stderr
    assert "there is no object yet" in result.stdout
    assert "nothing else stands out" in result.stdout
    objects = json.loads((tmp_path / "run" / "prompts.json").read_text("utf-8"))["objects"]
    assert "points" in objects[0] and all("box" in o for o in objects[1:]) and len(objects) > 1


def test_options_that_contradict_are_refused(small_photo: SmallPhoto, tmp_path: Path) -> None:
    command = ["segment", small_photo.photo, "-o", tmp_path / "run", "--store", tmp_path / "store"]
    for options, words in (
        (["--resume"], "add --interactive or --browser"),
        (["-i", "--mask", small_photo.masks["a"]], "leave out --interactive"),
        (["-i", "--resume", "--point", "5,5"], "leave out --text, --point"),
    ):
        result = call(*command, *options)
        assert result.exit_code == 2 and words in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_begins_with_what_was_chosen(
    small_photo: SmallPhoto, inline_runs: None, tmp_path: Path
) -> None:
    options = ["--pointmap", small_photo.depth, "--set", "generate.grid=32"]
    options += ["--store", tmp_path / "store", "-o", tmp_path / "run"]
    lines = "label ball\nlist\naccept\n"
    start = ["--point", "195,120", "-i", "--json"]
    result = call("run", small_photo.photo, *start, *options, lines="select 1\n" + lines)
    assert result.exit_code == 0, result.stderr
    assert [o["name"] for o in json.loads(result.stdout)["objects"]] == ["ball"]
    assert "1 point" in result.stderr


def test_terminals_are_known_by_what_they_say() -> None:
    assert protocol_of({"TERM": "xterm-kitty"}) == "kitty"
    assert protocol_of({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}) == "iterm2"
    assert protocol_of({"TERM": "foot-extra"}) == "sixel"
    assert protocol_of({"TERM": "xterm-256color"}) == ""


def test_a_picture_survives_each_protocol() -> None:
    rgb = np.zeros((13, 20, 3), np.uint8)
    rgb[:7, :9], rgb[7:, 5:] = (255, 0, 0), (0, 255, 255)
    np.testing.assert_array_equal(from_sixel(sixel(Image.fromarray(rgb))), rgb)
    assert inline_image(rgb, "kitty").startswith("\x1b_Ga=T,f=100")
    large = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    chunks = inline_image(large, "kitty").split("\x1b\\")[:-1]
    assert all(";" in c and "m=1" in c for c in chunks[:-1]) and "m=0" in chunks[-1]
    assert max(len(c.split(";", 1)[1]) for c in chunks) <= 4096
    assert "inline=1" in inline_image(rgb, "iterm2")
    assert inline_image(rgb, "") == ""


def from_sixel(text: str) -> np.ndarray:
    """(H, W, 3) of a sixel picture, read character by character."""
    body = text.removeprefix('\x1bPq"1;1;').removesuffix("\x1b\\")
    width, rest = body.split(";", 1)
    height = rest[: rest.index("#")]
    rgb = np.zeros((int(height), int(width), 3), np.uint8)
    palette: dict[int, list[int]] = {}
    x, top, colour, i = 0, 0, 0, len(height)
    while i < len(rest):
        if rest[i] == "#":
            end = i + 1
            while end < len(rest) and (rest[end].isdigit() or rest[end] == ";"):
                end += 1
            colour, *levels = [int(v) for v in rest[i + 1 : end].split(";")]
            if levels:
                palette[colour] = [round(v * 2.55) for v in levels[1:]]
            i = end
            continue
        if rest[i] in "$-":
            x, top = 0, top + 6 * (rest[i] == "-")
            i += 1
            continue
        run = 1
        if rest[i] == "!":
            end = i + 1
            while rest[end].isdigit():
                end += 1
            run, i = int(rest[i + 1 : end]), end
        for row in range(6):
            if (ord(rest[i]) - 63) >> row & 1:
                rgb[top + row, x : x + run] = palette[colour]
        x, i = x + run, i + 1
    return rgb


def test_ruler_numbers_are_round() -> None:
    assert [tick_step(v) for v in (0.3, 1, 60, 99, 130, 480)] == [1, 1, 100, 100, 200, 500]
