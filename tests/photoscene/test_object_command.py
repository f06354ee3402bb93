"""`photoscene object` and the generate backend `pixal3d`, with tiny random weights."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from PIL import Image  # noqa: E402

from photoscene.self_test.tiny_pixal3d import write_tiny_checkpoint  # noqa: E402
from photoscene.single_object import decoded_cutout  # noqa: E402
from scene.glb import object_from_glb  # noqa: E402
from scene.png import encode_png  # noqa: E402
from scene.seams import is_closed  # noqa: E402
from stages.devices import (  # noqa: E402
    ModelPool,
    NetworkPool,
    OutOfDeviceMemory,
    retrying_after_freeing,
)
from stages.generate.pixal3d import load  # noqa: E402
from stages.weights import MEMO_NAME, weights_digest  # noqa: E402
from support.borrowing import borrowed, settings_of  # noqa: E402
from support.posed_views import cutout, write_rig  # noqa: E402
from support.small_photo import call  # noqa: E402

FINISH = ("--set", "finish.backend=asset")
QUICK = ["--steps", "1", "--set", "generate.texture_px=128", "--set", "generate.faces=300"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks for one view and for several, in one folder as the release has them."""
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "weights")
    several = write_tiny_checkpoint(folder.parent / "mv", several_views=True, seed=1)
    for file in (*several.glob("pipeline_mv.json"), *several.glob("ckpts/*_mv.*")):
        file.rename(folder / file.relative_to(several))
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pictures") / "thing.png"
    Image.fromarray(cutout()).save(file)
    return file


def make(weights: Path, store: Path, output: Path, *options: object) -> Result:
    where = ("--weights", weights, "--store", store, "-o", output, "--device", "cpu")
    return call("object", *options, *QUICK, *where)


@pytest.fixture(scope="module")
def made(weights: Path, picture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, the first object that was made with it, and what was told of it."""
    folder = tmp_path_factory.mktemp("made")
    result = make(weights, folder / "store", folder / "new" / "thing.glb", picture, "--json")
    assert result.exit_code == 0, result.output
    (folder / "told.json").write_text(result.stdout)
    return folder


def test_a_cutout_becomes_a_glb(made: Path) -> None:
    told = json.loads((made / "told.json").read_text())
    mesh = object_from_glb((made / "new" / "thing.glb").read_bytes())
    assert told["computed"] and told["faces"] == len(mesh.faces) > 0 and told["notes"] == []
    assert mesh.texture.shape == (128, 128, 3) and np.abs(mesh.vertices).max() <= 0.51


def test_asked_again_it_comes_from_the_store(
    made: Path, weights: Path, picture: Path, tmp_path: Path
) -> None:
    """Wherever the weights lie and however memory is used."""
    moved = tmp_path / "elsewhere"
    moved.symlink_to(weights)
    again = make(moved, made / "store", tmp_path / "again.glb", picture, "--json", "--low-vram")
    assert json.loads(again.stdout)["computed"] is False
    assert (tmp_path / "again.glb").read_bytes() == (made / "new" / "thing.glb").read_bytes()
    text = make(weights, made / "store", tmp_path / "again.glb", picture).stdout
    assert "from the store" in text and str(tmp_path / "again.glb") in text


def test_only_a_stored_result_is_written_over(
    made: Path, weights: Path, picture: Path, tmp_path: Path
) -> None:
    """An output that was retouched, or was never one, needs --force; an input is never one."""
    target, store = tmp_path / "thing.glb", made / "store"
    target.write_bytes((made / "new" / "thing.glb").read_bytes() + b"retouched")
    refused = make(weights, store, target, picture)
    assert refused.exit_code == 2 and "--force to write over it" in refused.stderr
    assert target.read_bytes().endswith(b"retouched")
    (tmp_path / "link.glb").symlink_to(target)
    assert make(weights, store, tmp_path / "link.glb", picture, "--force").exit_code == 0
    assert (tmp_path / "link.glb").is_symlink()
    assert target.read_bytes() == (made / "new" / "thing.glb").read_bytes()
    assert make(weights, store, target, picture).exit_code == 0  # a result by now
    cutout = tmp_path / "cutout.glb"
    cutout.write_bytes(picture.read_bytes())
    refused = make(weights, store, cutout, cutout, "--force")
    assert refused.exit_code == 2 and "is an input" in refused.stderr
    assert cutout.read_bytes() == picture.read_bytes()


def test_a_stored_object_needs_no_torch(made: Path, weights: Path, picture: Path) -> None:
    options = ["object", picture, *QUICK, "--weights", weights, "--store", made / "store",
               "-o", made / "again.glb"]  # fmt: skip
    code = (
        "import sys\nfrom photoscene.cli import app\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert 'torch' not in sys.modules and 'prefect' not in sys.modules"
    )
    command = [sys.executable, "-c", code, *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "from the store" in done.stdout


@pytest.mark.slow
def test_one_network_at_a_time_makes_the_same(
    made: Path, weights: Path, picture: Path, tmp_path: Path
) -> None:
    result = make(weights, tmp_path / "store", tmp_path / "b.glb", picture, "--low-vram", "--json")
    assert json.loads(result.stdout)["computed"] is True
    assert (tmp_path / "b.glb").read_bytes() == (made / "new" / "thing.glb").read_bytes()


@pytest.mark.slow
def test_posed_views_become_a_glb(weights: Path, tmp_path: Path) -> None:
    """By the networks for several views: the digest and the result differ from one view's."""
    rig = write_rig(tmp_path / "rig")
    result = make(weights, tmp_path / "store", tmp_path / "thing.glb", "--view", rig)
    assert result.exit_code == 0, result.output
    assert len(object_from_glb((tmp_path / "thing.glb").read_bytes()).faces) > 0


@pytest.mark.slow
def test_too_many_voxels_lower_the_resolution_and_are_named(
    weights: Path, picture: Path, tmp_path: Path
) -> None:
    limit = ("--resolution", 1536, "--set", "generate.max_tokens=1", "--json")
    told = json.loads(make(weights, tmp_path / "s", tmp_path / "x.glb", picture, *limit).stdout)
    (note,) = told["notes"]
    assert note.startswith("more than 1 voxels at resolution 1536: made at 1024")
    again = make(weights, tmp_path / "s", tmp_path / "x.glb", picture, *limit[:-1])
    assert f"note: {note}" in again.stdout and "from the store" in again.stdout


def test_spconv_where_it_is_not_installed(
    weights: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    hidden = lambda name, *more: None if name == "spconv" else find(name, *more)  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", hidden)
    library = ("--set", "generate.convolution=spconv")
    result = make(weights, tmp_path / "s", tmp_path / "x.glb", picture, *library)
    assert result.exit_code == 3 and "spconv is not installed: pip install" in result.stderr


@pytest.mark.slow
def test_an_object_is_finished_where_that_is_asked_for(
    made: Path, weights: Path, picture: Path, tmp_path: Path
) -> None:
    """Of the mesh that is in the store, and once."""
    pytest.importorskip("numba", reason="finishing: pip install -e '.[finish]'")
    asset = (*FINISH, "--set", "finish.faces=900", "--set", "finish.texture_px=256", "--json")
    told = json.loads(make(weights, made / "store", tmp_path / "a.glb", picture, *asset).stdout)
    mesh = object_from_glb((tmp_path / "a.glb").read_bytes())
    assert told["computed"] and told["faces"] == len(mesh.faces) <= 900 and told["notes"] == []
    assert is_closed(mesh.vertices, mesh.faces) and mesh.material.normal_map is not None
    known = np.abs(object_from_glb((made / "new" / "thing.glb").read_bytes()).vertices).max()
    assert np.abs(mesh.vertices).max() == pytest.approx(known, abs=0.02)
    again = make(weights, made / "store", tmp_path / "b.glb", picture, *asset)
    assert json.loads(again.stdout)["computed"] is False
    assert (tmp_path / "b.glb").read_bytes() == (tmp_path / "a.glb").read_bytes()


def _alpha(value: int) -> Image.Image:
    return Image.fromarray(np.full((40, 40, 4), value, np.uint8))


MISTAKES = {
    "nothing given": ((), 2, "give one CUTOUT, or --view"),
    "no such file": (("none.png",), 2, "none.png: No such file"),
    "transparent": (("clear.png",), 2, "fully transparent"),
    "opaque": (("solid.png",), 2, "solid.png has no transparency, and nothing stands out in it"),
    "words for a fov": (("thing.png", "--fov", "wide"), 2, "--fov wide: expected degrees, or auto"),
    "one pixel": (("dot.png",), 2, "1 x 1 pixels"),
    "no picture": (("text.png",), 2, "text.png"),
    "resolution": (("thing.png", "--resolution", "512"), 2, "generate.resolution"),
    "steps": (("thing.png", "--set", "generate.steps=0"), 2, "generate.steps: expected 1 to 1000"),
    "fov": (("thing.png", "--fov", "0"), 2, "--fov 0: expected 1 to 170 degrees"),
    "device": (("thing.png", "--device", "tpu"), 2, "--device tpu: expected auto, cpu, cuda"),
    "output": (("thing.png", "-o", "thing.obj"), 2, "expected a name that ends in .glb"),
    "stage": (
        ("thing.png", "--set", "place.loss=1"),
        2,
        "has settings of generate and finish only",
    ),
    "finish of nothing": (
        ("thing.png", "--set", "finish.preset=game"),
        2,
        "finish.backend=NAME first",
    ),
    "finish": (("thing.png", *FINISH, "--set", "finish.faces=3"), 2, "faces: expected 100 to"),
    "finish of views": (
        ("--view", "rig.json", *FINISH),
        2,
        "an asset needs one CUTOUT, not --view",
    ),
    "views": (("--view", "rig.json"), 2, "frames, a list of 1 to"),
    "skewed": (("--view", "skewed.json"), 2, "view 1"),
    "folder": (("thing.png", "--weights", "nowhere"), 2, "there is no folder nowhere"),
    "backend": (("thing.png", "--backend", "none"), 2, "unknown backend 'none'"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_one_line(
    case: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, status, message = MISTAKES[case]
    monkeypatch.chdir(tmp_path)
    Image.fromarray(cutout()).save("thing.png")
    _alpha(0).save("clear.png")
    _alpha(255).save("solid.png")
    Image.new("RGBA", (1, 1)).save("dot.png")
    Path("text.png").write_text("no picture")
    Path("rig.json").write_text("{}")
    pose = [[2.0, 0, 0, 0], [0, 0, -1, -3], [0, 1, 0, 0], [0, 0, 0, 1]]
    frame = {"file_path": "thing.png", "transform_matrix": pose}
    Path("skewed.json").write_text(json.dumps({"camera_angle_x": 0.4, "frames": [frame]}))
    given = [] if "--weights" in options else ["--weights", weights]
    result = call("object", *options, *given, "--store", tmp_path / "store", *QUICK[:2])
    if case == "steps":
        result = call("object", *options, *given, "--store", tmp_path / "store")
    assert result.exit_code == status, result.output
    assert message in result.stderr and "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_picture_without_transparency_is_cut_out() -> None:
    """A vase before a plain wall: its own pixels and no others."""
    v, u = np.mgrid[:120, :160] + 0.5
    vase = np.hypot((u - 85) / 22, (v - 65) / 40) < 1
    rgb = np.full((120, 160, 3), (205, 200, 190), np.uint8)
    rgb[vase] = (160, 50, 35)
    cutout, notes = decoded_cutout(encode_png(rgb))
    found = cutout.rgba[..., 3] > 127
    assert (found & vase).sum() / (found | vase).sum() > 0.95
    np.testing.assert_array_equal(cutout.rgba[..., :3], rgb)
    assert notes == ("no transparency: what stands out was cut out, 14% of the picture",)
    known, no_notes = decoded_cutout(encode_png(cutout.rgba))
    np.testing.assert_array_equal(known.rgba[..., 3], cutout.rgba[..., 3])
    assert no_notes == ()


def test_the_field_of_view_is_estimated_where_that_is_asked_for(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By MoGe on the framed cut-out over black; the same again needs no network."""
    pytest.importorskip("moge", reason="pip install --no-deps -r moge-requirements.txt")
    from photoscene.self_test.tiny_moge import write_moge

    monkeypatch.setenv("PHOTOSCENE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    where = ("--backend", "billboard", "--store", tmp_path / "store", "--json", "--device", "cpu")
    asked = ("object", picture, *where, "--fov", "auto", "-o")
    lacking = call(*asked, tmp_path / "a.glb")
    assert lacking.exit_code == 3 and "models pull moge-2-vitl-normal" in lacking.stderr
    write_moge(tmp_path / "models" / "Ruicheng" / "moge-2-vitl-normal", seed=2)
    made = json.loads(call(*asked, tmp_path / "a.glb").stdout)
    (note,) = [n for n in made["notes"] if "degrees estimated" in n]
    degrees = note.split("field of view ")[1].split(" degrees")[0]
    monkeypatch.setattr("stages.map_points.moge.MoGeMapper.map_points", None)
    again = json.loads(call(*asked, tmp_path / "b.glb").stdout)
    assert not again["computed"] and again["notes"] == made["notes"]
    given = json.loads(call("object", picture, *where, "-o", tmp_path / "c.glb").stdout)
    assert given["key"] != made["key"] and float(degrees) != pytest.approx(49.13, abs=0.1)


def test_weights_that_do_not_fit_end_with_status_3(
    weights: Path, picture: Path, tmp_path: Path
) -> None:
    import shutil

    broken = Path(shutil.copytree(weights, tmp_path / "broken"))
    file = broken / "ckpts" / "sparse_structure_flow_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    result = make(broken, tmp_path / "store", tmp_path / "x.glb", picture)
    assert result.exit_code == 3 and "is damaged" in result.stderr
    assert not (tmp_path / "x.glb").exists()


def test_a_digest_is_computed_once_and_follows_the_content(tmp_path: Path) -> None:
    (tmp_path / "ckpts").mkdir()
    (tmp_path / "ckpts" / "a.safetensors").write_bytes(b"1")
    (tmp_path / "other.bin").write_bytes(b"1")
    patterns = ("*.json", "ckpts/*.safetensors")
    first = weights_digest(tmp_path, patterns)
    assert (tmp_path / MEMO_NAME).is_file() and weights_digest(tmp_path, patterns) == first
    memo = json.loads((tmp_path / MEMO_NAME).read_text())
    memo["ckpts/a.safetensors"][2] = "0" * 64
    (tmp_path / MEMO_NAME).write_text(json.dumps(memo))
    assert weights_digest(tmp_path, patterns) != first  # the memo was believed
    (tmp_path / MEMO_NAME).write_text("{damaged")
    assert weights_digest(tmp_path, patterns) == first
    (tmp_path / "ckpts" / "a.safetensors").write_bytes(b"22")
    assert weights_digest(tmp_path, patterns) != first
    with pytest.raises(ValueError, match="no weights in"):
        weights_digest(tmp_path / "ckpts", ("*.json",))


def test_networks_are_lent_and_kept_or_dropped() -> None:
    loaded: list[str] = []

    def load(name: str, device: str) -> torch.nn.Module:
        loaded.append(f"{name} {device}")
        return torch.nn.Linear(2, 2)

    keep = NetworkPool(load, "cpu")
    for name in ("a", "b", "a"):
        with keep.borrow(name) as network:
            assert isinstance(network, torch.nn.Linear)
    assert loaded == ["a cpu", "b cpu"]
    keep.release()
    with keep.borrow("a"):
        pass
    assert loaded[2:] == ["a cpu"]
    one = NetworkPool(load, "cpu")
    for name in ("a", "b", "a"):
        with one.borrow(name, "one_at_a_time"):
            pass
    assert loaded[3:] == ["a cpu", "b cpu", "a cpu"]


def test_a_visiting_network_comes_back_to_main_memory() -> None:
    """On another device for the time of the loan; its resting tensors are the same as before."""
    pool = NetworkPool(lambda name, device: torch.nn.Linear(3, 2).requires_grad_(False), "meta")
    with torch.inference_mode(), pool.borrow("a", "one_at_a_time") as network:
        assert network.weight.is_meta
    resting = pool._waiting["a"].weight
    assert not resting.is_meta and resting.abs().sum() > 0
    with pytest.raises(RuntimeError, match="inside"), pool.borrow("a", "one_at_a_time"):
        raise RuntimeError("inside")
    assert torch.equal(pool._waiting["a"].weight, resting)


@pytest.mark.parametrize("precision", ["official", "bfloat16", "float32"])
def test_both_policies_of_memory_run_networks_in_the_same_types(
    precision: str, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is no part of a key, so it may change no number: on a device that is no CPU the bodies
    are as released also where they are read into main memory first."""
    import pixal3d.generation as generation
    from pixal3d.networks import build_network

    def without_file(source: Any, device: str, body_dtype: torch.dtype | None) -> torch.nn.Module:
        with torch.device(device):
            network = build_network(source.spec.kind, source.spec.arguments, body_dtype)
        return network.requires_grad_(False)

    monkeypatch.setattr(generation, "load_network", without_file)
    settings = settings_of("generate", "pixal3d", {"weights": str(weights), "precision": precision})
    types: dict[str, dict[str, set[torch.dtype]]] = {}
    for keeping in ("keep", "one_at_a_time"):
        pool = load(settings, "meta").loaded_checkpoint(False).networks
        types[keeping] = {}
        for name in generation.CASCADE_NETWORKS:
            with pool.borrow(name, keeping) as network:
                assert all(t.is_meta for t in network.state_dict().values())
                types[keeping][name] = {t.dtype for t in network.state_dict().values()}
    assert types["keep"] == types["one_at_a_time"]
    flow, decoder = types["keep"]["shape_flow_512"], types["keep"]["shape_decoder"]
    official = precision == "official"
    body = torch.bfloat16 if official else getattr(torch, precision)
    assert flow == {body, torch.float32}
    assert decoder == {torch.float16 if official else body, torch.float32}


def test_out_of_memory_is_tried_once_more_after_freeing() -> None:
    calls: list[str] = []

    def work(failures: int) -> str:
        calls.append("work")
        if calls.count("work") <= failures:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "done"

    def release() -> None:
        calls.append("release")

    remedy = "lower generate.resolution"
    done = retrying_after_freeing(lambda: work(1), release, "resolution 1536", remedy)
    assert done == "done"
    assert calls == ["work", "release", "work"]
    calls.clear()
    with pytest.raises(OutOfDeviceMemory, match="resolution 1536.*lower generate.resolution"):
        retrying_after_freeing(lambda: work(2), release, "resolution 1536", remedy)
    with pytest.raises(KeyError):
        retrying_after_freeing(lambda: {}["a"], release, "x", remedy)


@contextmanager
def _short_of_memory(monkeypatch: pytest.MonkeyPatch, above: int) -> Iterator[list[int]]:
    """A device that has not enough memory for some resolutions."""
    import pixal3d.generation as generation

    asked: list[int] = []
    run = generation.run_cascade

    def limited(*arguments: object, **named: object) -> object:
        request = arguments[3]
        asked.append(request.resolution)  # type: ignore[attr-defined]
        if asked[-1] > above:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(generation, "run_cascade", limited)
    yield asked


@pytest.mark.slow
def test_a_scene_falls_back_where_its_profile_allows(
    weights: Path, small_photo, prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lower resolution is a call of its own, named in the scene; without it the object fails."""
    one = ["--mask", small_photo.masks["a"], "--pointmap", small_photo.depth, "--fov", "55"]
    settings = ["backend=pixal3d", f"weights={weights}", "steps=1", "resolution=1536",
                "faces=300", "texture_px=128"]  # fmt: skip
    options = [part for setting in settings for part in ("--set", f"generate.{setting}")]
    base = ["run", small_photo.photo, *one, *options, "--store", tmp_path / "store", "--json"]
    with _short_of_memory(monkeypatch, above=1024) as asked:
        result = call(*base, "-o", tmp_path / "strict", "--until", "generate")
        assert result.exit_code == 1
        failure = json.loads(result.stdout)["objects"][0]["failure"]
        assert "out of memory at resolution 1536" in failure and asked == [1536, 1536]
        asked.clear()
        lower = "generate.on_out_of_memory={resolution: 1024}"
        result = call(*base, "--set", lower, "-o", tmp_path / "lower", "--until", "generate")
        assert asked == [1536, 1536, 1024]
        told = json.loads(result.stdout)
        assert told["objects"][0]["failure"] is None
        assert any("ran out of memory, made with resolution 1024" in n for n in told["notes"])
    steps = json.loads((tmp_path / "lower" / "run.json").read_text())["steps"]
    made = [s for s in steps if s["stage"] == "generate"]
    assert [s["settings"]["resolution"] for s in made if s.get("key")][-1] == 1024


def test_model_pool_still_lends_whole_backends(weights: Path) -> None:
    pool = ModelPool("cpu")
    with borrowed(pool, "generate", "pixal3d", {"weights": str(weights)}) as generator:
        assert generator.folder == weights
