"""The language of choosing: each entry, as "point 120 80", makes a new choice out of the old one.

The terminal, the browser page and the journal in the prompt file all speak it. Nothing here
computes a mask, so that a journal is replayed at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from scene.errors import BadInput
from scene.types import ObjectPrompt, Point

MAX_LABEL_LENGTH = 200


@dataclass(frozen=True)
class Choice:
    """The objects chosen so far; `current` is the one that entries change, or a new one's place."""

    objects: tuple[ObjectPrompt, ...] = ()
    current: int = 0

    @property
    def on_new_object(self) -> bool:
        """Whether the next point, box or word begins another object."""
        return self.current == len(self.objects)


@dataclass(frozen=True)
class Session:
    """What was entered, from which objects on, and what can be undone and redone."""

    start: tuple[ObjectPrompt, ...] = ()
    entries: tuple[str, ...] = ()
    present: Choice = Choice()
    past: tuple[Choice, ...] = ()
    future: tuple[Choice, ...] = ()


@dataclass(frozen=True)
class Verb:
    """A kind of entry: what follows the word, what it does in words, and as a function."""

    form: str
    meaning: str
    change: Callable[[Choice, str], Choice]


def begin(start: tuple[ObjectPrompt, ...] = (), entries: tuple[str, ...] = ()) -> Session:
    """A session that has these objects, and then these entries made."""
    session = Session(start, present=Choice(start, len(start)))
    for entry in entries:
        session = enter(session, entry)
    return session


def enter(session: Session, entry: str) -> Session:
    """The session after one more entry; BadInput says why an entry makes no sense."""
    name, arguments = split_entry(entry)
    entries = (*session.entries, f"{name} {arguments}".strip())
    past, present, future = session.past, session.present, session.future
    if name in ("undo", "redo"):
        _nothing(arguments, name)
    if name == "undo":
        if not past:
            raise BadInput("undo: nothing was entered before")
        return replace(session, entries=entries, present=past[-1], past=past[:-1],
                       future=(present, *future))  # fmt: skip
    if name == "redo":
        if not future:
            raise BadInput("redo: nothing was undone")
        return replace(session, entries=entries, present=future[0], past=(*past, present),
                       future=future[1:])  # fmt: skip
    changed = VERBS[name].change(present, arguments)
    return replace(session, entries=entries, present=changed, past=(*past, present), future=())


def split_entry(entry: str) -> tuple[str, str]:
    """The verb of an entry and the rest of it; BadInput for a word that is none."""
    name, _, arguments = entry.strip().partition(" ")
    name = SHORT.get(name.lower(), name.lower())
    if name not in VERBS and name not in ("undo", "redo"):
        raise BadInput(f"{name!r} is no entry: expected {', '.join([*VERBS, 'undo', 'redo'])}")
    return name, arguments.strip()


def _point(choice: Choice, arguments: str, foreground: bool = True) -> Choice:
    x, y = _numbers(arguments, 2, "X Y")
    point = Point(x, y, foreground)
    return _changed(choice, lambda o: replace(o, points=(*o.points, point)))


def _not(choice: Choice, arguments: str) -> Choice:
    if choice.on_new_object:
        raise BadInput("not: click on the object first, then on what is not part of it")
    return _point(choice, arguments, foreground=False)


def _box(choice: Choice, arguments: str) -> Choice:
    x0, y0, x1, y1 = _numbers(arguments, 4, "X0 Y0 X1 Y1")
    box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    if box[0] == box[2] or box[1] == box[3]:
        raise BadInput("a box needs two corners that differ in X and in Y")
    return _changed(choice, lambda o: replace(o, box=box))


def _boxes(choice: Choice, arguments: str) -> Choice:
    objects = tuple(_box(Choice(), part).objects[0] for part in arguments.split(";"))
    return Choice((*choice.objects, *objects), len(choice.objects) + len(objects))


def _found(choice: Choice, arguments: str) -> Choice:
    words, colon, boxes = arguments.rpartition(":")
    words = _words(words.strip())
    if not colon or not words:
        raise BadInput("found: expected WORDS: X0 Y0 X1 Y1; X0 Y0 X1 Y1 ...")
    more = _boxes(choice, boxes)
    old = len(choice.objects)
    named = tuple(replace(o, text=words, label=words) for o in more.objects[old:])
    # One object is still the current one, as after `text`; several are done.
    return Choice((*choice.objects, *named), old if len(named) == 1 else more.current)


def _text(choice: Choice, arguments: str) -> Choice:
    words = _words(arguments)
    if not words:
        raise BadInput("text: say what to look for, as in `text red mug`")
    return _changed(choice, lambda o: replace(o, text=words, label=o.label or words))


def _label(choice: Choice, arguments: str) -> Choice:
    if choice.on_new_object:
        raise BadInput("label: point at the object first, then name it")
    words = _words(arguments)
    return _changed(choice, lambda o: replace(o, label=words))


def _next(choice: Choice, arguments: str) -> Choice:
    _nothing(arguments, "next")
    if choice.on_new_object:
        raise BadInput("next: this object has nothing yet; give a point or a box")
    return replace(choice, current=len(choice.objects))


def _select(choice: Choice, arguments: str) -> Choice:
    return replace(choice, current=_number_of_object(choice, arguments))


def _delete(choice: Choice, arguments: str) -> Choice:
    gone = _number_of_object(choice, arguments) if arguments else choice.current
    if gone >= len(choice.objects):
        raise BadInput("delete: this object has nothing yet; name one by its number")
    left = choice.objects[:gone] + choice.objects[gone + 1 :]
    current = choice.current - (choice.current > gone)
    return Choice(left, len(left) if choice.current == gone else current)


VERBS = {
    "point": Verb("X Y", "a click on the object, in pixels of the photo", _point),
    "not": Verb("X Y", "a click on what is not part of it", _not),
    "box": Verb("X0 Y0 X1 Y1", "a box around the whole object", _box),
    "boxes": Verb("BOX; BOX ...", "one new object for each box", _boxes),
    "text": Verb("WORDS", "every object that words mean, or what the object is in words", _text),
    "found": Verb("WORDS: BOX; BOX ...", "one new object for each box, as `text` finds", _found),
    "label": Verb("NAME", "name the object", _label),
    "next": Verb("", "go on to a new object", _next),
    "select": Verb("N", "go back to an object", _select),
    "delete": Verb("[N]", "drop an object", _delete),
}
SHORT = {"p": "point", "+": "point", "-": "not", "n": "not", "b": "box", "t": "text", "l": "label",
         "s": "select", "d": "delete", "u": "undo", "r": "redo"}  # fmt: skip


def _changed(choice: Choice, change: Callable[[ObjectPrompt], ObjectPrompt]) -> Choice:
    """The choice with its current object changed, or begun."""
    if choice.on_new_object:
        return replace(choice, objects=(*choice.objects, change(ObjectPrompt())))
    objects = list(choice.objects)
    objects[choice.current] = change(objects[choice.current])
    return replace(choice, objects=tuple(objects))


def _number_of_object(choice: Choice, arguments: str) -> int:
    if not arguments.isdecimal() or not 1 <= int(arguments) <= len(choice.objects):
        have = f"1 to {len(choice.objects)}" if choice.objects else "no object yet"
        raise BadInput(
            f"{arguments or 'nothing'!r} is not the number of an object: there is {have}"
        )
    return int(arguments) - 1


def _numbers(arguments: str, count: int, form: str) -> list[float]:
    try:
        values = [float(part) for part in arguments.replace(",", " ").split()]
    except ValueError:
        values = []
    if len(values) != count or not all(math.isfinite(v) for v in values):
        raise BadInput(f"{arguments or 'nothing'!r}: expected {form} in pixels of the photo")
    return values


def _words(arguments: str) -> str:
    if not arguments.isprintable() or len(arguments) > MAX_LABEL_LENGTH:
        raise BadInput(f"expected at most {MAX_LABEL_LENGTH} printable characters")
    return arguments


def _nothing(arguments: str, name: str) -> None:
    if arguments:
        raise BadInput(f"{name}: nothing follows this word, got {arguments!r}")
