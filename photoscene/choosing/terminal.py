"""Choosing masks at a prompt: one entry a line, with history, completion and help."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Callable, Mapping
from typing import TextIO

from photoscene.choosing.chooser import Chooser
from photoscene.choosing.entries import SHORT, VERBS
from photoscene.choosing.inline_image import answers_sixel, inline_image, protocol_of
from scene.errors import BadInput
from scene.text import printable

Reader = Callable[[str], str]
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# What only the prompt knows; every other word is an entry of the journal.
ACTIONS = {
    "undo": "take the last change back",
    "redo": "make it again",
    "auto": "a box around everything that stands out by itself",
    "list": "the objects so far",
    "show": "the picture again, here or by its path",
    "accept": "done: these are the objects",
    "quit": "stop; --resume goes on",
    "help": "this text",
}


def choose_at_prompt(chooser: Chooser, environment: Mapping[str, str], out: TextIO) -> bool:
    """Read entries until one accepts (True), or quits or the input ends (False).

    Ctrl-C passes through as KeyboardInterrupt; whatever was entered is saved by then.
    """
    terminal = sys.stdin.isatty() and out.isatty()
    protocol = protocol_of(environment) if terminal else ""
    if terminal and not protocol and answers_sixel():
        protocol = "sixel"

    def print_lines(*lines: str) -> None:
        print("\n".join(printable(line) for line in lines), file=out, flush=True)

    def show() -> None:
        out.write(inline_image(chooser.image(), protocol))
        print_lines(f"    {chooser.overlay_path}")

    print_lines(*chooser.list_lines())
    print_lines("Coordinates are pixels of the photo, as the ruler counts; `help` lists the words.")
    show()
    read = _prompt_reader(chooser, out) if terminal else _line_reader(out)
    while not chooser.accepted:
        try:
            line = read(_prompt(chooser)).strip()
        except EOFError:
            return False
        if line in ("quit", "q", "exit"):
            return False
        if line:
            try:
                _enter(chooser, line, print_lines, show)
            except BadInput as error:
                print_lines(f"    not done: {error}")
    return True


def help_lines() -> list[str]:
    """Every word with what follows it and what it does."""
    short = {name: key for key, name in SHORT.items() if key.isalpha()}
    rows = [(f"{name} {verb.form}".strip(), verb.meaning, name) for name, verb in VERBS.items()]
    rows += [(name, meaning, name) for name, meaning in ACTIONS.items()]
    return [
        f"    {form:<26} {meaning}" + (f"  ({short[name]})" if name in short else "")
        for form, meaning, name in rows
    ]


def _enter(
    chooser: Chooser, line: str, print_lines: Callable[..., None], show: Callable[[], None]
) -> None:
    """Do what one line says; BadInput when it cannot be done."""
    word = line.lower()
    if word in ("help", "?", "h"):
        print_lines(*help_lines())
    elif word == "list":
        print_lines(*chooser.list_lines())
    elif word == "show":
        show()
    elif word == "accept":
        chooser.accept()
    else:
        print_lines("    " + (chooser.propose() if word == "auto" else chooser.enter(line)))
        show()


def _prompt(chooser: Chooser) -> str:
    choice = chooser.session.present
    name = "" if choice.on_new_object else choice.objects[choice.current].label
    return printable(f"object {choice.current + 1}{f' ({name})' if name else ''}> ")


def _line_reader(out: TextIO) -> Reader:
    """Lines of a pipe or a file; nothing is asked, so nothing but answers is printed.

    A byte order mark tells the encoding, and is no part of the first line. What cannot be read any
    more, a terminal that was hung up say, is at its end.
    """
    first = True

    def read(prompt: str) -> str:
        nonlocal first
        try:
            if first:
                _heed_mark(sys.stdin)
            line = sys.stdin.readline()
        except OSError:
            raise EOFError from None
        if not line:
            raise EOFError
        line = line.removeprefix("\ufeff") if first else line
        first = False
        return line

    return read


def _heed_mark(stream: TextIO) -> None:
    """Read in the encoding that a byte order mark at the beginning names, if there is one."""
    if isinstance(stream, io.TextIOWrapper) and isinstance(stream.buffer, io.BufferedReader):
        beginning = stream.buffer.peek(len(codecs.BOM_UTF8))
        for mark, encoding in MARKS.items():
            if beginning.startswith(mark):
                stream.reconfigure(encoding=encoding)


def _prompt_reader(chooser: Chooser, out: TextIO) -> Reader:
    """A line editor with the entries so far as its history, and words to complete."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import InMemoryHistory
    from prompt_toolkit.output import create_output

    words = {**{name: verb.meaning for name, verb in VERBS.items()}, **ACTIONS}
    if not chooser.knows_words:
        del words["text"]
    completer = WordCompleter(list(words), ignore_case=True, sentence=True, meta_dict=words)
    session: PromptSession[str] = PromptSession(
        history=InMemoryHistory(chooser.session.entries),
        completer=completer,
        output=create_output(out),
    )
    return session.prompt
