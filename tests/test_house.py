"""The house: imports point one way, only flows knows Prefect, heavy things are imported late."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "scene": set(),
    "pixal3d": set(),
    "alignment": {"scene"},
    "stages": {"scene", "alignment", "pixal3d"},
    "flows": {"scene", "stages"},
    "photoscene": {"scene", "alignment", "pixal3d", "stages", "flows"},
    "training": {"scene", "alignment", "pixal3d", "stages"},
    "benchmarks": {
        "scene",
        "alignment",
        "pixal3d",
        "stages",
        "flows",
        "photoscene",
        "training",
    },
}
LATE = ("torch", "prefect", "trimesh", "scipy", "onnxruntime", "open3d", "rich")


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def _files() -> list[tuple[str, Path]]:
    return [(p, f) for p in MAY_IMPORT for f in sorted((ROOT / p).rglob("*.py"))]


def test_imports_point_one_way() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for package, path in _files()
        for name in _imports(path)
        if (top := name.split(".")[0]) in MAY_IMPORT
        and top != package
        and top not in MAY_IMPORT[package]
    ]
    assert wrong == []


def test_only_flows_imports_prefect() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for package, path in _files()
        if package != "flows" and any(n.split(".")[0] == "prefect" for n in _imports(path))
    ]
    assert wrong == []


def test_a_backend_never_imports_another() -> None:
    """Files with a VERSION are backends; what two of them share has none."""
    backends = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in (ROOT / "stages").rglob("*.py")
        if "\nVERSION = " in path.read_text("utf-8")
    }
    assert len(backends) >= 8
    wrong = [
        f"{name} -> {i}" for name, path in backends.items() for i in _imports(path) & set(backends)
    ]
    assert wrong == []


def test_the_command_line_starts_without_heavy_imports() -> None:
    code = f"import sys, photoscene.cli; print([m for m in {LATE} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_file_is_too_long_to_answer_one_question() -> None:
    long = [str(p.relative_to(ROOT)) for _, p in _files() if len(p.read_text().splitlines()) > 400]
    assert long == []
