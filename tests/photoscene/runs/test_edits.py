"""Does `rerun --edited` take what a person changed as it is, and compute what follows from it?"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from scene.foreign_glb import mesh_from_glb
from scene.scene_json import scene_from_json
from scene.types import Scene
from support.glbs import STYLES
from support.run_folders import contents
from support.small_photo import SmallPhoto, call, small_masks, write_mask

pytestmark = pytest.mark.usefixtures("inline_runs")
MASK, COMPLETION, MESH = (f"objects/02_b/{name}" for name in
                          ("mask.png", "completion.png", "mesh.glb"))  # fmt: skip


@dataclass(frozen=True)
class Folders:
    """A run folder and its store."""

    run: Path
    store: Path

    def rerun(self, *options: object) -> dict:
        """What `rerun --json` tells; what it says on standard error comes as "said"."""
        result = call("rerun", self.run, "--json", *options)
        assert result.exit_code == 0, result.output
        lines = [s for s in result.stderr.splitlines() if s.startswith("photoscene: ")]
        return {**json.loads(result.stdout), "said": lines}

    @property
    def computed(self) -> set[tuple[str, str]]:
        steps = json.loads((self.run / "run.json").read_text("utf-8"))["steps"]
        return {(s["stage"], s["name"]) for s in steps if s["computed"]}

    @property
    def scene(self) -> Scene:
        return scene_from_json(json.loads((self.run / "scene.json").read_text("utf-8")))


@pytest.fixture(scope="module")
def finished(
    small_photo: SmallPhoto, inline_runs: None, tmp_path_factory: pytest.TempPathFactory
) -> Folders:
    folder = tmp_path_factory.mktemp("edits")
    folders = Folders(folder / "run", folder / "store")
    where = ["--store", folders.store, "-o", folders.run]
    assert call("run", *small_photo.options(), *where).exit_code == 0
    return folders


@pytest.fixture
def own(finished: Folders, tmp_path: Path) -> Folders:
    """A copy of the finished run that a test may change; the store is all tests'."""
    return Folders(Path(shutil.copytree(finished.run, tmp_path / "run")), finished.store)


def smaller_b(folder: Path) -> bytes:
    """The object's mask without its right edge, as another program would save it."""
    mask = small_masks()["b"] & (np.arange(240) < 125)
    Image.fromarray(mask).convert("P").convert("RGB").save(folder / MASK, optimize=True)
    return (folder / MASK).read_bytes()


def painted(folder: Path) -> bytes:
    rgba = np.asarray(Image.open(folder / COMPLETION)).copy()
    rgba[rgba[..., 3] > 127, :3] = (250, 10, 200)
    Image.fromarray(rgba).save(folder / COMPLETION, compress_level=9)
    return (folder / COMPLETION).read_bytes()


def moved(folder: Path, by: tuple[float, ...] = (0.0, 0.0, 0.9), style: str = "turned") -> bytes:
    """The mesh shifted by so much in glTF axes, some of it out of its cube."""
    mesh = mesh_from_glb((folder / MESH).read_bytes())
    data = STYLES[style](mesh)
    data.tree["nodes"].append(
        {"translation": list(by), "children": data.tree["scenes"][0]["nodes"]}
    )
    data.tree["scenes"] = [{"nodes": [len(data.tree["nodes"]) - 1]}]
    (folder / MESH).write_bytes(data.data())
    return (folder / MESH).read_bytes()


WHOLE = {("crop", "scene"), ("place", "scene"), ("compose", "scene")}
CHAIN = {("complete", "b"), ("frame", "b"), ("generate", "b")}


def test_nothing_edited_computes_nothing(own: Folders) -> None:
    before = contents(own.run)
    told = own.rerun("--edited")
    assert told["steps_computed"] == 0 and told["said"] == ["photoscene: nothing was edited since"]
    changed = {n for n, sha256 in contents(own.run).items() if before[n] != sha256}
    assert changed <= {"run.json", "report.html"}


def test_an_edited_mask_is_taken_and_kept(own: Folders, tmp_path: Path) -> None:
    saved = smaller_b(own.run)
    ids = [o.id for o in own.scene.objects]
    told = own.rerun("--edited")
    assert told["said"] == ["photoscene: b: mask edited"]
    assert "b: mask edited by hand" in told["notes"]
    # "a" hides a part of "b", which hides nothing: its chain stays cached.
    assert own.computed == {("edit", "scene"), *WHOLE, *CHAIN}
    assert (own.run / MASK).read_bytes() == saved
    assert [o.id for o in own.scene.objects] == ids
    inspected = call("inspect", own.run).stdout
    assert any(
        line.startswith("edit ") and line.endswith("edited by hand")
        for line in inspected.splitlines()
    )
    assert "b: mask edited by hand" in (own.run / "report.html").read_text("utf-8")

    made = contents(own.run)
    again = own.rerun("--object", "a", "--from", "generate")  # later, of another object
    assert again["steps_computed"] == 1 and again["said"] == []
    now = contents(own.run)
    assert {n for n in now if now[n] != made[n]} <= {"run.json", "report.html"}

    (own.run / MASK).unlink()  # what undoes it
    assert own.rerun("--edited")["said"] == ["photoscene: b: mask as the run makes it"]
    assert own.computed == set() and (own.run / MASK).read_bytes() != saved


@pytest.mark.slow
def test_edits_of_an_object_that_is_not_asked_for_wait(own: Folders) -> None:
    saved = painted(own.run)
    smaller_b(own.run)
    told = own.rerun("--edited", "--object", "c")
    assert told["steps_computed"] == 0 and not [n for n in told["notes"] if "by hand" in n]
    assert (own.run / COMPLETION).read_bytes() == saved
    assert own.rerun("--edited")["said"] == ["photoscene: b: mask edited",
                                             "photoscene: b: completion edited"]  # fmt: skip


@pytest.mark.slow
def test_an_edited_mask_takes_pixels_from_the_others(own: Folders) -> None:
    masks = small_masks()
    write_mask(own.run / MASK, masks["b"] | (masks["a"] & (np.arange(240) > 85)))
    own.rerun("--edited")
    a, b = (
        np.asarray(Image.open(own.run / f"objects/{n}/mask.png")) > 127 for n in ("01_a", "02_b")
    )
    assert b.sum() > masks["b"].sum() and not (a & b).any()
    assert a.sum() == (masks["a"] & (np.arange(240) <= 85)).sum()


@pytest.mark.slow
def test_an_edited_completion_is_taken(own: Folders) -> None:
    saved = painted(own.run)
    assert own.rerun("--edited")["said"] == ["photoscene: b: completion edited"]
    assert own.computed == {*CHAIN, ("place", "scene"), ("compose", "scene")}
    assert (own.run / COMPLETION).read_bytes() == saved
    texture = mesh_from_glb((own.run / MESH).read_bytes()).texture.reshape(-1, 3)
    assert (np.abs(texture.astype(int) - (250, 10, 200)).max(1) < 30).mean() > 0.2


@pytest.mark.slow
def test_a_mask_and_a_completion_edited_together_fit(own: Folders) -> None:
    """The completion was painted in the crop of the mask as it was, and is moved to the new one."""
    smaller_b(own.run)
    saved = painted(own.run)
    told = own.rerun("--edited")
    assert "b: mask and completion edited by hand" in told["notes"]
    assert (own.run / COMPLETION).read_bytes() == saved
    b = told["objects"][1]
    assert b["failure"] is None and b["silhouette_iou"] > 0.6


SLOW_STYLES = [pytest.param(s, marks=pytest.mark.slow) for s in STYLES if s != "turned"]


@pytest.mark.parametrize("style", ["turned", *SLOW_STYLES])
def test_an_edited_mesh_stays_where_it_was_put(style: str, own: Folders) -> None:
    before = own.scene.objects[1].camera_from_object
    made = mesh_from_glb((own.run / MESH).read_bytes())
    saved = moved(own.run, style=style)
    told = own.rerun("--edited")
    follows = {("place", "scene"), ("compose", "scene")}  # once: other styles give the same mesh
    assert {("generate", "b")} <= own.computed <= {("generate", "b")} | follows
    assert (own.run / MESH).read_bytes() == saved
    o = own.scene.objects[1]
    assert o.camera_from_object is not None and before is not None
    np.testing.assert_array_equal(o.camera_from_object.matrix, before.matrix)
    placed = trimesh.load_scene(own.run / "scene.glb")
    _, geometry = placed.graph["b"]
    shifted = np.asarray(placed.geometry[geometry].vertices)
    was = made.vertices * [1, -1, -1]
    np.testing.assert_allclose(shifted.min(0), was.min(0) + [0, 0, 0.9], atol=2e-3)
    np.testing.assert_allclose(shifted.max(0), was.max(0) + [0, 0, 0.9], atol=2e-3)
    assert told["objects"][1]["failure"] is None


@pytest.mark.slow
def test_same_edits_same_bytes(own: Folders, finished: Folders, tmp_path: Path) -> None:
    other = Folders(tmp_path / "other", Path(shutil.copytree(finished.store, tmp_path / "store")))
    shutil.copytree(finished.run, other.run)
    for folders in (own, other):
        smaller_b(folders.run)
        moved(folders.run)
    own.rerun("--edited")
    other.rerun("--edited", "--store", other.store)
    for name in ("scene.glb", "scene.json", "overlay.png"):
        assert (own.run / name).read_bytes() == (other.run / name).read_bytes()


def _small_mask(run: Path) -> None:
    Image.new("L", (10, 10), 255).save(run / MASK)


def _black_mask(run: Path) -> None:
    Image.new("L", (240, 180), 0).save(run / MASK)


def _covering_mask(run: Path) -> None:
    masks = small_masks()
    write_mask(run / MASK, masks["a"] | masks["b"])


def _text_mask(run: Path) -> None:
    (run / MASK).write_bytes(b"not a picture")


def _small_completion(run: Path) -> None:
    Image.open(run / COMPLETION).resize((50, 50)).save(run / COMPLETION)


def _clear_completion(run: Path) -> None:
    image = Image.open(run / COMPLETION)
    Image.new("RGBA", image.size).save(run / COMPLETION)


def _cut_mesh(run: Path) -> None:
    (run / MESH).write_bytes((run / MESH).read_bytes()[:5000])


def _folder_for_mesh(run: Path) -> None:
    (run / MESH).unlink()
    (run / MESH).mkdir()


@pytest.mark.parametrize(
    ("change", "name", "told"),
    [(_small_mask, MASK, "is 10 x 10 pixels, expected 240 x 180"),
     (_black_mask, "", "the edited mask of b has 0 pixels"),
     (_covering_mask, "", "the edited mask of b leaves nothing of a"),
     (_text_mask, MASK, "not a"), (_small_completion, COMPLETION, "is 50 x 50 pixels, expected"),
     (_clear_completion, COMPLETION, "fully transparent"), (_cut_mesh, MESH, "is cut short"),
     (_folder_for_mesh, MESH, "is a folder")],
)  # fmt: skip
def test_an_edit_that_cannot_be_used_is_told_before_anything_is_computed(
    change: Callable[[Path], None], name: str, told: str, own: Folders
) -> None:
    change(own.run)
    before = contents(own.run)
    result = call("rerun", own.run, "--edited")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert told in line and (not name or str(own.run / name) in line)
    assert contents(own.run) == before


def test_without_an_object_all_are_done_again(own: Folders) -> None:
    own.rerun("--from", "generate")
    assert own.computed == {("generate", name) for name in "abc"}
