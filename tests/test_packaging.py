"""A built wheel, installed elsewhere, finds its profiles and weights."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOOK = """
import sys
sys.path.insert(0, sys.argv[1])
import scene.profile, stages.backends, stages.segment.saliency, photoscene.cli
assert scene.profile.__file__.startswith(sys.argv[1]), scene.profile.__file__
profile = scene.profile.load_profile("lite")
for stage, choice in profile.stages.items():
    stages.backends.make_settings(stage, choice.backend, choice.settings)
stages.segment.saliency.load_saliency()
print("found")
"""


def test_the_wheel_carries_profiles_and_weights(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
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
    tops = {n.split("/")[0] for n in names if not n.startswith("photoscene-")}
    assert tops == {
        "scene",
        "alignment",
        "pixal3d",
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
