"""Do names use the field's words? What docs/glossary.md does not want is in no name of ours."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from support import ROOT

PACKAGES = (
    "scene", "alignment", "sparse3d", "pixal3d", "cupid", "direct3d_s2", "stages", "flows",
    "photoscene", "training", "benchmarks",
)  # fmt: skip
ALLOWED = {
    "look_at_pixels": "look-at is the term for a camera turned towards a point",
}


def test_no_name_has_a_word_that_the_glossary_avoids() -> None:
    avoided, files = _avoided(), [f for p in PACKAGES for f in sorted((ROOT / p).rglob("*.py"))]
    assert {"sight", "picture", "tmp"} <= avoided  # the table is read at all
    wrong = {
        f"{path.relative_to(ROOT)}: {name} ({', '.join(sorted(found))})"
        for path in files
        for name in _names(path)
        if (found := _words(name) & avoided) and name not in ALLOWED
    }
    assert not wrong, "\n".join(sorted(wrong))


def test_every_allowed_name_is_there() -> None:
    names = {n for p in PACKAGES for f in (ROOT / p).rglob("*.py") for n in _names(f)}
    assert ALLOWED.keys() <= names


@pytest.mark.parametrize("name", ["render_Picture", "PictureOf", "PICTURE_2", "HTTPPicture"])
def test_names_are_split_at_underscores_digits_and_capitals(name: str) -> None:
    assert "picture" in _words(name)


def _avoided() -> set[str]:
    """The words in code of the left column of the glossary's first table."""
    page = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    rows = re.findall(r"^\|(.*?)\|", page.partition("## Our own terms")[0], re.MULTILINE)
    return {word for cell in rows for word in re.findall(r"`(\w+)`", cell)}


@cache
def _names(path: Path) -> tuple[str, ...]:
    """Names of the module, its classes, functions and their parameters, and its constants."""
    tree = ast.parse(path.read_text("utf-8"))
    names = [path.parent.name if path.stem == "__init__" else path.stem]
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.arg):
            names.append(node.arg)
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            stored = (n for n in ast.walk(statement) if isinstance(n, ast.Name))
            names += [n.id for n in stored if isinstance(n.ctx, ast.Store)]
    return tuple(names)


def _words(name: str) -> set[str]:
    """The words of a name, in small letters."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return {part.lower() for part in parts}
