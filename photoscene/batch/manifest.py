"""Manifests of a batch: JSON lines or a table, each line with what `run` has as options."""

from __future__ import annotations

import csv
import io
import json
import math
import operator
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from photoscene.batch.entries import Entry, fault_of_name, name_of_photo
from photoscene.inputs.request import ADDRESS, Arguments, read_file
from scene.errors import BadInput
from scene.keys import canonical_json
from scene.text import printable

JSON_LINES, TABLES = (".jsonl", ".ndjson"), {".csv": ",", ".tsv": "\t"}
MANIFEST_SUFFIXES = (*JSON_LINES, *TABLES)
MAX_LINE_LENGTH = 1_000_000
LIST_SEPARATOR = ";"  # within a cell of a table


def manifest_entries(path: Path, defaults: Arguments, root: Path) -> list[Entry]:
    """An entry per line, one with a fault where the line cannot be used.

    defaults: what holds where a line does not say otherwise; root: below which all files lie.
    Raises BadInput for a file that cannot be read at all.
    """
    return [_line_entry(number, value, defaults, root) for number, value in _lines(path)]


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """The lines of a manifest with their numbers: what stands there, or why it cannot be read."""
    suffix = path.suffix.lower()
    if suffix not in MANIFEST_SUFFIXES:
        known = f"a manifest ({', '.join(MANIFEST_SUFFIXES)})"
        if not path.exists():
            raise BadInput(f"{path} does not exist: expected a folder of photos, or {known}")
        raise BadInput(f"{path} is neither a folder of photos nor {known}")
    try:
        text = read_file(path, "manifest").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"manifest {path} is not UTF-8 ({error.reason}): save it as UTF-8") from None
    if suffix in JSON_LINES:
        lines = enumerate(io.StringIO(text, newline=None), 1)  # line ends of any system
        return ((number, _json_line(line)) for number, line in lines if line.strip())
    return _table_lines(path, text, TABLES[suffix])


def _json_line(line: str) -> Mapping[str, Any] | str:
    if len(line) > MAX_LINE_LENGTH:
        return f"has {len(line)} characters: at most {MAX_LINE_LENGTH} are read"
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return f"is not JSON ({error.msg}): mend it"
    except ValueError:
        return "has a number of thousands of digits: mend it"
    except RecursionError:
        return "is nested too deeply: write it anew"
    return value if isinstance(value, dict) else 'is no JSON object: expected {"photo": ...}'


def _table_lines(
    path: Path, text: str, delimiter: str
) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
    except csv.Error as error:
        raise BadInput(f"manifest {path} is no table ({error}): mend its first line") from None
    if "photo" not in header:
        raise BadInput(
            f"manifest {path} has no column photo: its first line names the columns, "
            f"with {delimiter!r} between them"
        )
    if len(set(header)) < len(header):
        raise BadInput(f"manifest {path} has two columns of one name: rename one")
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, f"is no line of a table ({error}): mend it"
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(header):
            yield number, f"has {len(cells)} cells, the first line has {len(header)}: mend it"
            continue
        named = {n: cell.strip() for n, cell in zip(header, cells, strict=False) if cell.strip()}
        yield (
            number,
            {
                name: cell.split(LIST_SEPARATOR) if name in LISTS else cell
                for name, cell in named.items()
            },
        )


def _line_entry(
    number: int, value: Mapping[str, Any] | str, defaults: Arguments, root: Path
) -> Entry:
    """One line as an entry; what is wrong with it is its fault."""
    if isinstance(value, str):
        return Entry("", number, "", None, value)
    photo = value.get("photo")
    shown = printable(photo) if isinstance(photo, str) else ""
    try:
        arguments = _arguments(value, defaults, root)
        given = value.get("name")
        name = _name_of(arguments.photo, root) if given is None else _given_name(given)
    except BadInput as error:
        return Entry("", number, shown, None, str(error))
    return Entry(name, number, shown, arguments, named=given is not None)


def _arguments(value: Mapping[str, Any], defaults: Arguments, root: Path) -> Arguments:
    unknown = sorted(set(value) - set(COLUMNS) - {"name"})
    if unknown:
        raise BadInput(
            f"{', '.join(map(repr, unknown))}: a line has {', '.join(('name', *COLUMNS))}"
        )
    if value.get("photo") is None:
        raise BadInput("has no photo: name one")
    given: dict[str, Any] = {}
    for name, raw in value.items():
        if name == "name" or raw is None:
            continue
        field, read = COLUMNS[name]
        given[field] = read(name, raw, root)
    if "camera" in given:
        given.setdefault("fov_x_deg", None)  # it has its own
    given["settings"] = (*defaults.settings, *given.get("settings", ()))
    arguments = replace(defaults, **given)
    if not os.path.isfile(arguments.photo):
        why = "is no file" if os.path.exists(arguments.photo) else "does not exist"
        raise BadInput(f"photo {arguments.photo} {why}: check the name")
    return arguments


def _path(name: str, value: Any, root: Path) -> Path:
    """A path below the root, without any `..`: behind a link that would be another place."""
    text = _text(name, value, root)
    if ADDRESS.match(text):
        raise BadInput(f"{name} {text} is not on this machine: download it")
    base = os.path.join(os.path.abspath(root), "")  # text is several times as fast as a Path
    path = os.path.join(os.path.normpath(os.path.join(base, text)), "")
    if not path.startswith(base):
        raise BadInput(
            f"{name} {text} leads out of {root}: give --root DIR, the folder of all files"
        )
    return Path(root, path[len(base) : -1])


def _paths(name: str, value: Any, root: Path) -> tuple[Path, ...]:
    return tuple(_path(name, each, root) for each in _listed(value))


def _text(name: str, value: Any, root: Path) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise BadInput(f"{name} {_shown(value)}: expected text")
    return value


def _texts(name: str, value: Any, root: Path) -> tuple[str, ...]:
    return tuple(_text(name, each, root) for each in _listed(value))


def _coordinates(name: str, value: Any, root: Path) -> tuple[str, ...]:
    """Points or boxes as on the command line: "x,y", [x, y], or a list of them."""
    flat = isinstance(value, list) and value and not isinstance(value[0], (list, str))
    entries = [value] if flat else _listed(value)
    return tuple(",".join(map(str, e)) if isinstance(e, list) else str(e) for e in entries)


def _settings(name: str, value: Any, root: Path) -> tuple[str, ...]:
    """Settings as on the command line, "stage.name=value", or a mapping of them."""
    if isinstance(value, dict):
        return tuple(f"{key}={json.dumps(v)}" for key, v in value.items())
    return _texts(name, value, root)


def _profile(name: str, value: Any, root: Path) -> str:
    text = _text(name, value, root)
    is_file = text.endswith((".yaml", ".yml"))
    return str(_path(name, text, root)) if is_file else text


def _number(name: str, value: Any, root: Path) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise BadInput(f"{name} {_shown(value)}: expected a number")
    return number


def _seed(name: str, value: Any, root: Path) -> int:
    try:
        return int(value) if isinstance(value, str) else operator.index(value)
    except (TypeError, ValueError):
        raise BadInput(f"{name} {_shown(value)}: expected a whole number") from None


def _objects(name: str, value: Any, root: Path) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise BadInput(f'{name} {_shown(value)}: expected [{{"label", "box", "points"}}, ...]')
    try:
        canonical_json(value)
    except ValueError:
        raise BadInput(f"{name} {_shown(value)}: a number is not finite; mend it") from None
    return tuple(value)


Reader = Callable[[str, Any, Path], Any]
# What a line may have beside its name, as `run` has it, and the argument that it is.
COLUMNS: Mapping[str, tuple[str, Reader]] = {
    "photo": ("photo", _path),
    "text": ("texts", _texts),
    "point": ("points", _coordinates),
    "box": ("boxes", _coordinates),
    "mask": ("masks", _paths),
    "label_map": ("label_map", _path),
    "annotations": ("annotations", _path),
    "prompts": ("prompts", _path),
    "objects": ("objects", _objects),
    "profile": ("profile", _profile),
    "set": ("settings", _settings),
    "fov": ("fov_x_deg", _number),
    "camera": ("camera", _path),
    "pointmap": ("point_map", _path),
    "seed": ("seed", _seed),
}
LISTS = frozenset(("text", "point", "box", "mask", "set"))
assert {field for field, _ in COLUMNS.values()} <= {f.name for f in fields(Arguments)}


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _name_of(photo: Path, root: Path) -> str:
    """The name of a photo below the root."""
    return name_of_photo(photo.relative_to(root).as_posix())


def _given_name(value: Any) -> str:
    """A name that a line gives; BadInput where no run folder can have it."""
    name = value.strip() if isinstance(value, str) else ""
    if not name or not name.isprintable() or "\\" in name:
        raise BadInput(f"name {_shown(value)}: expected a name, or a path below the output folder")
    fault = fault_of_name(name)
    if not fault and name.startswith("."):
        fault = f"name {name}: a dot at its start hides it; choose another"
    if fault:
        raise BadInput(fault)
    return str(PurePosixPath(name))


def _shown(value: Any) -> str:
    text = repr(value)
    return printable(text if len(text) <= 60 else f"{text[:57]}...")
