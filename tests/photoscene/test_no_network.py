"""No command asks for a name or sends a packet beyond this machine, nor leaves others' files."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from scene import child
from scene.telemetry import SWITCHES
from support import TESTS
from support.no_network import COMMIT, NAMESPACES, SELF_CHECK, permitted
from support.small_photo import SmallPhoto

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not permitted(), reason="namespaces of networks are not permitted here"),
]

PHOTOSCENE = str(Path(sys.executable).with_name("photoscene"))
TABLE = f"""
thing: {{stage: generate, backend: pixal3d, gigabytes: 0.1, licence: MIT, about: x,
  repo: maker/thing, revision: "{COMMIT}", files: [config.json, model.safetensors]}}
"""
PULL = """
import pathlib, sys
import stages.model_table
folder = pathlib.Path(sys.argv.pop(1))
stages.model_table.resources = lambda package: folder
from photoscene.cli import app
app(prog_name="photoscene")
"""
LIBRARY = """
import sys
from pathlib import Path
from photoscene.inputs.request import Arguments, build_request
from photoscene.runs.reconstruction import reconstruct_photo
from scene.store import Store
photo, mask, root = map(Path, sys.argv[1:])
store = Store(root)
request = build_request(Arguments(photo, masks=(mask,), until="segment"), store)
scene, _ = reconstruct_photo(request, store)
assert len(scene.objects) == 1
"""
OBJECT = """
import sys
from pathlib import Path
from PIL import Image
photo, mask, path = sys.argv[1:]
picture = Image.open(photo).convert("RGB")
picture.putalpha(Image.open(mask).convert("L"))
picture.save(path)
"""
# As in photoscene: a torchvision that does not load beside this torch is not to matter.
PREPARED = "from stages.pretrained import prepare_torchvision; prepare_torchvision()\n"
# How each library says that it runs, which is when those with telemetry speak.
LIBRARIES = {
    "prefect": "import prefect, prefect.events, prefect.client.orchestration",
    "huggingface_hub": "from huggingface_hub.utils import send_telemetry; import time\n"
    "send_telemetry('photoscene/test'); time.sleep(1)",
    "transformers": PREPARED
    + "from transformers import AutoConfig, CLIPConfig, AutoProcessor\nCLIPConfig()",
    "diffusers": PREPARED + "from diffusers import DiffusionPipeline, UNet2DModel",
    "onnxruntime": "import onnxruntime; onnxruntime.get_available_providers()",
    "torch": "import torch, torch.hub; torch.ones(3).sum()",
    "ray": "import ray; ray.init(num_cpus=1, include_dashboard=False); ray.shutdown()",
}


def files_below(folder: Path) -> set[str]:
    """The files and links in a folder, by their path in it."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


class Machine:
    """A home, a folder for temporary files, and what is carried out there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.temporary = folder, folder / "home", folder / "temporary"
        self.home.mkdir()
        self.temporary.mkdir()
        self.tasks: list[dict] = []

    def add(self, name: str, *words: object, **variables: str) -> None:
        """One more task."""
        self.tasks.append({"name": name, "words": [str(w) for w in words], "variables": variables})

    def carry_out(self) -> dict[str, dict]:
        """What came of each task, after one that shows that names and packets are seen."""
        self.tasks.insert(0, {"name": "seen", "variables": {},
                              "words": [sys.executable, "-c", SELF_CHECK]})  # fmt: skip
        path = self.folder / "tasks.json"
        path.write_text(json.dumps(self.tasks))
        dropped = {*SWITCHES, "PREFECT_LOGGING_LEVEL", "PREFECT_API_URL", "PREFECT_HOME"}
        environment = {k: v for k, v in child.environment().items() if k not in dropped}
        places = {"HOME": str(self.home), "TMPDIR": str(self.temporary),
                  "PYTHONPATH": str(TESTS)}  # fmt: skip
        driver = [sys.executable, "-m", "support.no_network", path]
        done = subprocess.run(
            [*NAMESPACES, *driver],
            cwd=self.folder, capture_output=True, text=True, env={**environment, **places},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found: dict[str, dict] = {}
        for line in done.stdout.splitlines():
            found |= json.loads(line)
        seen = found.pop("seen")
        assert seen["names"] == ["name.example"] and seen["packets"] > 0, seen
        return found


def assert_quiet(found: dict[str, dict], names: list[str]) -> None:
    """All ended well; none asked for a name, and nothing left the machine."""
    assert list(found) == names
    for name, told in found.items():
        assert told["status"] == 0, (name, told["said"])
        assert (told["names"], told["packets"]) == ([], 0), (name, told)


def test_commands_stay_on_this_machine(small_photo: SmallPhoto, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    photo, mask, cutout = small_photo.photo, small_photo.masks["a"], tmp_path / "cutout.png"
    (tmp_path / "models.yaml").write_text(TABLE)
    subprocess.run([sys.executable, "-c", OBJECT, photo, mask, cutout], check=True)
    run = tmp_path / "run"
    models = {"PHOTOSCENE_MODELS": str(tmp_path / "models")}
    pull = [sys.executable, "-c", PULL, tmp_path, "models", "pull", "thing", "--wait", 60]
    machine.add("run", PHOTOSCENE, "run", *small_photo.options(), "-o", run)
    machine.add("segment", PHOTOSCENE, "segment", photo, "--box", "18,70,103,124", "-o", run)
    machine.add("object", PHOTOSCENE, "object", cutout, "--backend", "lite", "-o", "object.glb")
    machine.add("doctor", PHOTOSCENE, "doctor")
    machine.add("pull", *pull, HF_ENDPOINT="HUB", **models)
    machine.add("pull from the mirror", *pull, **models)
    machine.add("verify", *pull[:4], "models", "verify", "thing", **models)
    machine.add("library", sys.executable, "-c", LIBRARY, photo, mask, tmp_path / "store")
    names = [task["name"] for task in machine.tasks]
    assert_quiet(machine.carry_out(), names)
    assert (run / "run.json").exists() and (tmp_path / "object.glb").exists()
    assert files_below(machine.temporary) == set()
    left = {"/".join(name.split("/")[:2]) for name in files_below(machine.home)}
    assert all(name.startswith((".prefect/", ".cache/photoscene")) for name in left), left
    assert not {
        n for n in files_below(machine.home / ".prefect") if not n.startswith("photoscene-")
    }


def test_libraries_stay_on_this_machine(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    for name in filter(importlib.util.find_spec, LIBRARIES):
        machine.add(name, sys.executable, "-c", f"import photoscene\n{LIBRARIES[name]}")
    names = [task["name"] for task in machine.tasks]
    assert {"prefect", "onnxruntime"} <= {*names}
    assert_quiet(machine.carry_out(), names)
    assert files_below(machine.temporary) == set()
    assert {n for n in files_below(machine.home) if not n.startswith(".prefect/")} == set()
