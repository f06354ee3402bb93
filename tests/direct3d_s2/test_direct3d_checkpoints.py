"""Released folders are read strictly, pickles converted once, and wrong files named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from safetensors.torch import load_file, save_file  # noqa: E402

import direct3d_s2  # noqa: E402
from direct3d_s2 import WeightsError, convert, load_named, open_checkpoint  # noqa: E402
from photoscene.self_test.tiny_direct3d import CONFIG, write_tiny_checkpoint  # noqa: E402


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_checkpoint(tmp_path / "weights")


def test_every_network_is_found_and_loaded_strictly(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    assert not checkpoint.pixel_aligned and checkpoint.image_size == 56
    assert checkpoint.samplers["sparse_1024"] == direct3d_s2.Sampler(15, 7.0, 8.0)
    for name, source in checkpoint.networks.items():
        network = load_named(checkpoint, name)
        stored = load_file(source.file)
        for tensor, value in network.state_dict().items():
            assert torch.equal(value.float(), stored[source.prefix + tensor].float()), tensor


def test_a_release_is_found_below_a_folder_and_its_encoder_beside_it(folder: Path) -> None:
    home = folder.parent / "hub" / "direct3d-s2-v-1-1"
    home.parent.mkdir()
    folder.rename(home)
    (home / "dinov2").rename(home.parent.parent / "dinov2")
    assert open_checkpoint(home.parent, home.parent.parent).folder == home
    with pytest.raises(WeightsError, match="no image encoder in .*: put the folder dinov2/"):
        open_checkpoint(home.parent)


def test_pickles_are_converted_once_and_refused_before(tmp_path: Path) -> None:
    parts = {"vae": {"a": torch.ones(2)}, "dit": {"b": torch.zeros(1)}}
    torch.save(parts, tmp_path / "model_dense.ckpt")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG), "utf-8")
    with pytest.raises(WeightsError, match="model_dense.ckpt is a pickle that is not converted"):
        open_checkpoint(tmp_path)
    assert [p.name for p in convert(tmp_path)] == ["model_dense.safetensors"]
    assert set(load_file(tmp_path / "model_dense.safetensors")) == {"vae.a", "dit.b"}
    assert convert(tmp_path) == []


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ({"refiner": {"a": torch.ones(1)}}, "it holds refiner, expected vae, dit"),
        ([1], "it holds list"),
        ({"vae": {"a": 3}, "dit": {}}, "vae holds more than named tensors"),
        ({"vae": Path("x"), "dit": {}}, "damaged, or holds more than tensors"),
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, stored: object, reason: str) -> None:
    torch.save(stored, tmp_path / "model_dense.ckpt")
    with pytest.raises(WeightsError, match=reason):
        convert(tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_wrong_files_are_named_in_one_line(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    file = folder / "model_refiner.safetensors"
    tensors = load_file(file)
    save_file({n: t for n, t in tensors.items() if "mid_conv" not in n}, file)
    with pytest.raises(WeightsError, match="does not fit Voxel_RefinerXL: missing mid_conv.bias"):
        load_named(checkpoint, "refiner")
    file.unlink()
    with pytest.raises(WeightsError, match="model_refiner.safetensors is missing"):
        open_checkpoint(folder)
    for text, reason in (
        ("dense_dit: 3", "has no dense_dit with a target"),
        ("- 1", "has no parts"),
        ("a: [", "is not YAML"),
    ):
        (folder / "config.yaml").write_text(text)
        with pytest.raises(WeightsError, match=reason):
            open_checkpoint(folder)
    (folder / "config.yaml").unlink()
    with pytest.raises(WeightsError, match="no Direct3D-S2 weights in .*: expected config.yaml"):
        open_checkpoint(folder)


def test_layers_of_the_back_projection_need_naf(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path / "weights", pixel_aligned=True)
    checkpoint = open_checkpoint(folder)
    assert checkpoint.pixel_aligned
    assert load_named(checkpoint, "back_projection").stages["dense"].weight.shape == (32, 32)
    (folder / "naf.safetensors").unlink()
    with pytest.raises(WeightsError, match="no naf.safetensors or naf_release.pth"):
        open_checkpoint(folder)
