"""The whole of Cupid with tiny weights: a picture to a ball, and to the camera that sees it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from safetensors.torch import load_file, save_file  # noqa: E402

import cupid  # noqa: E402
from cupid.checkpoints import LATENTS, OFFICIAL_SAMPLERS, PIPELINE_KEYS  # noqa: E402
from cupid.networks import OFFICIAL  # noqa: E402
from cupid.pose import rotation_between_rad  # noqa: E402
from cupid.velocity import GuidedFlow, SharedFlow  # noqa: E402
from photoscene.self_test.tiny_cupid import tiny_camera, write_tiny_checkpoint  # noqa: E402
from sparse3d.sampling import Sampler, sample  # noqa: E402
from support.posed_views import cutout  # noqa: E402


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "hbb1" / "Cupid")


@pytest.fixture
def copy(weights: Path, tmp_path: Path) -> Path:
    """Weights of one's own to damage."""
    return Path(shutil.copytree(weights, tmp_path / "owner" / "weights"))


@pytest.fixture(scope="module")
def made(weights: Path) -> tuple[cupid.Generated, list[str]]:
    """One object, and the networks in the order in which they were borrowed."""
    checkpoint, borrowed = cupid.open_checkpoint(weights), []
    lend = cupid.keep_loaded(checkpoint)

    @contextmanager
    def watched(name: str):
        borrowed.append(name)
        with lend(name) as network:
            yield network

    return cupid.generate(cupid.from_cutout(cutout()), checkpoint, borrow=watched), borrowed


def test_a_picture_becomes_a_ball_and_its_camera(made: tuple[cupid.Generated, list[str]]) -> None:
    generated, borrowed = made
    assert borrowed == [
        "image_encoder", "structure_flow", "structure_decoder", "uv_decoder", "latent_encoder",
        "latent_flow", "mesh_decoder",
    ]  # fmt: skip
    radius = generated.vertices.norm(dim=1)
    assert generated.resolution == 64 and 0.2 < radius.min() < radius.max() < 0.35
    _, camera_from_object = tiny_camera()
    expected = camera_from_object.double().numpy()
    pose = generated.pose
    assert rotation_between_rad(pose.rotation, expected[:3, :3]) < np.radians(3)
    assert np.abs(pose.translation[:2]).max() < 0.02 and pose.confidence > 0.8
    assert generated.colours.min() >= 0 and generated.colours.max() <= 1
    mesh = cupid.bake(
        generated.vertices, generated.faces, cupid.voxel_attributes(generated), 64, 400
    )
    assert 100 < len(mesh.faces) <= 400 and mesh.base_colour.std() > 1
    assert (mesh.metallic_roughness[..., 1] == 255).all() and (mesh.alpha == 255).all()


@pytest.mark.slow
def test_seeds_and_a_known_pose(weights: Path, made: tuple) -> None:
    checkpoint, image = cupid.open_checkpoint(weights), cupid.from_cutout(cutout())
    again = cupid.generate(image, checkpoint)
    assert torch.equal(again.vertices, made[0].vertices)
    assert torch.equal(again.colours, made[0].colours)
    other = cupid.generate(image, checkpoint, cupid.GenerationOptions(seed=7))
    assert not torch.equal(other.colours[:99], made[0].colours[:99])
    known = replace(made[0].pose, focal=1.0)
    given = cupid.generate(image, checkpoint, cupid.GenerationOptions(poses=(known,)))
    assert given.pose is known and not torch.equal(given.colours, made[0].colours)
    with pytest.raises(ValueError, match="1 known poses for 2 images"):
        cupid.generate([image] * 2, checkpoint, cupid.GenerationOptions(poses=(known,)))


@pytest.mark.slow
def test_views_share_one_latent(weights: Path, made: tuple) -> None:
    """A view given twice is one view, their order does not matter, and each of them counts."""
    checkpoint, front = cupid.open_checkpoint(weights), cupid.from_cutout(cutout())
    side = cupid.from_cutout(np.ascontiguousarray(cutout()[:, ::-1]))
    twice = cupid.generate([front, front], checkpoint)
    assert torch.equal(twice.vertices, made[0].vertices) and len(twice.poses) == 2
    assert torch.equal(twice.colours, made[0].colours)
    assert all(np.array_equal(p.extrinsic, made[0].pose.extrinsic) for p in twice.poses)
    both = cupid.generate([front, side], checkpoint)
    other = cupid.generate([side, front], checkpoint)
    assert torch.equal(both.vertices, other.vertices) and torch.equal(both.colours, other.colours)
    for here, there in zip(both.poses, reversed(other.poses), strict=True):
        assert np.array_equal(here.extrinsic, there.extrinsic)
    assert not torch.equal(both.colours[:99], made[0].colours[:99])


def test_views_agree_on_what_they_share_alone() -> None:
    """Two flows that move everything to 1 and to 3: the common channel goes to 2, the views' own
    where each says."""

    def towards(value: float, time: float) -> GuidedFlow:
        return GuidedFlow(lambda x, _: x - value, lambda x, _: (x - value) / time)

    flow = SharedFlow([towards(1.0, 2), towards(3.0, 2)], shared=1)
    x = torch.zeros(4, 3)
    with_image, without = flow.both(x, 1.0)
    assert with_image.tolist() == [[-2, -1, -3]] * 4
    assert without.tolist() == [[-1, -0.5, -1.5]] * 4
    *_, last = sample(flow, x, Sampler(1), (4,))
    assert last.x.tolist() == [[2, 1, 3]] * 4
    assert [rows.tolist() for rows in flow.rows_of_views(last.x[:1])] == [[[2, 1]], [[2, 3]]]


def test_a_cut_out_is_framed_wider_than_its_object() -> None:
    rgba = np.zeros((90, 120, 4), np.uint8)
    rgba[20:60, 30:80] = (200, 100, 50, 255)
    image = cupid.from_cutout(rgba, 37, 16)
    left, top, right, bottom = image.box
    assert right - left == bottom - top == 2 * (int(49 * 1.2) // 2)
    assert (left + right) / 2 == 54.5 and (top + bottom) / 2 == 39.5
    assert image.tokens.shape == (3, 37, 37) and image.visual.shape == (3, 16, 16)
    assert image.visual[0, 8, 8] > 0.7 and image.visual[:, 0].max() < 0.02
    with pytest.raises(ValueError, match="not square"):
        cupid.from_crop(rgba)
    with pytest.raises(cupid.BadImage, match="no transparency"):
        cupid.from_cutout(np.full((40, 40, 4), 255, np.uint8))


EMPTY: dict[str, tuple[str, str, float]] = {
    "structure_decoder": ("out_layer.2.bias", "no structure was predicted for this picture", -1e4),
    "mesh_decoder": ("out_layer.bias", "have no surface: try another seed", 100.0),
    "uv_decoder": ("out_layer.2.weight", "cube", 0.0),
}


@pytest.mark.parametrize("name", EMPTY)
def test_a_picture_of_nothing_is_one_clear_error(name: str, weights: Path, tmp_path: Path) -> None:
    """Nothing inside, no surface, or a cube whose voxels all appear in one pixel."""
    checkpoint = cupid.open_checkpoint(weights)
    source, (tensor, message, value) = checkpoint.networks[name], EMPTY[name]
    stored = load_file(source.file)
    stored[tensor] = torch.full_like(stored[tensor], value)
    save_file(stored, tmp_path / "changed.safetensors")
    changed = {name: replace(source, file=tmp_path / "changed.safetensors")}
    empty = replace(checkpoint, networks={**checkpoint.networks, **changed})
    expected = cupid.PoseNotFound if name == "uv_decoder" else cupid.NothingMade
    with pytest.raises(expected, match=message):
        cupid.generate(cupid.from_cutout(cutout()), empty)


def test_the_settings_of_the_pipeline_file(copy: Path) -> None:
    checkpoint = cupid.open_checkpoint(copy)
    assert set(checkpoint.networks) == set(OFFICIAL)
    assert set(PIPELINE_KEYS.values()) < set(OFFICIAL)
    structure = checkpoint.samplers["structure"]
    assert (structure.steps, structure.guidance, structure.interval) == (1, 4.0, (0.5, 1.0))
    assert structure.rescale_time == 3 and checkpoint.latents == LATENTS
    pipeline = json.loads((copy / "pipeline.json").read_text())
    del pipeline["args"]["sparse_structure_sampler"]
    pipeline["args"]["slat_sampler"]["params"] = {"steps": 9, "cfg_strength": 0}
    pipeline["args"]["slat_normalization"] = {"mean": [1.0] * 8, "std": [2.0] * 8}
    (copy / "pipeline.json").write_text(json.dumps(pipeline))
    checkpoint = cupid.open_checkpoint(copy)
    latent = checkpoint.samplers["latent"]
    assert (latent.steps, latent.guidance, latent.interval) == (9, 1.0, (0.0, 1.0))
    assert checkpoint.samplers["structure"] == OFFICIAL_SAMPLERS["structure"]
    assert checkpoint.latents.mean == (1.0,) * 8


def test_the_encoder_may_lie_in_the_folder_of_trellis(copy: Path) -> None:
    """As a mirror of the hub lays repositories out, side by side."""
    other = copy.parent.parent / "microsoft" / "TRELLIS-image-large" / "ckpts"
    other.mkdir(parents=True)
    for suffix in (".json", ".safetensors"):
        name = f"slat_enc_swin8_B_64l8_fp16{suffix}"
        (copy / f"ckpts/slat_enc_tiny{suffix}").rename(other / name)
    encoder = cupid.open_checkpoint(copy).networks["latent_encoder"]
    assert encoder.file.parent == other
    (other / "slat_enc_swin8_B_64l8_fp16.json").unlink()
    with pytest.raises(cupid.WeightsError, match="no latent encoder in"):
        cupid.open_checkpoint(copy)


def _pipeline(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        described = json.loads((folder / "pipeline.json").read_text())
        change(described["args"])
        (folder / "pipeline.json").write_text(json.dumps(described))

    return damage


def _weights(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / "ckpts/slat_flow_model.safetensors"
        stored = load_file(file)
        change(stored)
        save_file(stored, file)

    return damage


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no pipeline": (lambda f: (f / "pipeline.json").unlink(), "no Cupid weights in"),
    "Pixal3D's": (_pipeline(lambda a: a["models"].pop("sparse_structure_uv_decoder")),
                  "lists no sparse_structure_uv_decoder: is it Cupid's?"),
    "no strength": (_pipeline(lambda a: a["slat_sampler"]["params"].pop("cfg_strength")),
                    "settings are wrong"),
    "no DINOv2": (lambda f: shutil.rmtree(f / "dinov2"), "no image encoder in"),
    "no file": (lambda f: (f / "ckpts/slat_decoder_mesh.safetensors").unlink(), "is missing"),
    "cut short": (lambda f: (f / "ckpts/slat_flow_model.safetensors").write_bytes(b"12"),
                  "damaged or no safetensors file"),
    "too few": (_weights(lambda s: s.pop("out_layer.bias")), "missing out_layer.bias"),
    "too many": (_weights(lambda s: s.update(more=torch.ones(1))), "unknown more"),
    "another shape": (_weights(lambda s: s.update({"out_layer.bias": torch.ones(3)})),
                      r"out_layer.bias is \(3,\), expected \(8,\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_wrong_weights_are_one_clear_error(case: str, copy: Path) -> None:
    damage, message = DAMAGE[case]
    damage(copy)
    with pytest.raises(cupid.WeightsError, match=message) as caught:
        cupid.load_named(cupid.open_checkpoint(copy), "latent_flow")
    assert "\n" not in str(caught.value)
