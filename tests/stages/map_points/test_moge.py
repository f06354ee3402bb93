"""The map_points backend `moge`, with tiny random weights of the official classes."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import pickle
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from support import ROOT

torch = pytest.importorskip("torch", reason="the models' extra: pip install -e '.[full]'")
pytest.importorskip("moge", reason="pip install --no-deps -r moge-requirements.txt")

from photoscene.self_test.tiny_moge import TOKENS_RANGE, config_v2, register_backbone, write_moge  # noqa: E402
from scene.cameras import (  # noqa: E402
    camera_from_fov,
    pixel_centres,
    points_of,
    project,
    unproject,
)
from scene.errors import BadWeights  # noqa: E402
from scene.files import CODECS  # noqa: E402
from scene.types import Camera, Float32, Photo, PointMap  # noqa: E402
from stages import map_points  # noqa: E402
from stages.devices import ModelPool  # noqa: E402
from stages.map_points.moge import LIBRARIES, MoGeMapper, Settings, load  # noqa: E402
from stages.map_points.moge.centred import (  # noqa: E402
    centred_view,
    depth_from_view,
    is_centred,
    normals_from_view,
    warped_to_view,
)
from stages.map_points.moge.weights import CHECKPOINT, WEIGHTS, convert, load_moge  # noqa: E402
from stages.weights import weights_digest  # noqa: E402
from support.borrowing import borrowed  # noqa: E402
from support.small_photo import call  # noqa: E402

SPREAD = 0.7  # of the tiny networks: see write_moge
VERSIONS = ("2", "2 without normals", "1")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of tiny weights per kind of model."""
    folder = tmp_path_factory.mktemp("moge")
    return {
        "2": write_moge(folder / "v2", 2, spread=SPREAD),
        "2 without normals": write_moge(folder / "v2_plain", 2, normals=False, spread=SPREAD),
        "1": write_moge(folder / "v1", 1, spread=SPREAD),
    }


def picture(width: int, height: int, seed: int = 0) -> Photo:
    """A smooth picture of random colours."""
    small = np.random.default_rng(seed).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    return Photo(np.asarray(cv2.resize(small, (width, height)), np.uint8))


PHOTO = picture(120, 90)


def mapped(folder: Path, camera: Camera | None = None, photo: Photo = PHOTO) -> PointMap:
    return map_points.run(load(Settings(weights=str(folder)), "cpu"), photo, camera, (), None)


@pytest.mark.parametrize("kind", VERSIONS)
def test_depth_camera_and_normals_of_a_photo(weights: dict[str, Path], kind: str) -> None:
    """The tiny networks' focal length is known: half the diagonal over their spread."""
    found = mapped(weights[kind])
    camera, known = found.camera, np.isfinite(found.depth)
    assert found.depth.shape == (90, 120) and found.depth.dtype == np.float32
    assert 0.1 < known.mean() < 1 and (found.depth[known] > 0).all()
    assert camera.fx_px == pytest.approx(math.hypot(120, 90) / 2 / SPREAD, rel=0.01)
    assert camera.fx_px == camera.fy_px and (camera.cx_px, camera.cy_px) == (60, 45)
    assert found.metric is (kind != "1")
    name, view, invalid = found.notes
    assert name.startswith(f"MoGe-{kind[0]} ") and view.endswith("degrees estimated")
    assert invalid.startswith(f"{1 - known.mean():.1%} of the pixels")
    assert (found.normals is not None) is (kind == "2")
    if found.normals is not None:
        length = np.linalg.norm(found.normals, axis=-1)
        np.testing.assert_allclose(length[known], 1, atol=1e-5)
        assert np.isnan(found.normals[~known]).all() and not known.all()


def test_an_imposed_field_of_view_comes_back_and_moves_the_depth(weights: dict[str, Path]) -> None:
    """Exactly the known camera; and z is what the official call gives for that field of view."""
    camera = camera_from_fov(120, 90, math.radians(40))
    found = mapped(weights["2"], camera)
    assert found.camera == camera and "field of view 40 degrees imposed" in found.notes
    network = load_moge(weights["2"]).network
    image = torch.from_numpy(PHOTO.rgb.copy()).permute(2, 0, 1) / 255
    official = network.infer(image, fov_x=40.0, use_fp16=False)
    K = official["intrinsics"].numpy() * [[120], [90], [1]]
    np.testing.assert_allclose(K, camera.K, rtol=1e-5)
    expected = official["depth"].numpy()
    np.testing.assert_array_equal(found.depth, np.where(np.isfinite(expected), expected, np.nan))
    own = mapped(weights["2"])
    assert np.nanmedian(found.depth) > 1.1 * np.nanmedian(own.depth)  # a longer lens: farther off


@pytest.mark.parametrize("kind", VERSIONS)
def test_every_point_projects_onto_its_pixel(weights: dict[str, Path], kind: str) -> None:
    """z along the pixel's ray is what force_projection makes: MoGe's own points are the same."""
    found = mapped(weights[kind])
    known, points = np.isfinite(found.depth), points_of(found)
    onto = project(found.camera, points[known])
    np.testing.assert_allclose(onto, pixel_centres(120, 90)[known], atol=1e-9)
    image = torch.from_numpy(PHOTO.rgb.copy()).permute(2, 0, 1) / 255
    network = load_moge(weights[kind]).network
    official = network.infer(image, force_projection=True, use_fp16=False)["points"].numpy()
    np.testing.assert_allclose(points[known], official[known], atol=1e-5)
    assert not np.isfinite(official[~known]).any()


def plane_depth(camera: Camera, normal: Any, offset: float) -> Float32:
    """z of the plane normal . x = offset at every pixel."""
    rays = unproject(camera, pixel_centres(camera.width, camera.height))
    return (offset / (rays @ np.asarray(normal))).astype(np.float32)


OFF_CENTRE = Camera(200, 150, 180.0, 180.0, 40.0, 130.0)
OFF_SQUARE = Camera(200, 150, 180.0, 150.0, 100.0, 75.0)


@pytest.mark.parametrize("camera", [OFF_CENTRE, OFF_SQUARE], ids=["off centre", "off square"])
def test_a_turned_view_gives_the_plane_back(camera: Camera) -> None:
    """Depth and normals seen by the centred camera, brought back, are the photo's own."""
    view = centred_view(camera)
    assert not is_centred(camera) and is_centred(view.camera)
    normal, offset = np.array([0.2, -0.5, 0.84]), 2.0
    seen = plane_depth(view.camera, view.photo_from_crop.T @ normal, offset)
    back = depth_from_view(seen, view, camera)
    np.testing.assert_allclose(back, plane_depth(camera, normal, offset), rtol=2e-3)
    inside = np.s_[3:-3, 3:-3]  # between pixel centres inverse depth is interpolated exactly
    expected = plane_depth(camera, normal, offset)[inside]
    np.testing.assert_allclose(back[inside], expected, rtol=1e-4)
    normals = np.broadcast_to(normal @ view.photo_from_crop, (*seen.shape, 3)).astype(np.float32)
    turned = normals_from_view(normals, view, camera)
    np.testing.assert_allclose(turned, np.broadcast_to(normal, turned.shape), atol=1e-6)


def test_the_turned_view_sees_the_whole_photo() -> None:
    """A picture of its own pixel coordinates: they come back to the homography's accuracy."""
    y, x = np.mgrid[:150, :200]
    coordinates = Photo(np.stack([x, y, 0 * x], -1).astype(np.uint8))
    view = centred_view(OFF_CENTRE)
    shown = warped_to_view(view, OFF_CENTRE, coordinates.rgb).astype(np.float32)
    assert shown.shape == (view.camera.height, view.camera.width, 3)
    back = depth_from_view(shown[..., 0] + 1, view, OFF_CENTRE)
    rays = unproject(OFF_CENTRE, pixel_centres(200, 150)) @ view.photo_from_crop
    np.testing.assert_allclose(back * rays[..., 2] - 1, x, atol=1.5)


def test_a_depth_that_jumps_is_not_smeared() -> None:
    """Nothing lies between the two depths of an outline in the view, but for 1 % of either."""
    view = centred_view(OFF_CENTRE)
    depth = np.full((view.camera.height, view.camera.width), 1.0, np.float32)
    depth[:, view.camera.width // 2 :] = 4.0
    depth[:40] = np.nan
    back = depth_from_view(depth, view, OFF_CENTRE)
    rays = unproject(OFF_CENTRE, pixel_centres(200, 150)) @ view.photo_from_crop
    along = back * rays[..., 2]
    assert np.isnan(along).any()
    known = along[np.isfinite(along)]
    assert (np.minimum(np.abs(known - 1), np.abs(known / 4 - 1)) <= 0.01).all()
    assert (known < 2).any() and (known > 2).any()


def test_a_camera_that_is_off_centre_is_kept(weights: dict[str, Path]) -> None:
    camera = Camera(120, 90, 110.0, 110.0, 20.0, 80.0)
    found = mapped(weights["2"], camera)
    assert found.camera == camera and "turned by" in found.notes[1]
    known = np.isfinite(found.depth)
    onto = project(camera, points_of(found)[known])
    np.testing.assert_allclose(onto, pixel_centres(120, 90)[known], atol=1e-9)
    slight = dataclasses.replace(camera, cx_px=60.4, cy_px=44.8)
    assert mapped(weights["2"], slight).camera == slight
    assert "turned" not in mapped(weights["2"], slight).notes[1]


@pytest.mark.parametrize("kind", VERSIONS)
def test_converted_weights_give_the_same(
    weights: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    """Without the pickle; converting twice changes nothing, and no scrap is left."""
    (tmp_path / CHECKPOINT).write_bytes((weights[kind] / CHECKPOINT).read_bytes())
    convert(tmp_path)
    written = (tmp_path / WEIGHTS).stat().st_mtime_ns
    convert(tmp_path)
    assert (tmp_path / WEIGHTS).stat().st_mtime_ns == written
    (tmp_path / CHECKPOINT).unlink()
    assert sorted(f.name for f in tmp_path.iterdir()) == ["config.json", WEIGHTS]
    original, converted = mapped(weights[kind]), mapped(tmp_path)
    for field in dataclasses.fields(PointMap):
        np.testing.assert_equal(getattr(converted, field.name), getattr(original, field.name))


class Hostile:
    """What runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        import os

        return os.system, ("touch ran-by-a-pickle",)


def _saved(value: Any) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def _changed(folder: Path, change: Any) -> bytes:
    checkpoint = torch.load(folder / CHECKPOINT, weights_only=True)
    change(checkpoint)
    return _saved(checkpoint)


BROKEN = {
    "truncated": lambda f: (f / CHECKPOINT).read_bytes()[:-2000],
    "empty": lambda f: b"",
    "text": lambda f: b"<html>not found</html>",
    "hostile": lambda f: _saved({"model_config": Hostile(), "model": {}}),
    "hostile plain pickle": lambda f: pickle.dumps(Hostile()),
    "a list": lambda f: _saved([1, 2]),
    "no state": lambda f: _saved({"model_config": config_v2()}),
    "numbers": lambda f: _saved({"model_config": config_v2(), "model": {"a": 1}}),
    "missing": lambda f: _changed(f, lambda c: c["model"].pop("neck.input_blocks.0.weight")),
    "left over": lambda f: _changed(f, lambda c: c["model"].update(extra=torch.zeros(1))),
    "shape": lambda f: _changed(f, lambda c: c["model"].update(
        {"neck.input_blocks.0.bias": torch.zeros(3)})),
    "no encoder": lambda f: _changed(f, lambda c: c["model_config"].pop("encoder")),
    "other code": lambda f: _changed(
        f, lambda c: c["model_config"]["encoder"].update(backbone="Enum")),
    "sizes": lambda f: _changed(f, lambda c: c["model_config"]["neck"].pop("dim_in")),
}  # fmt: skip
SAID = {"missing": "1 missing, as neck.input_blocks.0.weight", "left over": "1 unknown, as extra",
        "shape": "size mismatch for neck.input_blocks.0.bias",
        "hostile": "more than tensors and numbers", "truncated": "is refused: damaged",
        "sizes": "dim_in"}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_weights_that_are_not_right_are_one_line(
    case: str, weights: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(BROKEN[case](weights["2"]))
    mapper = load(Settings(weights=str(tmp_path)), "cpu")
    with pytest.raises(BadWeights, match="download them again") as caught:
        mapper.map_points(PHOTO, None, (), None)
    message = str(caught.value)
    assert str(tmp_path) in message and "\n" not in message and len(message) < 500
    assert SAID.get(case, "") in message
    assert not Path("ran-by-a-pickle").exists()
    if case in ("truncated", "hostile"):
        with pytest.raises(BadWeights, match="is refused"):
            convert(tmp_path)
        assert [f.name for f in tmp_path.iterdir()] == [CHECKPOINT]


def test_flipped_bytes_never_give_another_error(weights: dict[str, Path], tmp_path: Path) -> None:
    data = bytearray((weights["2 without normals"] / CHECKPOINT).read_bytes())
    random = np.random.default_rng(0)
    for place in [*random.integers(0, 3000, 12), *random.integers(len(data) - 3000, len(data), 12)]:
        flipped = bytearray(data)
        flipped[place] ^= 0xFF
        (tmp_path / CHECKPOINT).write_bytes(flipped)
        try:
            load_moge(tmp_path)
        except BadWeights as error:
            assert "\n" not in str(error)


def test_what_only_pretraining_has_may_be_missing(weights: dict[str, Path], tmp_path: Path) -> None:
    unused = "encoder.backbone.mask_token"
    data = _changed(weights["2"], lambda c: c["model"].pop(unused))
    (tmp_path / CHECKPOINT).write_bytes(data)
    np.testing.assert_array_equal(mapped(tmp_path).depth, mapped(weights["2"]).depth)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The folders that weights were read from while the test ran."""
    read: list[Path] = []

    def counted(folder: Path) -> Any:
        read.append(folder)
        return load_moge(folder)

    monkeypatch.setattr("stages.map_points.moge.load_moge", counted)
    yield read


def test_a_second_photo_reads_no_weights_and_release_frees(
    weights: dict[str, Path], reads: list[Path]
) -> None:
    mapper = load(Settings(weights=str(weights["2"])), "cpu")
    assert reads == []
    first = mapper.map_points(PHOTO, None, (), None)
    mapper.map_points(picture(64, 64, 1), None, (), None)
    assert len(reads) == 1
    network = weakref.ref(mapper.model.get().network)
    mapper.model.release()
    assert network() is None
    again = mapper.map_points(PHOTO, None, (), None)
    assert len(reads) == 2
    np.testing.assert_array_equal(first.depth, again.depth)


def test_models_that_are_to_be_alone_release_each_other(weights: dict[str, Path]) -> None:
    pool = ModelPool("cpu")
    alone = {"memory": "one_at_a_time"}
    with borrowed(pool, "map_points", "moge", {"weights": str(weights["2"]), **alone}) as first:
        first.map_points(PHOTO, None, (), None)
        network = weakref.ref(first.model.get().network)
    with borrowed(pool, "map_points", "moge", {"weights": str(weights["1"]), **alone}):
        assert network() is None


def _tokens_seen(mapper: MoGeMapper, photo: Photo) -> int:
    """How many patches the image encoder sees; the class token is one more."""
    counts: list[int] = []
    network = mapper.model.get().network
    backbone = network.encoder.backbone if hasattr(network, "neck") else network.backbone
    hook = backbone.blocks[0].register_forward_hook(
        lambda _, inputs, __: counts.append(inputs[0].shape[1] - 1)
    )
    mapper.map_points(photo, None, (), None)
    hook.remove()
    return counts[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param("2", marks=pytest.mark.slow), "1"])
def test_a_large_photo_keeps_to_the_token_budget(weights: dict[str, Path], kind: str) -> None:
    """12 megapixels in one look; without a setting, the most that the model was trained for."""
    low, high = TOKENS_RANGE
    most = load(Settings(weights=str(weights[kind])), "cpu")
    assert 0.9 * high <= _tokens_seen(most, picture(4000, 3000)) <= high
    few = load(Settings(weights=str(weights[kind]), tokens=low), "cpu")
    # A whole grid of patches, rounded: coarse where they are as few as here.
    assert 0.7 * low <= _tokens_seen(few, PHOTO) <= 1.1 * low


def test_tokens_out_of_range(weights: dict[str, Path]) -> None:
    for tokens in (TOKENS_RANGE[0] - 1, TOKENS_RANGE[1] + 1):
        mapper = load(Settings(weights=str(weights["2"]), tokens=tokens), "cpu")
        with pytest.raises(ValueError, match=rf"trained for 32 to 96, got {tokens}"):
            mapper.map_points(PHOTO, None, (), None)
    with pytest.raises(ValueError, match="tokens: expected 1 to"):
        Settings(tokens=0)


def test_an_estimate_that_no_camera_has_is_one_line(tmp_path: Path) -> None:
    folder = write_moge(tmp_path / "wide", 2, spread=500.0)
    with pytest.raises(ValueError, match="none that a camera has: give --fov"):
        mapped(folder)


def test_normals_are_kept_and_files_without_them_are_as_before() -> None:
    codec = CODECS[PointMap]
    plain = PointMap(np.ones((3, 4), np.float32), camera_from_fov(4, 3, 1.0))
    with np.load(io.BytesIO(codec.encode(plain))) as arrays:
        assert arrays.files == ["depth", "K", "details"]
    assert codec.decode(codec.encode(plain)).normals is None
    random = np.random.default_rng(0).normal(size=(3, 4, 3))
    unit = (random / np.linalg.norm(random, axis=-1, keepdims=True)).astype(np.float32)
    unit[0, 0] = np.nan
    back = codec.decode(codec.encode(dataclasses.replace(plain, normals=unit))).normals
    np.testing.assert_allclose(back, unit, atol=5e-4)


def test_a_missing_library_is_one_line_with_the_remedy(
    weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    for name, remedy in LIBRARIES.items():
        hidden = lambda n, *more, name=name: None if n == name else find(n, *more)  # noqa: E731
        monkeypatch.setattr("importlib.util.find_spec", hidden)
        with pytest.raises(ImportError, match=f"needs {name}: .*{remedy[:10]}"):
            load(Settings(weights=str(weights["2"])), "cpu")


def test_the_module_imports_neither_torch_nor_moge() -> None:
    code = (
        "import sys, stages.map_points.moge\n"
        "assert not {'torch', 'moge', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_command_maps_a_photo(weights: dict[str, Path], small_photo, tmp_path: Path) -> None:
    """Through the flow up to the point map, and again from the store with the weights moved."""
    register_backbone()
    moved = tmp_path / "elsewhere"
    moved.symlink_to(weights["2"])
    for folder, computed in ((weights["2"], True), (moved, False)):
        result = call(
            "run", small_photo.photo, "--fov", 55, "--until", "map_points",
            "--mask", small_photo.masks["a"], "--set", "map_points.backend=moge",
            "--set", f"map_points.weights={folder}",
            "--store", tmp_path / "store", "-o", tmp_path / "run", "--json",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        told = json.loads(result.stdout)
        assert "field of view 55 degrees as given" in told["notes"]
        assert any("degrees imposed" in note for note in told["notes"])
        assert (told["steps_computed"] > 0) is computed
        assert "Surface normals" in (tmp_path / "run" / "report.html").read_text()
    assert weights_digest(moved, (CHECKPOINT,)) == weights_digest(weights["2"], (CHECKPOINT,))
    nowhere = ("--set", "map_points.backend=moge", "--set", f"map_points.weights={tmp_path}/no")
    result = call("run", small_photo.photo, *nowhere, "--store", tmp_path / "store")
    assert result.exit_code == 2 and "map_points.weights: there is no folder" in result.stderr
