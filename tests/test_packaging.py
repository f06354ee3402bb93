"""A built wheel, installed elsewhere, finds its profiles and weights."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from support import ROOT

LOOK = """
import sys
sys.path.insert(0, sys.argv[1])
import flows.plan, flows.profile, stages.settings, stages.segment.shared.saliency, photoscene.cli
assert flows.profile.__file__.startswith(sys.argv[1]), flows.profile.__file__
profile = flows.profile.load_profile("lite")
for stage, choice in profile.stages.items():
    stages.settings.make_settings(flows.plan.STAGES[stage], choice.backend, choice.settings)
stages.segment.shared.saliency.load_saliency()
print("found")
"""


def build(kind: str, folder: Path) -> Path:
    """A distribution of the working tree."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (built,) = folder.iterdir()
    return built


def test_the_source_distribution_leaves_what_only_measures_and_shows_behind(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as archive:
        files = {m.name.split("/", 1)[1]: m.size for m in archive.getmembers() if m.isfile()}
    assert {"LICENSE", "Makefile", "weights/lite/generator.onnx", "benchmarks/scenes.py"} <= set(
        files
    )
    assert not [
        f for f in files if f.startswith(("docs/", "examples/", "benchmarks/ground_truth/"))
    ]


def test_the_wheel_carries_profiles_and_weights(tmp_path: Path) -> None:
    wheel = build("wheel", tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    pages = {
        "choosing/page.html",
        "report/report.html.jinja",
        "report/vendor/model-viewer-umd.min.js",
        "report/vendor/LICENSE-model-viewer.txt",
    }
    assert {f"photoscene/{page}" for page in pages} <= set(names)
    assert {"configs/work_pools/kubernetes.json", "configs/slurm/batch.sbatch"} <= set(names)
    tops = {n.split("/")[0] for n in names if not n.startswith("photoscene-")}
    assert tops == {
        "scene",
        "meshes",
        "alignment",
        "pixal3d",
        "direct3d_s2",
        "cupid",
        "sparse3d",
        "stages",
        "flows",
        "photoscene",
        "configs",
        "weights",
    }
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(tmp_path / "site")],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == "found", done.stderr
