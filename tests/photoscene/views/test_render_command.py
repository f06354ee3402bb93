"""Does `photoscene render` write what was asked for, the same bytes each time, and nothing else?"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.browser import headless_browser
from photoscene.views.animations import animation, check_animation
from scene.errors import BadInput
from scene.types import Uint8
from support import DATA
from support.small_photo import call

SMALL = ("--size", "48", "--store", "store")


@pytest.fixture(autouse=True)
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder "run" and its store "store" in the working directory."""
    with zipfile.ZipFile(DATA / "run_folder.zip") as packed:
        packed.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def frames() -> list[Uint8]:
    """A grey ramp over which a red square goes to the right."""
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None], 48, 0)
    images = [np.repeat(ramp[..., None], 3, 2) for _ in range(6)]
    for number, image in enumerate(images):
        image[20:28, 8 * number : 8 * number + 8] = (220, 30, 30)
    return images


def test_views_are_written_into_the_run_folder(run_folder: Path) -> None:
    done = call("render", "run", "--view", "camera", "--view", "35,-10", "--json", *SMALL)
    assert done.exit_code == 0, done.stderr
    files = [Path(name) for name in json.loads(done.stdout)["files"]]
    assert files == [Path("run/views/camera.png"), Path("run/views/35_-10.png")]
    images = [np.asarray(Image.open(path)) for path in files]
    assert images[0].shape[1] == 48 and images[0].shape[2] == 3
    assert all(image.std() > 5 for image in images)
    again = call("render", "run", "--view", "35,-10", "-o", "other.png", *SMALL)
    assert again.exit_code == 0 and Path("other.png").read_bytes() == files[1].read_bytes()


def test_one_object_is_drawn_without_the_others_and_from_a_folder_without_its_store() -> None:
    for options in (SMALL, ("--size", "48", "--store", "nothing")):
        done = call("render", "run", "--object", "1", "--background", "transparent", "--view",
                    "camera", "--force", *options)  # fmt: skip
        assert done.exit_code == 0, done.stderr
        (file,) = Path("run/views").iterdir()
        assert file.name.startswith("01_") and file.name.endswith("_camera.png")
        single = np.asarray(Image.open(file))
    call("render", "run", "--background", "transparent", "--view", "camera", *SMALL)
    whole = np.asarray(Image.open("run/views/camera.png"))
    opaque = [int((image[..., 3] == 255).sum()) for image in (single, whole)]
    assert 0 < opaque[0] < opaque[1]


@pytest.mark.parametrize("suffix", [".gif", ".png"])
def test_a_turntable_is_an_animation_that_repeats(suffix: str) -> None:
    done = call("render", "run", "--turntable", f"all{suffix}", "--frames", "5", *SMALL)
    assert done.exit_code == 0, done.stderr
    image = Image.open(f"all{suffix}")
    assert getattr(image, "n_frames", 1) == 5 and image.info["loop"] == 0
    assert round(image.info["duration"]) == 50
    assert not Path("run/views").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--view", "above"], "--view above: expected camera, front"),
        (["--size", "big"], "--size big: expected pixels"),
        (["--size", "9000"], "--size 9000: expected 16 to 8192 pixels"),
        (["--object", "9"], "--object 9: the run has 1"),
        (["--background", "blue"], "--background blue: expected light"),
        (["--turntable", "a.avi"], "expected a .gif, .png or .mp4 file, got .avi"),
        (["--turntable", "a.gif", "--frames", "1"], "--frames 1: expected 2 to 1000"),
        (["--turntable", "a.gif", "--background", "transparent"], "write a .png"),
        (["--turntable", "a.png", "--size", "4000", "--frames", "99"], "too many for a .png"),
        (["--turntable", "a.mp4", "--size", "65x48"], "even numbers of pixels"),
        (["-o", "a.png", "--view", "top", "--view", "left"], "one file, for one --view"),
        (["--frames", "20"], "--frames 20 is for a turntable: add --turntable FILE"),
        (["-o", "out", "--turntable", "a.gif"], "-o out is for views, the turntable goes to a.gif"),
        (["-o", "notes.png"], "notes.png exists: give another name, or --force"),
        (["--turntable", "notes.png"], "notes.png exists: give another name, or --force"),
        (["-o", "a.png", "--turntable", "a.png", "--view", "top"], "would be written twice"),
        (["-o", "s3://bucket/views"], "local folders only"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(
    options: list[str], message: str, tmp_path: Path
) -> None:
    Path("notes.png").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    refused = call("render", "run", "--store", "store", *options)
    assert refused.exit_code == 2 and refused.stderr.count("\n") == 1
    assert message in refused.stderr
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_gif_has_one_palette_and_still_its_colours() -> None:
    data = animation(".gif", frames())
    assert data == animation(".gif", iter(frames()))
    image = Image.open(io.BytesIO(data))
    for number, expected in enumerate(frames()):
        image.seek(number)
        found = np.asarray(image.convert("RGB")).astype(int)
        assert np.abs(found - expected).mean() < 4 and np.abs(found - expected).max() < 40


@pytest.mark.extra("av")
def test_an_mp4_is_h264_with_the_colours_of_its_frames() -> None:
    import av

    check_animation(".mp4", 6, (64, 48), False)
    data = animation(".mp4", frames())
    assert data == animation(".mp4", frames())
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.pix_fmt == "yuv420p"
        assert stream.average_rate == 20
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(decoded) == 6
    for found, expected in zip(decoded, frames(), strict=True):
        assert np.abs(found.astype(int) - expected).mean() < 6


@pytest.mark.extra("av")
@pytest.mark.extra("browser")
def test_an_mp4_plays_in_a_browser(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(animation(".mp4", frames()))
    (tmp_path / "page.html").write_text('<video src="a.mp4" muted></video>')
    with headless_browser() as browser:
        page = browser.new_page()
        page.goto((tmp_path / "page.html").as_uri())
        played = page.evaluate(
            """() => new Promise((done) => {
              const video = document.querySelector("video");
              video.onended = () => done([video.videoWidth, video.videoHeight, video.duration]);
              video.onerror = () => done(video.error.message);
              setTimeout(() => done("no end"), 60000);
              video.play();
            })"""
        )
    assert played == [64, 48, pytest.approx(0.3)]


def test_what_brings_an_mp4_is_said_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    refused = call("render", "run", "--turntable", "a.mp4", *SMALL)
    assert refused.exit_code == 3 and "pip install -e '.[video]'" in refused.stderr
    with pytest.raises(BadInput):
        check_animation(".webm", 6, (64, 48), False)
