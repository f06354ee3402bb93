"""Does the inspection page say everything, safely, from one file, whatever became of the run?"""

from __future__ import annotations

import base64
import json
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.browser import headless_browser
from photoscene.report.embed import json_for_script, script_text
from photoscene.report.page import Verdict, verdict
from photoscene.report.previews import STAGE
from photoscene.report.steps import known_weights, used_weights
from photoscene.report.viewer_model import (
    TOTAL_BUDGET_BYTES,
    light_object,
    object_budget,
)
from photoscene.runs.record import StepRecord
from photoscene.runs.writing import write_report
from scene.cameras import camera_from_fov, resize_camera
from scene.files import encode_json
from scene.glb import object_from_glb
from scene.keys import digest
from scene.placed import in_camera_frame, placed_meshes
from scene.raycast import render
from scene.scene_json import scene_from_json, scene_to_json
from scene.store import Store
from scene.types import Bool, Figure, ObjectMesh, PointMap, Scene, Uint8
from support import ROOT
from support.browser import (
    Heard,
    drawn,
    eventually,
    inner,
    open_page,
    overlap,
    picture_of,
)
from support.small_photo import SmallPhoto, call, small_masks

HOSTILE = "<img src=x onerror=alert(1)>"
SECTIONS = ("photo", "scene", "points", "objects", "steps", "credits")
READY = "#viewer[data-ready=yes]"
HEAVY = ("trimesh", "scipy", "embreex", "prefect", "onnxruntime")


@dataclass(frozen=True)
class Reported:
    """A run folder with its page, and the store."""

    folder: Path
    store: Store
    options: list[str]

    @property
    def html(self) -> str:
        return (self.folder / "report.html").read_text("utf-8")

    @property
    def scene(self) -> Scene:
        return scene_from_json(json.loads((self.folder / "scene.json").read_text("utf-8")))

    def again(self, folder: Path, *more: str) -> Reported:
        """The same photo run with more options into another folder, with its page."""
        options = [*self.options, *more]
        result = call("run", *options, "--store", self.store.root, "-o", folder)
        assert result.exit_code in (0, 1), result.stderr
        write_report(folder, self.store)
        return Reported(folder, self.store, options)


@pytest.fixture(scope="module")
def reported(
    small_photo: SmallPhoto, prefect_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Reported:
    """A finished run of the small photo, one of whose labels is an attack, and its page."""
    folder = tmp_path_factory.mktemp("report")
    hostile = folder / f"{HOSTILE}.png"
    shutil.copy(small_photo.masks["c"], hostile)
    options = [str(hostile) if o == str(small_photo.masks["c"]) else o
               for o in small_photo.options()]  # fmt: skip
    made = Reported(folder / "run", Store(folder / "store"), options)
    return made.again(made.folder)


@pytest.fixture
def own(reported: Reported, tmp_path: Path) -> Reported:
    """A copy of the run and its store, without stored previews, that a test may change."""
    folder, root = tmp_path / "run", tmp_path / "store"
    shutil.copytree(reported.folder, folder)
    shutil.copytree(reported.store.root, root)
    for path in (root / "results").rglob("*.json"):
        if json.loads(path.read_text("utf-8"))["result"]["stage"] == STAGE:
            path.unlink()
    return Reported(folder, Store(root), reported.options)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with headless_browser() as found:
        yield found


@pytest.fixture(scope="module")
def opened(browser: Browser, reported: Reported) -> Iterator[tuple[Page, Heard]]:
    """The page with its 3D view ready; tests leave it at the photo's viewpoint."""
    with open_page(browser, reported.folder / "report.html") as (page, heard):
        page.locator("#viewer").scroll_into_view_if_needed()
        page.wait_for_selector(READY)
        yield page, heard


@pytest.mark.extra("browser")
def test_the_page_opens_offline_without_a_word(opened: tuple[Page, Heard]) -> None:
    page, heard = opened
    for name in SECTIONS:
        section = page.locator(f"section#{name}")
        section.scroll_into_view_if_needed()
        assert section.is_visible() and section.locator("h2").is_visible()
    assert (
        page.locator(".verdict").inner_text() == "3 of 3 objects placed, none failed, none to check"
    )
    broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).length"
    assert page.evaluate(broken) == 0
    assert heard == Heard()


@pytest.mark.extra("browser")
def test_a_hostile_label_is_only_text(opened: tuple[Page, Heard]) -> None:
    page, heard = opened
    assert page.get_by_text(f"Label: {HOSTILE}").is_visible()
    assert page.locator("img[src=x]").count() == 0
    assert heard.dialogs == []


@pytest.mark.extra("browser")
def test_the_slider_works_by_keyboard(opened: tuple[Page, Heard]) -> None:
    page, _ = opened
    opacity = "Number(getComputedStyle(document.getElementById('overlay')).opacity)"
    assert page.evaluate(opacity) == pytest.approx(0.6)
    page.locator("#opacity").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(opacity) == pytest.approx(0.61)
    page.locator("#opacity").fill("0")
    assert page.evaluate(opacity) == 0
    page.locator("#opacity").fill("60")


@pytest.mark.extra("browser")
def test_the_viewer_shows_the_photos_view(opened: tuple[Page, Heard], reported: Reported) -> None:
    page, _ = opened
    page.locator("#turned-view").focus()
    page.keyboard.press("Enter")
    first = picture_of(page, "#viewer")
    outline, colours = _expected(reported, first.shape[1], first.shape[0])

    def agreement(seen: Uint8) -> float:
        return overlap(drawn(seen), outline)

    turned = eventually(page, lambda: picture_of(page, "#viewer"), lambda p: agreement(p) < 0.7)
    assert agreement(turned) < 0.8  # so the figure below can fail
    page.locator("#photo-view").click()
    seen = eventually(page, lambda: picture_of(page, "#viewer"), lambda p: agreement(p) > 0.97)
    assert agreement(seen) > 0.95
    both = inner(outline & drawn(seen))
    difference = np.abs(seen[both].astype(int) - colours[both])
    assert np.median(difference) < 8  # of 255: textures are shown as they are
    expect(page.locator("#photo-view")).to_have_attribute("aria-pressed", "true")


@pytest.mark.extra("browser")
def test_a_narrow_box_does_not_widen_the_photos_view(
    opened: tuple[Page, Heard], reported: Reported
) -> None:
    """In a box narrower than the model the viewer itself would show a larger field of view."""
    page, _ = opened
    box = "document.querySelector('.viewer-box').style"
    page.evaluate(f"{box}.setProperty('--aspect', '0.5')")
    assert page.evaluate("viewer.getIdealAspect()") > 0.7

    def view() -> Uint8:
        page.locator("#photo-view").click()
        return picture_of(page, "#viewer")

    height, width = eventually(page, view, lambda p: p.shape[1] < 0.6 * p.shape[0]).shape[:2]
    whole, _ = _expected(reported, round(height * 4 / 3), height)
    first = (whole.shape[1] - width) // 2
    outline = whole[:, first : first + width]
    seen = eventually(page, view, lambda p: overlap(drawn(p), outline) > 0.95)
    page.evaluate(f"{box}.setProperty('--aspect', String(4 / 3))")
    eventually(page, view, lambda p: p.shape[1] > p.shape[0])
    assert width < 0.6 * height
    assert overlap(drawn(seen), outline) > 0.95


@pytest.mark.extra("browser")
def test_a_name_brings_the_view_to_its_object(opened: tuple[Page, Heard]) -> None:
    page, heard = opened
    page.locator("[data-object='2']").click()
    scene = json.loads(page.locator("#viewer-data").text_content() or "")
    centre = pytest.approx(scene["objects"]["2"]["centre"], abs=1e-3)
    target = "(({x, y, z}) => [x, y, z])(viewer.getCameraTarget())"
    assert eventually(page, lambda: page.evaluate(target), lambda t: t == centre) == centre
    page.locator("#photo-view").click()
    expect(page.locator("#photo-view")).to_have_attribute("aria-pressed", "true")
    assert heard.nothing()


@pytest.mark.extra("browser")
def test_the_page_fits_windows_and_paper(browser: Browser, reported: Reported) -> None:
    with open_page(browser, reported.folder / "report.html", dark=True) as (page, heard):
        page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
        for width in (1400, 820, 390):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") == width
        page.evaluate("for (const d of document.querySelectorAll('details')) d.open = false")
        page.emulate_media(media="print")
        expect(page.locator("details:not([open])")).to_have_count(0)
        for hidden in ("#viewer", "#opacity", "#photo-view", "nav"):
            expect(page.locator(hidden)).to_be_hidden()
        assert page.evaluate("getComputedStyle(document.getElementById('overlay')).opacity") == "1"
        assert page.locator(".card .facts").first.is_visible()
        assert heard.nothing()


# What each section says when the run stopped after a stage.
SAID = {
    "segment": ("as asked: 3 objects found", "There is no point map and no camera"),
    "map_points": ("the point map is made", "No masks: the run stopped after map_points"),
    "complete": ("Stopped after complete, as asked", "Not made: the run stopped after complete"),
    "generate": ("Stopped after generate, as asked", "There is no scene to show"),
    "place": ("Stopped after place, as asked", "There is no re-render: the run stopped"),
}


@pytest.mark.extra("browser")
def test_a_run_that_stopped_early_says_so(
    reported: Reported, browser: Browser, tmp_path: Path
) -> None:
    for stage, said in SAID.items():
        partial = reported.again(tmp_path / stage, "--until", stage)
        text = _text(partial.html)
        for phrase in said:
            assert phrase in text, (stage, phrase)
        with open_page(browser, partial.folder / "report.html") as (page, heard):
            assert all(page.locator(f"section#{name}").is_visible() for name in SECTIONS)
            assert heard.nothing(), (stage, heard)
        shows_scene = "model-viewer id" in partial.html
        assert shows_scene == (stage == "place"), stage


def test_a_failed_object_keeps_its_reason(
    reported: Reported, small_photo: SmallPhoto, prefect_server: str, tmp_path: Path
) -> None:
    depth = np.where(small_masks()["c"], np.nan, np.load(small_photo.depth))
    np.save(tmp_path / "depth.npy", depth)
    relief = ("--set", "generate.backend=relief")  # which cannot do without depth
    failed = reported.again(tmp_path / "run", "--pointmap", str(tmp_path / "depth.npy"), *relief)
    assert "2 of 3 objects placed, 1 object failed" in failed.html
    assert '<p class="failure">generate: the point map has no depth on this' in failed.html
    assert "Not made: this object failed before." in failed.html
    assert 'data-object="3"' not in failed.html and 'data-object="2"' in failed.html


def test_a_run_without_objects_or_depth_says_so(own: Reported) -> None:
    camera = camera_from_fov(240, 180, 1.0)
    unknown = PointMap(np.full((180, 240), np.nan, np.float32), camera)
    points = own.store.save(unknown)
    _rewrite(own, replace(own.scene, objects=(), points=points, glb=None, overlay=None))
    text = _text(own.html)
    assert "No object was found" in text and "There is no scene to show: no object" in text
    assert "Point at one with --point or --box" in text and "No pixel has a known depth." in text


def test_what_the_store_has_lost_is_said(own: Reported) -> None:
    hidden = own.scene.objects[1]
    assert hidden.mesh is not None and hidden.completion is not None
    own.store.path(hidden.mesh).unlink()
    own.store.path(hidden.completion).write_bytes(b"damaged")
    write_report(own.folder, own.store)
    html = own.html
    assert html.count("The file is missing from the store or damaged") == 2
    assert "damaged or missing: run again to remake it" in html
    assert 'data-object="2"' not in html and 'data-object="1"' in html


def test_a_second_report_draws_nothing_and_is_the_same(own: Reported) -> None:
    write_report(own.folder, own.store)
    before = (own.folder / "report.html").read_bytes()
    code = (
        "import sys; from pathlib import Path; from scene.store import Store;"
        "from photoscene.runs.writing import write_report;"
        "write_report(Path(sys.argv[1]), Store(Path(sys.argv[2])));"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(own.folder), str(own.store.root)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
    assert (own.folder / "report.html").read_bytes() == before


def test_the_page_names_everything(reported: Reported) -> None:
    record = json.loads((reported.folder / "run.json").read_text("utf-8"))
    html = reported.html
    for step in record["steps"]:
        assert step["key"] in html
        assert all(a["sha256"] in html for a in step["outputs"].values())
    assert all(f"{name} {version}" in html for name, version in record["versions"].items())
    assert "model-viewer 4.4.0, © Google LLC, Apache-2.0" in html


def test_the_policy_lets_nothing_out(reported: Reported) -> None:
    (found,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', reported.html)
    policy = dict(part.split(" ", 1) for part in unescape(found).split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert {source[:8] for source in policy["script-src"].split()} == {"'sha256-", "'wasm-un"}
    assert {policy["img-src"], policy["connect-src"]} == {"data: blob:"}


def test_what_stands_in_a_script_cannot_end_it() -> None:
    value = {"name": "</script><!--<script>", "line": "\u2028&"}
    text = json_for_script(value)
    assert not set(text) & set("<>&\u2028") and json.loads(text) == value
    source = 'const a = "</script>", b = "<!--";\n//# sourceMappingURL=a.js.map\n'
    assert script_text(source) == 'const a = "<\\/script>", b = "<\\!--";'


def test_the_light_model_has_the_scenes_nodes(reported: Reported) -> None:
    (encoded,) = re.findall(r'id="viewer-model">([^<]*)<', reported.html)
    light = _glb_tree(base64.b64decode(encoded))
    full = _glb_tree((reported.folder / "scene.glb").read_bytes())
    named = [n["name"] for n in full["nodes"] if "mesh" in n]
    assert [n["name"] for n in light["nodes"]] == named and len(named) == 3


def test_the_light_model_keeps_to_its_budget(reported: Reported) -> None:
    for count in (1, 6, 30, 200, 5000):
        assert count * object_budget(count) <= TOTAL_BUDGET_BYTES
    mesh = _first_mesh(reported)
    sizes = [len(light_object(mesh, budget)) for budget in (600_000, 30_000, 12_000)]
    assert sizes[0] > sizes[1] > sizes[2]
    assert sizes[1] <= 30_000 and sizes[2] <= 12_000


def test_the_light_object_loses_only_rounding(reported: Reported) -> None:
    mesh = _first_mesh(reported)
    data = light_object(mesh, 600_000)
    again = object_from_glb(data)
    assert np.array_equal(again.faces, mesh.faces)
    assert np.abs(again.vertices - mesh.vertices).max() < 1e-4
    tree = _glb_tree(data)
    view = tree["bufferViews"][tree["accessors"][1]["bufferView"]]
    binary = data[-tree["buffers"][0]["byteLength"] :]
    uv = np.frombuffer(binary, np.uint16, len(mesh.uv) * 2, view["byteOffset"]).reshape(-1, 2)
    assert np.abs(uv / 65535 - mesh.uv).max() < 1e-4


def test_every_bundled_weights_file_is_in_the_table() -> None:
    folder = ROOT / "weights" / "lite"
    listed = {entry["file"]: entry["sha256"] for entry in known_weights()}
    onnx = sorted(p.name for p in folder.glob("*.onnx"))
    assert set(onnx) <= set(listed)
    assert all(digest((folder / name).read_bytes()) == sha for name, sha in listed.items())


def test_unknown_weights_are_shown_as_such() -> None:
    used = {"segment": known_weights()[0]["sha256"], "generate": "f" * 64, "place": ""}
    steps = [
        StepRecord(stage, "scene", "scene", "", "x", "1", {}, weights, 0, {}, {}, 0, True, None)
        for stage, weights in used.items()
    ]
    known, unknown = used_weights(steps)
    assert (known.name, known.licence, known.stages) == ("U-2-Net-p", "Apache-2.0", "segment")
    assert (unknown.name, unknown.sha256, unknown.stages) == ("", "f" * 64, "generate")


def test_the_verdict_counts_what_is_to_check_and_failed(reported: Reported) -> None:
    scene = _graded(reported.scene, ("good", "check", "failed"))
    told = verdict(scene, "compose")
    assert told == Verdict("3 of 3 objects placed, 1 object failed, 1 to check", "bad")
    told = verdict(_graded(scene, ("check", "good", "check")), "compose")
    assert told == Verdict("3 of 3 objects placed, none failed, 2 to check", "warn")


def test_the_cards_say_grade_support_and_depth_error(own: Reported) -> None:
    scene = _graded(own.scene, ("good", "check", "failed"))
    supports = ("plane", "object 1", "")
    more = (Figure("relative size", 1.1, "over the mean of all"),)
    fits = [replace(o.fit, support=s, depth_error=0.0123, perspective=None, figures=more)
            for o, s in zip(scene.objects, supports, strict=True) if o.fit]  # fmt: skip
    objects = tuple(replace(o, fit=f) for o, f in zip(scene.objects, fits, strict=True))
    _rewrite(own, replace(scene, objects=objects))
    cards = own.html.split('<article class="card"')[1:]
    for card, grade in zip(cards, ("good", "check", "failed"), strict=True):
        assert f'<span class="quiet">fit</span> <span class="mark {grade}">{grade}</span>' in card
    assert "Rests on the support plane · depth error 1.23 %<" in cards[0]
    assert f"Rests on {own.scene.objects[0].name} · depth error" in unescape(cards[1])
    assert '<p class="quiet">Depth error 1.23 %</p>' in cards[2]
    assert all(f"<dt>{what}</dt>" in cards[2] for what in ("Grade", "Perspective (1 fits)"))
    assert "<dt>relative size (over the mean of all)</dt><dd>1.1</dd>" in cards[2].replace("\n", "")
    assert "<dd>not looked at</dd>" in cards[2] and "<dd>unknown</dd>" in cards[2]


def test_the_page_says_what_is_up(own: Reported) -> None:
    tilted = np.eye(4)
    tilted[:3, :3] = [[1, 0, 0], [0, -0.5, 0.75**0.5], [0, -(0.75**0.5), -0.5]]  # 30 degrees down
    tilted[2, 3] = 1.25
    pages = []
    for world in (None, tilted):
        _rewrite(own, replace(own.scene, world_from_camera=world))
        pages.append(own.html)
    by_camera, by_plane = (unescape(_text(page)).lower() for page in pages)
    assert by_camera.count("up is the camera's own vertical") == 4
    assert "none was found around the objects" in by_camera
    assert by_plane.count("up is the support plane's") == 4
    assert "the camera is 1.25 m above it, looks 30.0° down and is rolled by 0.0°" in by_plane
    pictures = [set(re.findall(r'src="(data:image/webp[^"]*)"', page)) for page in pages]
    assert len(pictures[0] - pictures[1]) == 5  # stills of three objects, two views of the points


def _graded(scene: Scene, grades: tuple[str, ...]) -> Scene:
    """The scene with other grades."""
    objects = zip(scene.objects, grades, strict=True)
    return replace(
        scene, objects=tuple(replace(o, fit=replace(o.fit, grade=g)) for o, g in objects if o.fit)
    )


def _rewrite(reported: Reported, scene: Scene) -> None:
    """Write another scene into the run folder, and its page."""
    (reported.folder / "scene.json").write_bytes(encode_json(scene_to_json(scene)))
    write_report(reported.folder, reported.store)


def _first_mesh(reported: Reported) -> ObjectMesh:
    return reported.store.load(reported.scene.objects[0].mesh or pytest.fail(), ObjectMesh)


def _glb_tree(data: bytes) -> dict[str, Any]:
    return json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])


def _text(html: str) -> str:
    """What a page says, tags and line breaks left out."""
    body = html.split("<body>")[1].split("<script")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", body))


def _expected(reported: Reported, width: int, height: int) -> tuple[Bool, np.ndarray]:
    """The full meshes seen by the photo's camera at a size: outline and colours."""
    scene = reported.scene
    assert scene.camera is not None
    placed = placed_meshes(scene, reported.store)
    assert len(placed) == len(scene.objects)
    rgba, _, _ = render(in_camera_frame(placed), resize_camera(scene.camera, width, height))
    return rgba[..., 3] > 0, rgba[..., :3].astype(int)
