"""The whole cascade with tiny random weights: picture to mesh, the reference's random numbers."""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from PIL import Image  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

import pixal3d  # noqa: E402
from photoscene.self_test.tiny_pixal3d import write_tiny_checkpoint  # noqa: E402
from pixal3d.cascade import choose_grid, finer_nodes  # noqa: E402
from pixal3d.preprocess import crop_to_object  # noqa: E402
from support.posed_views import cutout, orbit, write_rig  # noqa: E402

FOV_RAD = 0.6


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "weights")


def quick(
    checkpoint: pixal3d.Checkpoint, seed: int = 42, steps: int = 1
) -> pixal3d.GenerationOptions:
    samplers = {n: replace(s, steps=steps) for n, s in checkpoint.samplers.items()}
    return pixal3d.GenerationOptions(seed=seed, samplers=samplers)


@pytest.fixture(scope="module")
def made(weights: Path) -> tuple[pixal3d.Generated, list[str]]:
    """One object, and the networks in the order in which they were borrowed."""
    checkpoint, borrowed = pixal3d.open_checkpoint(weights), []
    lend = pixal3d.keep_loaded(checkpoint)

    @contextmanager
    def watched(name: str):
        borrowed.append(name)
        with lend(name) as network:
            yield network

    pictures = pixal3d.from_cutout(cutout(), FOV_RAD)
    request = quick(checkpoint)
    return pixal3d.generate(pictures, checkpoint, request, borrow=watched), borrowed


def test_a_picture_becomes_a_mesh(made: tuple[pixal3d.Generated, list[str]]) -> None:
    generated, borrowed = made
    assert generated.resolution == 1024
    assert len(generated.faces) > 100 and torch.isfinite(generated.vertices).all()
    assert int(generated.faces.max()) < len(generated.vertices) == len(generated.attributes.coords)
    assert generated.vertices.abs().max() <= 0.5 + 0.5 / 1024 + 1e-6
    assert borrowed == [
        "image_encoder", "structure_flow", "structure_decoder", "upsampler", "shape_flow_512",
        "shape_decoder", "upsampler", "shape_flow_1024", "upsampler", "texture_flow_1024",
        "shape_decoder", "texture_decoder",
    ]  # fmt: skip
    mesh = pixal3d.bake(generated.vertices, generated.faces, generated.attributes, 128, 200)
    assert mesh.base_colour.shape == (128, 128, 3) and 0 < len(mesh.faces) <= 200
    assert mesh.uv.min() >= 0 and mesh.uv.max() <= 1


def test_random_numbers_are_the_reference_s(made: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    """Structure, shape, finer shape, texture: from the CPU's generator, seeded once."""
    drawn: list[torch.Tensor] = []
    randn = torch.randn

    def watched(*shape: int, generator: torch.Generator) -> torch.Tensor:
        drawn.append(randn(*shape, generator=generator))
        return drawn[-1]

    monkeypatch.setattr("pixal3d.cascade.torch.randn", watched)
    from pixal3d.cascade import Job, _noise

    checkpoint = pixal3d.Checkpoint(Path(), {})
    job = Job(
        pixal3d.PosedImages([], {}), checkpoint, lambda name: None, quick(checkpoint, seed=7),
        torch.device("cpu"), torch.Generator().manual_seed(7), {}, lambda *progress: None,
    )  # fmt: skip
    for shape in ((1, 8, 16, 16, 16), (21, 32), (34, 32), (34, 32)):
        _noise(job, *shape)
    torch.manual_seed(7)
    for ours in drawn:
        assert torch.equal(ours, randn(*ours.shape))


@pytest.mark.slow
def test_the_same_request_gives_the_same_object(weights: Path, made: tuple) -> None:
    checkpoint = pixal3d.open_checkpoint(weights)
    pictures = pixal3d.from_cutout(cutout(), FOV_RAD)
    again = pixal3d.generate(pictures, checkpoint, quick(checkpoint))
    assert torch.equal(again.vertices, made[0].vertices)
    assert torch.equal(again.faces, made[0].faces)
    assert torch.equal(again.attributes.values, made[0].attributes.values)


EMPTY = {
    "structure_decoder": ("out_layer.2.bias", "no structure was predicted for this picture"),
    "shape_decoder": ("blocks.2.1.to_subdiv.bias", "has no surface: try another seed"),
}


@pytest.mark.parametrize("name", EMPTY)
def test_a_picture_of_nothing_is_one_clear_error(name: str, weights: Path, tmp_path: Path) -> None:
    """A decoder that sees nothing anywhere: the error says what to try."""
    checkpoint = pixal3d.open_checkpoint(weights)
    source, (bias, message) = checkpoint.networks[name], EMPTY[name]
    stored = load_file(source.file)
    stored[bias] = torch.full_like(stored[bias], -100.0)
    save_file(stored, tmp_path / "empty.safetensors")
    changed = {name: replace(source, file=tmp_path / "empty.safetensors")}
    empty = replace(checkpoint, networks={**checkpoint.networks, **changed})
    with pytest.raises(ValueError, match=message):
        pixal3d.generate(pixal3d.from_cutout(cutout(), FOV_RAD), empty, quick(checkpoint))


def test_the_resolution_comes_down_until_the_tokens_fit() -> None:
    """128 at a time, strictly below the limit, 1024 whatever it holds."""
    torch.manual_seed(0)
    cells = torch.randint(0, 512, (4000, 3), dtype=torch.int32)
    fine = torch.cat([torch.zeros(4000, 1, dtype=torch.int32), cells], 1)
    counts = {r: len(finer_nodes(fine, r)) for r in range(1024, 1537, 128)}
    assert counts[1024] < counts[1152] < counts[1536]
    assert choose_grid(fine, 1536, counts[1536] + 1)[1] == 1536
    assert choose_grid(fine, 1536, counts[1536])[1] == 1408
    assert choose_grid(fine, 1536, counts[1280])[1] == 1152
    coords, resolution = choose_grid(fine, 1536, 1)
    assert resolution == 1024 and len(coords) == counts[1024]
    assert torch.equal(coords, coords.unique(dim=0)) and int(coords.max()) <= 63


@pytest.mark.parametrize(
    ("rgba", "message"),
    [
        (np.zeros((40, 40, 4), np.uint8), "fully transparent"),
        (np.full((40, 40, 4), 255, np.uint8), "no transparency"),
        (np.zeros((1, 1, 4), np.uint8), "1 x 1 pixels: too small"),
        (np.zeros((40, 40, 3), np.uint8), r"expected \(H, W, 4\) uint8"),
        (np.where(np.arange(40)[:, None, None] == 3, 100, np.zeros((40, 40, 4))).astype(np.uint8),
         "no solid pixel"),
    ],
)  # fmt: skip
def test_pictures_that_cannot_be_used(rgba: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pixal3d.from_cutout(rgba, FOV_RAD)


def test_large_pictures_are_reduced_first() -> None:
    large = np.asarray(Image.fromarray(cutout()).resize((2400, 1800), Image.Resampling.NEAREST))
    framed = crop_to_object(large)
    assert framed.shape[0] == framed.shape[1] <= 1.1 * 1024 * 0.75 + 2


def test_a_square_crop_is_not_framed_again() -> None:
    square = np.zeros((64, 64, 4), np.uint8)
    square[10:20, 5:15] = (200, 100, 50, 255)
    pictures = pixal3d.from_crop(square, FOV_RAD)
    image = pictures.images[512][0]
    assert image[0, 120, 80] > 0.7 and image[:, 300:, :].max() == 0
    assert math.isclose(pictures.views[0].distance, 0.5 / math.tan(FOV_RAD / 2), rel_tol=1e-5)
    with pytest.raises(ValueError, match="not square"):
        pixal3d.from_crop(square[:, :40], FOV_RAD)


def test_posed_views_are_read(tmp_path: Path) -> None:
    pictures, scale = pixal3d.read_views(write_rig(tmp_path, (0, 90, 180)))
    posed = pixal3d.from_views(pictures, scale, sizes=(64,))
    assert scale == 1 and len(posed.images[64]) == 3 and posed.images[64][0].shape == (3, 64, 64)
    expected = torch.tensor(orbit(math.pi / 2, 3.1192))
    torch.testing.assert_close(posed.views[1].world_from_camera, expected, atol=1e-5, rtol=1e-5)


def _rig_with(change: object) -> dict:
    rig = {
        "camera_angle_x": 0.4,
        "frames": [{"file_path": "0.png", "transform_matrix": orbit(0, 3)}],
    }
    change(rig)  # type: ignore[operator]
    return rig


BAD_RIGS = {
    "not a list": (lambda r: r.update(frames={}), "a list of 1 to"),
    "empty": (lambda r: r.update(frames=[]), "a list of 1 to"),
    "no file": (lambda r: r["frames"][0].pop("file_path"), "view 1 has no file_path"),
    "lost file": (lambda r: r["frames"][0].update(file_path="x.png"), "x.png: No such file"),
    "no fov": (lambda r: r.pop("camera_angle_x"), "camera_angle_x is None"),
    "degrees": (lambda r: r.update(camera_angle_x=20.0), "expected radians"),
    "three rows": (lambda r: r["frames"][0]["transform_matrix"].pop(), "not 4 rows of 4"),
    "text": (lambda r: r["frames"][0]["transform_matrix"][1].__setitem__(2, "a"), "finite number"),
    "sheared": (lambda r: r["frames"][0]["transform_matrix"][0].__setitem__(1, 0.5), "view 1"),
    "scaled": (lambda r: r["frames"][0]["transform_matrix"][0].__setitem__(0, 2.0), "view 1"),
    "scale": (lambda r: r.update(mesh_scale=0), "mesh_scale is 0"),
}


@pytest.mark.parametrize("case", BAD_RIGS)
def test_wrong_views_are_one_clear_error(case: str, tmp_path: Path) -> None:
    change, message = BAD_RIGS[case]
    Image.fromarray(cutout()).save(tmp_path / "0.png")
    (tmp_path / "transforms.json").write_text(json.dumps(_rig_with(change)))
    with pytest.raises(ValueError, match=message):
        pictures, scale = pixal3d.read_views(tmp_path / "transforms.json")
        pixal3d.from_views(pictures, scale, sizes=(64,))


def test_views_that_are_no_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        pixal3d.read_views(tmp_path / "a.json")
    with pytest.raises(ValueError, match="No such file"):
        pixal3d.read_views(tmp_path / "b.json")
