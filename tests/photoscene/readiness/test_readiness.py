"""`photoscene check`: each finding follows what was done to a good photo, and only that."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from photoscene.readiness import READY, Readiness, check_photo
from photoscene.readiness.findings import KINDS, make_finding, ramp
from photoscene.readiness.image_measures import edge_blur_px, noise_level
from scene.types import Uint8
from support import ROOT
from support.small_photo import call

EXAMPLES = ROOT / "examples"
SIDE_PX = 2048


@cache
def coffee() -> Uint8:
    return np.asarray(Image.open(EXAMPLES / "coffee.jpg").convert("RGB"))


def png(rgb: Uint8) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG")
    return out.getvalue()


def jpeg(rgb: Uint8, quality: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=quality)
    return out.getvalue()


def levels(rgb: np.ndarray) -> Uint8:
    return np.rint(rgb).clip(0, 255).astype(np.uint8)


def scores(found: Readiness) -> dict[str, float]:
    return {finding.name: finding.score for finding in found.findings}


def cup_mask(left: int = 0, share: float = 1.0) -> bytes:
    """The cup on its saucer, in the photo less its left columns, or at a share of its size."""
    mask = np.zeros((400, 600), np.uint8)
    cv2.ellipse(mask, (278, 200), (200, 185), 0, 0, 360, 255, -1)
    return png(np.asarray(cv2.resize(mask[:, left:], None, fx=share, fy=share, interpolation=0)))


def given(data: bytes, mask: bytes | None = None) -> dict[str, float]:
    """The scores with the object given, so that only its pixels change."""
    return scores(check_photo(data, SIDE_PX, [("cup", mask or cup_mask())]))


@cache
def undamaged() -> dict[str, float]:
    return given(png(coffee()))


def noisy(rgb: Uint8, deviation: float) -> Uint8:
    return levels(rgb + np.random.default_rng(0).normal(0, deviation, rgb.shape))


def flat(rgb: Uint8, share: float) -> Uint8:
    return levels(128 + (rgb - 128.0) * share)


def burnt(rgb: Uint8, radius: int) -> Uint8:
    """A reflection of the sun on the cup."""
    return np.asarray(cv2.circle(rgb.copy(), (278, 200), radius, (255, 255, 255), -1))


def black(rgb: Uint8, radius: int) -> Uint8:
    return np.asarray(cv2.circle(rgb.copy(), (278, 200), radius, (0, 0, 0), -1))


# What is done, in steps from little to much, and the finding that tells it.
DEGRADED: dict[str, tuple[Callable[[Uint8, float], bytes], tuple[float, ...]]] = {
    "sharpness": (lambda a, s: png(levels(cv2.GaussianBlur(a, (0, 0), s))), (1.9, 2.5, 3.2)),
    "noise": (lambda a, s: png(noisy(a, s)), (9, 16, 28)),
    "compression": (lambda a, q: jpeg(a, int(q)), (60, 30, 12)),
    "contrast": (lambda a, k: png(flat(a, k)), (0.35, 0.25, 0.12)),
    "highlights": (lambda a, r: png(burnt(a, int(r))), (60, 85, 110)),
    "shadows": (lambda a, r: png(black(a, int(r))), (100, 125, 145)),
}


@pytest.mark.parametrize(
    "name",
    [
        n if n in ("sharpness", "shadows") else pytest.param(n, marks=pytest.mark.slow)
        for n in DEGRADED
    ],
)
def test_a_degraded_photo_loses_by_that_and_nothing_else(name: str) -> None:
    degrade, steps = DEGRADED[name]
    before = undamaged()
    assert before[name] > 0.95
    last = before[name]
    for step in steps:
        after = given(degrade(coffee(), step))
        assert after[name] < last - 0.05, f"step {step}"
        last = after.pop(name)
        others = {n: before[n] - score for n, score in after.items()}
        assert max(others.values()) < 0.05, (step, max(others, key=lambda n: others[n]))
    assert last < 0.5


def test_a_smaller_photo_loses_resolution_and_object_size_together() -> None:
    last = undamaged()
    for share in (0.8, 0.6, 0.4):
        small = np.asarray(cv2.resize(coffee(), None, fx=share, fy=share, interpolation=3))
        after = given(png(small), cup_mask(share=share))
        for name in ("resolution", "object size"):
            assert after[name] < last[name] - 0.05
        same = set(after) - {"resolution", "object size"}
        assert all(abs(after[n] - last[n]) < 0.05 for n in same)
        last = after


def test_an_object_across_the_border() -> None:
    last = 1.1
    for left in (0, 130, 200, 300):  # the saucer begins at 78 pixels
        now = given(png(coffee()[:, left:]), cup_mask(left))["cut off"]
        assert now < last
        last = now
    assert last < 0.5


def balls(count: int, spacing_px: int, radius: int = 40) -> tuple[Uint8, list[bytes]]:
    """A row-wise array of balls, and a mask of each."""
    rgb = np.full((700, 1000, 3), 150, np.uint8)
    masks = []
    for i in range(count):
        centre = (60 + spacing_px * (i % 9), 60 + spacing_px * (i // 9))
        mask = np.zeros(rgb.shape[:2], np.uint8)
        cv2.circle(mask, centre, radius, 255, -1)
        rgb[mask > 0] = (200, 60, 20 * (i % 9))
        masks.append(png(mask))
    return rgb, masks


def clutter_of(count: int, spacing_px: int) -> float | None:
    rgb, masks = balls(count, spacing_px)
    found = check_photo(png(rgb), SIDE_PX, [(str(i), m) for i, m in enumerate(masks)])
    return next(f.value for f in found.findings if f.name == "clutter")


@pytest.mark.slow
def test_clutter_counts_objects_and_those_that_touch() -> None:
    assert clutter_of(4, 100) == 4
    assert clutter_of(4, 82) == 6
    assert clutter_of(18, 100) == 18
    assert make_finding("clutter", 18).score < make_finding("clutter", 6).score == 1


def marked(rgb: Uint8, alpha: float) -> Uint8:
    """A word all over the photo, mixed in."""
    layer = Image.new("L", (rgb.shape[1], rgb.shape[0]), 0)
    draw = ImageDraw.Draw(layer)
    for y in range(8, rgb.shape[0], 80):
        for x in range(8, rgb.shape[1], 140):
            draw.text((x, y), "Sample", fill=255, font=ImageFont.load_default(24))
    weight = np.asarray(layer)[..., None] / 255 * alpha
    return levels(rgb * (1 - weight) + 255 * weight)


def captioned(rgb: Uint8, colour: tuple[int, int, int]) -> Uint8:
    image = Image.fromarray(rgb)
    font = ImageFont.load_default(32)
    ImageDraw.Draw(image).text((30, 180), "Sample Photo 2024", fill=colour, font=font)
    return np.asarray(image)


def overlay_of(data: bytes) -> float:
    return given(data)["overlay"]


def test_marks_and_captions_are_told() -> None:
    assert overlay_of(jpeg(marked(coffee(), 0.5), 92)) < 0.5
    assert overlay_of(jpeg(captioned(coffee(), (255, 255, 255)), 92)) == 0
    assert overlay_of(jpeg(captioned(coffee(), (8, 8, 8)), 92)) == 0


@pytest.mark.parametrize("name", ["coffee.jpg", "breakfast.jpg"])
def test_good_photos_are_ready_and_carry_no_false_hint(name: str) -> None:
    found = check_photo((EXAMPLES / name).read_bytes(), SIDE_PX)
    assert found.score >= READY and found.ready
    whole = ("objects", "sharpness", "noise", "compression", "overlay", "see-through", "contrast")
    assert all(scores(found)[n] == 1 for n in whole)


@pytest.mark.slow
def test_a_large_sharp_photo_of_one_object_has_a_high_score() -> None:
    """As its camera wrote it: with a focal length."""
    rgb, _ = balls(0, 1)
    big = np.asarray(cv2.resize(rgb, (2000, 1400)))
    cv2.circle(big, (1000, 700), 420, (30, 90, 200), -1)
    cv2.circle(big, (900, 600), 150, (220, 200, 40), -1)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 35
    out = io.BytesIO()
    Image.fromarray(big).save(out, "JPEG", quality=92, exif=exif)
    found = check_photo(out.getvalue(), SIDE_PX, boxes=[(560, 260, 1440, 1140)])
    assert found.score >= 95


def glass(rgb: Uint8) -> Uint8:
    """The background seen through a slightly brighter rim, and glints."""
    out = rgb.astype(np.float32)
    rim = np.zeros(rgb.shape[:2], np.uint8)
    cv2.ellipse(rim, (480, 200), (90, 140), 0, 0, 360, 255, 4)
    out[rim > 0] = out[rim > 0] * 0.6 + 80
    for x, y in ((440, 130), (455, 260), (520, 150)):
        cv2.ellipse(out, (x, y), (5, 12), 20, 0, 360, (255, 255, 255), -1)
    return levels(out)


def test_glass_is_a_possibility() -> None:
    table = levels(np.random.default_rng(0).normal(120, 4, (400, 800, 3)))
    mask = np.zeros((400, 800), np.uint8)
    cv2.ellipse(mask, (480, 200), (92, 142), 0, 0, 360, 255, -1)
    ball = glass(table)
    ball[(mask > 0) & (ball.min(-1) < 250)] = (180, 60, 40)  # as bright glints, another colour
    for rgb, score in ((glass(table), 0), (table, 1), (ball, 1)):
        assert given(png(rgb), png(mask))["see-through"] == score


@pytest.mark.parametrize("sigma_px", [1.0, 2.0, 3.0, 5.0])
@pytest.mark.parametrize("contrast", [20, 150])
def test_an_edges_blur_is_measured_whatever_its_contrast(sigma_px: float, contrast: int) -> None:
    step = np.full((120, 160), 60, np.float32)
    step[:, 80:] += contrast
    step = cv2.GaussianBlur(step, (0, 0), sigma_px)
    found = edge_blur_px(step, np.ones(step.shape, bool))
    assert found == pytest.approx(sigma_px, rel=0.12)


def test_noise_is_measured_beside_edges_and_texture() -> None:
    y, x = np.mgrid[:256, :256]
    scene = 120 + 40 * (x > 128) + 20 * np.sin(x / 9) * (y > 200)
    for deviation in (2.0, 8.0, 20.0):
        noise = np.random.default_rng(1).normal(0, deviation, scene.shape)
        found = noise_level((scene + noise).astype(np.float32))
        assert found == pytest.approx(deviation, rel=0.15)


def _odd(name: str) -> bytes:
    rng = np.random.default_rng(0)
    size = (240, 320, 3)
    pictures = {
        "grey": np.full(size, 128, np.uint8),
        "black": np.zeros(size, np.uint8),
        "white": np.full(size, 255, np.uint8),
        "tiny": rng.integers(0, 255, (16, 16, 3), dtype=np.uint8),
        "narrow": rng.integers(0, 255, (16, 900, 3), dtype=np.uint8),
        "static": rng.integers(0, 255, size, dtype=np.uint8),
        "one channel": rng.integers(0, 255, (90, 120), dtype=np.uint8),
        "see-through": rng.integers(0, 255, (90, 120, 4), dtype=np.uint8),
    }
    return png(pictures[name])


@pytest.mark.parametrize(
    "name",
    ["black", "tiny", *(pytest.param(n, marks=pytest.mark.slow) for n in
                        ("grey", "white", "narrow", "static", "one channel", "see-through"))],
)  # fmt: skip
def test_odd_pictures_are_judged_too(name: str) -> None:
    alone = check_photo(_odd(name), SIDE_PX)
    boxed = check_photo(_odd(name), SIDE_PX, boxes=[(2.0, 2.0, 14.0, 14.0)])
    for found in (alone, boxed):
        assert 0 <= found.score <= 100
        assert {f.name for f in found.findings} == set(KINDS)
        assert all(0 <= f.score <= 1 and f.penalty >= 0 for f in found.findings)
    if name in ("grey", "black", "white", "tiny", "static"):
        assert not alone.ready
    if name == "grey":
        assert next(f for f in boxed.findings if f.name == "sharpness").value is None


def test_the_page_has_the_weights_and_thresholds() -> None:
    page = (EXAMPLES.parent / "docs" / "readiness.md").read_text("utf-8")
    for name, kind in KINDS.items():
        row = f"| {name} | {kind.unit} | {kind.good:g} | {kind.bad:g} | {kind.weight:g} |"
        assert row in page
    assert f"the score is {READY} or more" in page


def test_the_score_is_what_the_penalties_leave() -> None:
    found = check_photo((EXAMPLES / "coffee.jpg").read_bytes(), SIDE_PX)
    assert found.score == max(0, round(100 - sum(f.penalty for f in found.findings)))
    penalties = [f.penalty for f in found.findings]
    assert penalties == sorted(penalties, reverse=True)
    assert ramp(5, 10, 0) == 0.5 and ramp(-1, 10, 0) == 0 and ramp(11, 10, 0) == 1
    assert ramp(200, 400, 100, by_ratio=True) == pytest.approx(0.5)


def test_the_command_speaks_to_people_and_machines(tmp_path: Path) -> None:
    good = call("check", EXAMPLES / "coffee.jpg")
    assert good.exit_code == 0 and " of 100: coffee.jpg is ready" in good.stdout
    assert "-3    focal length" in good.stdout and "give --fov" in good.stdout
    (tmp_path / "dark.png").write_bytes(_odd("black"))
    bad = call("check", tmp_path / "dark.png")
    assert bad.exit_code == 1 and f"not ready (below {READY})" in bad.stdout
    assert "choose one with --box" in bad.stdout
    told = json.loads(call("check", tmp_path / "dark.png", "--json").stdout)
    assert told["ready"] is False and told["threshold"] == READY
    assert {"name", "score", "penalty", "value", "unit", "advice"} == set(told["findings"][0])


MISTAKES = {
    "no file": (("none.jpg",), "photo none.jpg does not exist"),
    "no picture": (("text.jpg",), "photo text.jpg is not a picture"),
    "box": (("good.jpg", "--box", "5,5,5,9"), "--box 5,5,5,9: expected X0 < X1"),
    "box outside": (("good.jpg", "--box", "900,900,950,950"), "--box 900,900,950,950 lies outside"),
    "mask size": (("good.jpg", "--mask", "small.png"), "--mask small.png is 8 x 8 pixels"),
    "mask empty": (("good.jpg", "--mask", "empty.png"), "--mask empty.png is empty"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_one_line(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.jpg").write_bytes((EXAMPLES / "coffee.jpg").read_bytes())
    Path("text.jpg").write_text("no picture")
    Path("small.png").write_bytes(png(np.zeros((8, 8), np.uint8)))
    Path("empty.png").write_bytes(png(np.zeros((400, 600), np.uint8)))
    options, message = MISTAKES[case]
    result = call("check", *options)
    assert result.exit_code == 2 and message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_12_megapixels_need_neither_torch_nor_prefect(tmp_path: Path) -> None:
    Image.fromarray(coffee()).resize((4000, 3000)).save(tmp_path / "large.jpg", quality=92)
    code = (
        "import sys\nfrom photoscene.cli import app\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert end.code in (0, None)\n"
        "assert not {'torch', 'prefect'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "check", str(tmp_path / "large.jpg")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "large.jpg is ready" in done.stdout
