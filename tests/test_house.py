"""The house: imports point one way, only flows knows Prefect, heavy things are imported late."""

import ast
import re
import subprocess
import sys
from collections.abc import Collection
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from flows.plan import STAGES
from stages.backends import backend_names
from support import ROOT

MAY_IMPORT = {
    "scene": set(),
    "meshes": set(),
    "sparse3d": {"meshes"},
    "pixal3d": {"sparse3d"},
    "cupid": {"sparse3d"},
    "direct3d_s2": {"sparse3d"},
    "alignment": {"scene"},
    "stages": {"scene", "meshes", "alignment", "sparse3d", "pixal3d", "cupid", "direct3d_s2"},
    "flows": {"scene", "stages"},
    "photoscene": {
        "scene",
        "alignment",
        "sparse3d",
        "pixal3d",
        "cupid",
        "direct3d_s2",
        "stages",
        "flows",
    },
    "training": {"scene", "meshes", "alignment", "sparse3d", "pixal3d", "stages"},
    "benchmarks": {
        "scene",
        "meshes",
        "alignment",
        "sparse3d",
        "pixal3d",
        "direct3d_s2",
        "cupid",
        "stages",
        "flows",
        "photoscene",
        "training",
    },
}
LATE = ("torch", "prefect", "trimesh", "scipy", "onnxruntime", "open3d", "rich", "numba")


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


def test_no_import_leads_back_to_where_it_started() -> None:
    """Nor a late one, inside a function: late is for what is heavy, never to get round a circle."""
    modules = {_module(path): path for _, path in _files()}
    imported = {name: _modules_of(path, modules) - {name} for name, path in modules.items()}
    assert sum(map(len, imported.values())) > 1000  # they are found at all
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as circle:
        raise AssertionError(" <- ".join(circle.args[1])) from None


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _modules_of(path: Path, modules: Collection[str]) -> set[str]:
    """Which of our modules a file imports, whole or in part: `scene` in `from scene import child`
    only if `scene.child` is no module itself."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= members & set(modules) or {node.module}
    return names & set(modules)


def test_only_flows_imports_prefect() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for package, path in _files()
        if package != "flows" and any(n.split(".")[0] == "prefect" for n in _imports(path))
    ]
    assert wrong == []


def test_a_backend_never_imports_another() -> None:
    """Nor the helpers in another's folder; what two of them share is in their stage's `shared/`."""
    rooms = [
        r for stage in STAGES for r in (ROOT / "stages" / stage).iterdir() if r.stem != "shared"
    ]
    backends = [r for r in rooms if r.stem[0] != "_"]
    assert len(backends) >= 15
    names = {".".join(r.relative_to(ROOT).with_suffix("").parts) for r in backends}
    wrong = [
        f"{path.relative_to(ROOT)} imports {imported}"
        for room in backends
        for path in ([room] if room.is_file() else room.rglob("*.py"))
        for imported in _imports(path)
        for other in names - {".".join(room.relative_to(ROOT).with_suffix("").parts)}
        if f"{imported}.".startswith(f"{other}.")
    ]
    assert wrong == []


def test_a_stages_folder_shows_its_backends() -> None:
    """Beside `__init__.py` and `shared/` every file and folder of a stage is a backend."""
    for stage in STAGES.values():
        rooms = {p.stem for p in (ROOT / "stages" / stage.name).iterdir() if p.stem[0] != "_"}
        assert rooms - {"shared"} == set(backend_names(stage))


def test_the_command_line_starts_without_heavy_imports() -> None:
    code = f"import sys, photoscene.cli; print([m for m in {LATE} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_file_is_too_long_to_answer_one_question() -> None:
    long = [str(p.relative_to(ROOT)) for _, p in _files() if len(p.read_text().splitlines()) > 400]
    assert long == []


# Handlers of these classes could hide a bug of ours. Each surrounds only what a library or Python
# reads of what a user gave or a disk kept, and says so in a class of `scene/errors.py`.
BROAD = {"ValueError", "Exception", "BaseException"}
BROAD_HANDLERS = {
    "flows/ahead.py": 1,  # the flow meets it again
    "flows/server.py": 1,  # httpx, of proxies
    "flows/settings.py": 1,  # Prefect, of the user's settings
    "flows/shard.py": 1,  # kept in the outcome, which ends that scene
    "photoscene/batch/manifest.py": 4,  # float(), int(), digits of JSON numbers
    "photoscene/batch/worker.py": 3,  # kept in the scene's record, a bug with its traceback
    "photoscene/choosing/browser.py": 1,  # JSON of a request
    "photoscene/choosing/entries.py": 1,  # float()
    "photoscene/choosing/prompt_file.py": 1,  # JSON of the prompt file
    "photoscene/cli/errors.py": 1,  # the one place where a bug ends, and is told as one
    "photoscene/cli/object.py": 1,  # float()
    "photoscene/inputs/request.py": 3,  # JSON and float()
    "photoscene/models/hub.py": 2,  # handed from a thread to who waits for it; httpx, of proxies
    "photoscene/models/verify.py": 1,  # JSON of an index of weights
    "photoscene/quality/files.py": 1,  # trimesh and MuJoCo, of exported files
    "photoscene/runs/fits.py": 1,  # the number of a support in a run's JSON
    "photoscene/runs/ownership.py": 1,  # JSON of a run folder's records
    "cupid/checkpoints.py": 1,  # float() of a configuration's values
    "direct3d_s2/checkpoints.py": 1,  # float() of a scheduler's shift
    "pixal3d/checkpoints.py": 1,  # numbers of a sampler's JSON
    "pixal3d/images.py": 1,  # JSON of posed views
    "photoscene/self_test/__init__.py": 1,  # whatever goes wrong in a part is its line
    "scene/foreign_glb.py": 1,  # JSON and numbers of another program's GLB
    "scene/annotations.py": 4,  # JSON, XML, and the numbers in them
    "flows/profile.py": 1,  # PyYAML
    "flows/ray_pool.py": 1,  # Ray, of clusters that it does not find
    "scene/images.py": 1,  # LittleCMS
    "scene/archives.py": 1,  # JSON of what is kept of an archive
    "scene/manifests.py": 1,  # JSON of a result that a disk may have damaged
    "stages/settings.py": 1,  # float()
    "stages/complete/qwen_edit/__init__.py": 1,  # string.Formatter
    "stages/complete/qwen_edit/pipeline.py": 7,  # diffusers, peft, gguf and safetensors
    "stages/devices.py": 1,  # raised again, after its frames were cleared
    "stages/map_points/moge/__init__.py": 1,  # MoGe's solver of the focal length
    "stages/map_points/moge/weights.py": 1,  # JSON of a configuration
    "stages/model_record.py": 1,  # JSON of a folder of weights
    "stages/segment/sam3/networks.py": 1,  # transformers' tokenizer
    "stages/segment/shared/sam_images.py": 1,  # JSON of a folder of weights
    "stages/weights.py": 1,  # JSON of a folder of weights
}


def test_only_these_handlers_catch_what_a_bug_could_raise() -> None:
    found: dict[str, int] = {}
    for package, path in _files():
        if package in ("training", "benchmarks"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                caught = {n.id for n in ast.walk(node.type or node) if isinstance(n, ast.Name)}
                if node.type is None or caught & BROAD:
                    name = path.relative_to(ROOT).as_posix()
                    found[name] = found.get(name, 0) + 1
    assert found == BROAD_HANDLERS


def test_every_cited_equation_is_in_the_page_on_placement() -> None:
    page = (ROOT / "docs" / "placement.md").read_text("utf-8")
    numbered = re.findall(r"^    \((\d+)\)  ", page, re.MULTILINE)
    assert numbered == [str(n + 1) for n in range(len(numbered))]
    cited = {
        number
        for _, path in _files()
        for text in re.findall(r"placement\.md,\s+equations? ([\d and]+)", path.read_text("utf-8"))
        for number in re.findall(r"\d+", text)
    }
    assert cited and cited <= set(numbered)


def test_numbers_of_objects_are_formatted_in_one_file() -> None:
    """Names of all objects' artifacts, "002.mesh": `scene/bundles.py` makes and splits them."""
    found = [str(p.relative_to(ROOT)) for _, p in _files() if ":03d}" in p.read_text("utf-8")]
    assert found == ["scene/bundles.py"]
