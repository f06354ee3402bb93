"""Pages have lines of at most 120 columns, links that lead somewhere, and paths that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.narrow import narrow, table
from support import ROOT

COLUMNS = 120
FOLDERS = ("docs", "benchmarks", "examples", "tests", "weights")
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(
        p
        for name in FOLDERS
        for p in sorted((ROOT / name).rglob("*.md"))
        if "node_modules" not in str(p)
    ),
]
MEASURED = ("docs/benchmarks.md", "docs/placement_sweep.md", "docs/gallery/README.md")
NEW = {"diamond.py", "same_size.py", "sitecustomize.py"}  # of the reader, not of the repository
TOPS = sorted(p.parent.name for p in ROOT.glob("*/__init__.py")) + [*FOLDERS, "training"]
# A path in italics is one that the reader adds.
PATH = re.compile(rf"(?<!\*)`((?:{'|'.join(TOPS)})/[\w./-]*)`")
MODULE = re.compile(rf"python -m ((?:{'|'.join(TOPS)})[.\w]*)")
FILES = {p.name for top in TOPS for p in (ROOT / top).rglob("*.py")}
LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]:\s+(\S+)$", re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    """The page without what is quoted as code."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_lines_have_at_most_120_columns(page: Path) -> None:
    lines = page.read_text("utf-8").splitlines()
    long = [f"{k + 1}: {line}" for k, line in enumerate(lines) if len(line) > COLUMNS]
    assert [line for line in long if len(line.split(": ", 1)[1].split()) > 1] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_anchors_lead_somewhere(page: Path) -> None:
    lost = []
    for inline, reference in LINK.findall(text_of(page)):
        target, _, anchor = (inline or reference).partition("#")
        if "://" in target:
            continue
        file = page.parent / target if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            lost.append(inline or reference)
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_and_modules_that_are_named_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    paths = {p for p in PATH.findall(text) if not re.search("[A-Z]{3}", p)}
    lost = [p for p in paths if Path(p).name not in NEW and not (ROOT / p).exists()]
    lost += set(re.findall(r"`(\w+\.py)`", text)) - FILES - NEW
    modules = [ROOT / name.replace(".", "/") for name in MODULE.findall(text)]
    lost += [
        m for m in modules if not (m.with_suffix(".py").exists() or (m / "__main__.py").exists())
    ]
    assert lost == []


def test_the_index_has_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    pages = {p.name for p in (ROOT / "docs").glob("*.md")}
    assert {name for name in pages if f"({name})" not in index} == {"README.md"}


@pytest.mark.parametrize("name", MEASURED)
def test_what_commands_write_is_as_they_write_it(name: str) -> None:
    page = (ROOT / name).read_text("utf-8")
    sections = re.findall(r"<!-- measured: .*? -->\n(.*?)\n<!-- /measured -->", page, re.DOTALL)
    for section in sections or [page]:
        assert narrow(section) == section


def test_a_wide_table_keeps_every_cell() -> None:
    names = [f"column number {k}" for k in range(9)]
    few = table(names, [[f"{row}.{k}" for k in range(9)] for row in range(3)])
    many = table(names, [[f"{row}.{k}" for k in range(9)] for row in range(12)])
    for wide, rows in ((few, 3), (many, 12)):
        found = narrow(wide)
        assert max(map(len, found.splitlines())) <= COLUMNS < max(map(len, wide.splitlines()))
        cells = {cell.strip() for line in found.splitlines() for cell in line.split("|")}
        assert {*names, *(f"{row}.{k}" for row in range(rows) for k in range(9))} <= cells
        assert narrow(found) == found
    assert narrow(few).startswith("| column number 0 | 0.0 | 1.0 | 2.0 |")
    assert narrow(many).count("| column number 0 |") == 2


def test_rows_of_one_name_get_numbers_and_long_remarks_become_notes() -> None:
    remark = "a remark that is too long to stand in a cell of a table"
    rows = [["same", f"x ({remark})", *"123456789"] for _ in range(8)]
    found = narrow(table(("name", *(f"some column {k}" for k in range(10))), rows))
    assert "| 8 | same | x (1) |" in found and found.endswith(f"\n\n- (1) {remark}")


def test_prose_is_wrapped_and_short_text_is_kept() -> None:
    assert narrow("- " + "word " * 40).splitlines()[1].startswith("  word")
    assert narrow("short\n\n| a |\n|---|\n| b |") == "short\n\n| a |\n|---|\n| b |"
