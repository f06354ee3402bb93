"""The scorer of scenes tells known faults of a prediction apart, and only those."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from benchmarks.known_scenes import GROUND_TRUTH
from benchmarks.predicted import FRAMES, Predicted, read_predicted
from benchmarks.score_scene import main, read_truth, score, score_all, table
from benchmarks.surfaces import diagonal
from scene.types import Float64

pytestmark = pytest.mark.extra("open3d")  # it scores
FOLDER = GROUND_TRUTH / "scenes" / "scene_00"  # a bowl and a can
TRUTH = read_truth(FOLDER)
PERFECT = [Predicted(f"node {k}", (o.vertices, o.faces)) for k, o in enumerate(TRUTH.known.objects)]


def changed(change: Callable[[Float64], Float64], only: int | None = None) -> list[Predicted]:
    """The truth with the vertices of one object, or of all, changed."""
    return [
        Predicted(p.name, (change(p.mesh[0]), p.mesh[1])) if only in (None, k) else p
        for k, p in enumerate(PERFECT)
    ]


def middle(vertices: Float64) -> Float64:
    return (vertices.max(0) + vertices.min(0)) / 2


@pytest.fixture(scope="module")
def perfect() -> dict[str, Any]:
    return score(PERFECT, TRUTH)


def test_the_truth_scores_full_marks(perfect: dict[str, Any]) -> None:
    mean = perfect["mean"]
    assert mean["modal_iou"] > 0.999 and mean["volume_iou"] > 0.999 and mean["f1"] > 0.99
    assert perfect["depth"]["absrel_raw"] < 1e-4
    assert perfect["penetration"]["count_over_2pct"] == 0
    assert perfect["unmatched_predictions"] == []


def test_names_and_order_do_not_matter(perfect: dict[str, Any]) -> None:
    renamed = [Predicted(f"other {k}", p.mesh) for k, p in enumerate(PERFECT)]
    mean = score(renamed[::-1], TRUTH)["mean"]
    assert mean["modal_iou"] == pytest.approx(perfect["mean"]["modal_iou"])
    assert mean["f1"] == pytest.approx(perfect["mean"]["f1"])


def test_a_global_scale_shows_in_the_raw_depth_alone() -> None:
    result = score(changed(lambda v: 1.3 * v), TRUTH)
    assert result["global_scale"] * 1.3 == pytest.approx(1, abs=1e-3)
    assert result["depth"]["absrel_raw"] == pytest.approx(0.3, abs=0.01)
    assert result["depth"]["absrel_scale"] < 1e-4
    assert result["mean"]["f1"] > 0.97


def test_a_shift_in_depth_is_aligned() -> None:
    result = score(changed(lambda v: v + [0, 0, 0.1]), TRUTH)
    assert result["aligned"]["shift_z"] == pytest.approx(-0.1, abs=5e-3)
    assert result["mean"]["f1"] > 0.97


def test_one_object_moved_and_enlarged_is_measured_over_its_size() -> None:
    world = TRUTH.known.world_from_camera[:3, :3].T

    def wrong(v: Float64) -> Float64:
        larger = middle(v) + 1.2 * (v - middle(v))
        return larger + [0.1 * diagonal(v @ world), 0, 0]

    row, other = score(changed(wrong, only=0), TRUTH)["objects"]
    assert row["translation_rel"] == pytest.approx(0.1, abs=0.03)
    assert row["scale_ratio"] == pytest.approx(1.2, abs=0.03)
    assert other["scale_ratio"] == pytest.approx(1, abs=0.03)


def test_a_missing_object_counts_as_nothing() -> None:
    result = score(PERFECT[1:], TRUTH)
    assert (result["objects_matched"], result["objects_true"]) == (1, 2)
    assert result["objects"][0]["modal_iou"] == 0 and result["objects"][0]["node"] is None
    assert result["mean"]["f5"] < 0.51


def test_an_empty_scene_scores_zero() -> None:
    result = score([], TRUTH)
    assert result["mean"]["f5"] == 0 and result["scene"]["f1"] == 0
    assert result["depth"]["absrel_raw"] is None
    assert "predicted 0" in table("nothing", result)


def test_objects_in_each_other_are_counted() -> None:
    to_first = 0.97 * (middle(PERFECT[0].mesh[0]) - middle(PERFECT[1].mesh[0]))
    penetration = score(changed(lambda v: v + to_first, only=1), TRUTH)["penetration"]
    assert penetration["count_over_2pct"] == 1
    assert penetration["pairs"][0]["pair"] == [0, 1]


def test_a_flat_object_is_right_from_the_front_and_wrong_in_shape(perfect: dict[str, Any]) -> None:
    def flat(v: Float64) -> Float64:
        return np.column_stack([v[:, :2], middle(v)[2] + 0.3 * (v[:, 2] - middle(v)[2])])

    mean = score(changed(flat), TRUTH)["mean"]
    assert mean["volume_iou"] < 0.7 and mean["shape_chamfer"] > 2 * perfect["mean"]["shape_chamfer"]


def write_glb(path: Path, frame: str) -> None:
    """The truth as a GLB, a node per object beside a floor, a child node with the second half."""
    made = trimesh.Scene()
    for k, p in enumerate(PERFECT):
        vertices, faces = p.mesh[0] * FRAMES[frame], p.mesh[1]
        half = len(faces) // 2
        for part, some in enumerate((faces[:half], faces[half:])):
            mesh = trimesh.Trimesh(vertices, some, process=False)
            made.add_geometry(
                mesh, node_name=f"object {k}" + " more" * part,
                parent_node_name=f"object {k}" if part else None,
            )  # fmt: skip
    made.add_geometry(trimesh.creation.box(), node_name="floor")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(made.export(file_type="glb")))


@pytest.mark.parametrize("frame", sorted(FRAMES))
def test_a_glb_is_read_by_its_nodes_in_either_frame(frame: str, tmp_path: Path) -> None:
    write_glb(tmp_path / "scene.glb", frame)
    found = {p.name: p.mesh for p in read_predicted(tmp_path / "scene.glb", frame)}
    assert set(found) == {"object 0", "object 1"}
    for k, true in enumerate(PERFECT):
        vertices, faces = found[f"object {k}"]
        assert len(faces) == len(true.mesh[1])
        np.testing.assert_allclose(vertices.max(0), true.mesh[0].max(0), atol=1e-6)


def test_a_folder_is_scored_by_the_names_of_its_scenes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_glb(tmp_path / "predicted" / "scene_00.glb", "gltf")
    main([
        "--pred", str(tmp_path / "predicted"), "--gt", str(FOLDER.parent),
        "--out", str(tmp_path / "score.json"),
    ])  # fmt: skip
    said = capsys.readouterr().out
    assert "== scene_00  matched 2/2" in said and "over 1 scenes" in said
    assert '"scene_00"' in (tmp_path / "score.json").read_text("utf-8")
    with pytest.raises(ValueError, match="no GLB that is named like a scene"):
        score_all(tmp_path / "nothing", FOLDER.parent)


def test_the_angles_of_the_shape_figure_find_a_turned_object(perfect: dict[str, Any]) -> None:
    """Turned about the vertical by a step of the search, the shape is as good as before."""
    turn = TRUTH.known.world_from_camera[:3, :3].T
    c, s = math.cos(math.radians(45)), math.sin(math.radians(45))
    about = turn @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ turn.T
    row = score(changed(lambda v: middle(v) + (v - middle(v)) @ about.T, only=1), TRUTH)
    before = perfect["objects"][1]["shape_chamfer"]
    assert row["objects"][1]["shape_chamfer"] == pytest.approx(before, abs=0.01)
