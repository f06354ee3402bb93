"""Official weights: sizes and names as released, layouts, and refusal of everything else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from safetensors.torch import load_file, save_file  # noqa: E402

from photoscene.self_test.tiny_pixal3d import DINO, write_tiny_checkpoint  # noqa: E402
from pixal3d.checkpoints import (  # noqa: E402
    COMFY_DECODERS,
    COMFY_FLOW_PREFIXES,
    COMFY_FLOWS,
    IMAGE_NETWORKS_FILE,
    PIPELINE_KEYS,
    Checkpoint,
    open_checkpoint,
)
from pixal3d.generation import check_complete, load_named  # noqa: E402
from pixal3d.networks import OFFICIAL, build_network  # noqa: E402
from pixal3d.precision import describe_precision  # noqa: E402
from pixal3d.weights import load_network  # noqa: E402
from sparse3d.weights import NetworkSource, NetworkSpec, WeightsError  # noqa: E402
from stages.generate.pixal3d import BACKEND, WEIGHT_FILES, Settings  # noqa: E402
from stages.model_table import model_table  # noqa: E402
from stages.weights import MissingWeights  # noqa: E402

# Counted on the reference's own modules: parameters and stored tensors.
RELEASED = {
    "structure_flow": (1_339_411_976, 700),
    "shape_flow_512": (1_386_671_648, 700),
    "shape_flow_1024": (1_386_671_648, 700),
    "texture_flow_1024": (1_386_720_800, 700),
    "structure_decoder": (73_671_201, 74),
    "structure_encoder": (59_298_192, None),
    "shape_decoder": (474_231_463, 292),
    "shape_encoder": (354_385_392, None),
    "texture_decoder": (474_216_006, 284),
    "image_encoder": (303_129_600, None),
    "upsampler": (662_528, 37),
}
# Shapes by name, as the released files have them.
FLOW_SHAPES = {
    "t_embedder.mlp.0.weight": (1536, 256),
    "t_embedder.mlp.2.weight": (1536, 1536),
    "adaLN_modulation.1.weight": (9216, 1536),
    "input_layer.bias": (1536,),
    "blocks.29.modulation": (9216,),
    "blocks.29.norm2.weight": (1536,),
    "blocks.29.self_attn.to_qkv.weight": (4608, 1536),
    "blocks.29.self_attn.q_rms_norm.gamma": (12, 128),
    "blocks.29.self_attn.k_rms_norm.gamma": (12, 128),
    "blocks.29.self_attn.to_out.weight": (1536, 1536),
    "blocks.29.cross_attn.cross_attn_block.to_q.weight": (1536, 1536),
    "blocks.29.cross_attn.cross_attn_block.to_kv.weight": (3072, 1024),
    "blocks.29.cross_attn.cross_attn_block.q_rms_norm.gamma": (12, 128),
    "blocks.29.cross_attn.cross_attn_block.to_out.bias": (1536,),
    "blocks.29.mlp.mlp.0.weight": (8192, 1536),
    "blocks.29.mlp.mlp.2.weight": (1536, 8192),
}
OTHER_SHAPES = {
    "structure_flow": FLOW_SHAPES
    | {
        "input_layer.weight": (1536, 8),
        "out_layer.weight": (8, 1536),
        "blocks.0.cross_attn.proj_linear.weight": (1536, 1024),
    },
    "shape_flow_1024": FLOW_SHAPES
    | {
        "input_layer.weight": (1536, 32),
        "out_layer.weight": (32, 1536),
        "blocks.0.cross_attn.proj_linear.weight": (1536, 2048),
    },
    "texture_flow_1024": FLOW_SHAPES | {"input_layer.weight": (1536, 64)},
    "structure_decoder": {
        "input_layer.weight": (512, 8, 3, 3, 3),
        "middle_block.1.conv2.weight": (512, 512, 3, 3, 3),
        "blocks.2.conv.weight": (1024, 512, 3, 3, 3),
        "blocks.5.conv.weight": (256, 128, 3, 3, 3),
        "out_layer.0.weight": (32,),
        "out_layer.2.weight": (1, 32, 3, 3, 3),
    },
    "shape_decoder": {
        "from_latent.weight": (1024, 32),
        "blocks.0.3.conv.weight": (1024, 3, 3, 3, 1024),
        "blocks.0.4.conv1.weight": (4096, 3, 3, 3, 1024),
        "blocks.1.16.to_subdiv.weight": (8, 512),
        "blocks.2.8.conv2.weight": (128, 3, 3, 3, 128),
        "blocks.3.4.norm1.weight": (128,),
        "blocks.3.0.mlp.2.weight": (128, 512),
        "output_layer.weight": (7, 64),
    },
    "texture_decoder": {"output_layer.weight": (6, 64), "blocks.1.16.conv2.bias": (256,)},
    "image_encoder": {
        "embeddings.register_tokens": (1, 4, 1024),
        "embeddings.patch_embeddings.weight": (1024, 3, 16, 16),
        "layer.23.attention.q_proj.bias": (1024,),
        "layer.23.mlp.up_proj.weight": (4096, 1024),
        "layer.23.layer_scale2.lambda1": (1024,),
        "norm.weight": (1024,),
    },
    "upsampler": {
        "image_encoder.encoder.0.weight": (128, 3, 1, 1),
        "image_encoder.sem_encoder.2.conv2.weight": (128, 128, 3, 3),
        "image_encoder.rope.periods": (16,),
    },
}


def _official(name: str) -> torch.nn.Module:
    with torch.device("meta"):
        return build_network(OFFICIAL[name].kind, OFFICIAL[name].arguments)


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_sizes(name: str) -> None:
    network = _official(name)
    tensors = network.state_dict()
    parameters, count = RELEASED[name]
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert count is None or len(tensors) == count
    shapes = {n: tuple(tensors[n].shape) for n in OTHER_SHAPES.get(name, {})}
    assert shapes == OTHER_SHAPES.get(name, {})


def test_official_types() -> None:
    """Bodies in half precision; norms, gains, modulation, first and last layers in float32."""
    half = {"structure_flow": torch.bfloat16, "texture_flow_1024": torch.bfloat16,
            "structure_decoder": torch.float16, "shape_decoder": torch.float16}  # fmt: skip
    kept = ("norm", "gamma", "modulation", "t_embedder", "adaLN", "input_layer", "out_layer",
            "from_latent", "output_layer")  # fmt: skip
    for name, dtype in half.items():
        for key, tensor in _official(name).state_dict().items():
            stays = any(word in key for word in kept)
            assert tensor.dtype == (torch.float32 if stays else dtype), f"{name} {key}"
    for name in ("image_encoder", "upsampler"):
        assert {t.dtype for t in _official(name).state_dict().values()} == {torch.float32}


# In the authors' repository: the keys of pipeline.json, and the files that it names.
AUTHORS_FILES = {
    "sparse_structure_flow_model": "ss_flow_img_dit_1_3B_64_bf16",
    "shape_slat_flow_model_512": "slat_flow_img2shape_dit_1_3B_512_bf16",
    "shape_slat_flow_model_1024": "slat_flow_img2shape_dit_1_3B_1024_bf16",
    "tex_slat_flow_model_1024": "slat_flow_imgshape2tex_dit_1_3B_1024_bf16",
    "sparse_structure_decoder": "ss_dec_conv3d_16l8_fp16",
    "shape_slat_decoder": "shape_dec_next_dc_f16c32_fp16",
    "tex_slat_decoder": "tex_dec_next_dc_f16c32_fp16",
}
AS_RELEASED = (
    "flows in bfloat16 and float32; decoders in float16 and float32; image networks in float32"
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("weights") / "TencentARC" / "Pixal3D")


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """Weights of one's own to damage."""
    return Path(shutil.copytree(tiny, tmp_path / "owner" / "weights"))


def _same(ours: torch.nn.Module, stored: dict[str, torch.Tensor]) -> None:
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, stored[name].to(tensor.dtype), rtol=0, atol=0)


def test_official_layout(tiny: Path) -> None:
    checkpoint = open_checkpoint(tiny)
    check_complete(checkpoint)
    _check_all_files_are_in_the_key(checkpoint)
    assert checkpoint.samplers["structure"].guidance_rescale == 0.7
    assert describe_precision(checkpoint, None) == AS_RELEASED
    for name in checkpoint.networks:
        network = load_named(checkpoint, name, "cpu")
        assert not any(t.is_meta for t in (*network.parameters(), *network.buffers()))
        assert not any(p.requires_grad for p in network.parameters())
        _same(network, load_file(checkpoint.networks[name].file))


def _check_all_files_are_in_the_key(checkpoint: Checkpoint) -> None:
    """The backend lists a folder's files by patterns, since `pixal3d` is slow to import: what is
    loaded must be among them."""
    listed = {file for pattern in WEIGHT_FILES for file in checkpoint.folder.glob(pattern)}
    assert {source.file for source in checkpoint.networks.values()} <= listed


def test_settings_of_the_pipeline_file(copy: Path) -> None:
    pipeline = json.loads((copy / "pipeline.json").read_text())
    params = {"steps": 25, "guidance_strength": 3.0, "guidance_rescale": 0.2,
              "guidance_interval": [0.1, 0.9], "rescale_t": 4.0}  # fmt: skip
    pipeline["args"]["shape_slat_sampler"] = {"name": "x", "args": {}, "params": params}
    pipeline["args"]["tex_slat_normalization"] = {"mean": [1.0] * 32, "std": [2.0] * 32}
    (copy / "pipeline.json").write_text(json.dumps(pipeline))
    checkpoint = open_checkpoint(copy)
    shape = checkpoint.samplers["shape"]
    assert (shape.steps, shape.guidance, shape.interval) == (25, 3.0, (0.1, 0.9))
    assert checkpoint.samplers["texture"].interval == (0.6, 0.9)
    latents = torch.randn(5, 32)
    torch.testing.assert_close(checkpoint.texture_latents.restored(latents), latents * 2 + 1)
    back = checkpoint.texture_latents.normalised(checkpoint.texture_latents.restored(latents))
    torch.testing.assert_close(back, latents)


def test_several_views_have_their_own_flows(copy: Path) -> None:
    with pytest.raises(WeightsError, match="pipeline_mv.json"):
        open_checkpoint(copy, several_views=True)
    write_tiny_checkpoint(copy.parent / "mv", several_views=True)
    flows = open_checkpoint(copy.parent / "mv", several_views=True).networks
    assert flows["structure_flow"].file.stem.endswith("_mv")
    assert not flows["shape_decoder"].file.stem.endswith("_mv")


def test_a_mirror_keeps_repositories_side_by_side(copy: Path) -> None:
    """pipeline.json may name a network of another repository, as TRELLIS.2's does."""
    pipeline = json.loads((copy / "pipeline.json").read_text())
    stem = pipeline["args"]["models"]["sparse_structure_decoder"]
    other = copy.parent.parent / "microsoft" / "TRELLIS-image-large" / "ckpts"
    other.mkdir(parents=True)
    for suffix in (".json", ".safetensors"):
        (copy / f"{stem}{suffix}").rename(other / f"decoder{suffix}")
    named = "microsoft/TRELLIS-image-large/ckpts/decoder"
    pipeline["args"]["models"]["sparse_structure_decoder"] = named
    (copy / "pipeline.json").write_text(json.dumps(pipeline))
    checkpoint = open_checkpoint(copy)
    assert checkpoint.networks["structure_decoder"].file == other / "decoder.safetensors"
    load_named(checkpoint, "structure_decoder", "cpu")


def test_comfy_layout(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All flows in one file, decoders in two, DINOv3 and NAF in one: the same tensors."""
    official = open_checkpoint(tiny)
    bundles: dict[str, dict[str, torch.Tensor]] = {}
    places = {n: (COMFY_FLOWS, prefix) for n, prefix in COMFY_FLOW_PREFIXES.items()}
    image_file = f"clip_vision/{IMAGE_NETWORKS_FILE}"
    places |= COMFY_DECODERS
    places |= {"image_encoder": (image_file, ""), "upsampler": (image_file, "naf.")}
    for name, (file, prefix) in places.items():
        stored = load_file(official.networks[name].file)
        kept = {n: t if prefix in ("", "naf.") else t.bfloat16() for n, t in stored.items()}
        bundles.setdefault(file, {}).update({prefix + n: t for n, t in kept.items()})
    for file, tensors in bundles.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        save_file(tensors, tmp_path / file)
    tiny_specs = {name: source.spec for name, source in official.networks.items()}
    monkeypatch.setattr("pixal3d.checkpoints.OFFICIAL", tiny_specs)
    checkpoint = open_checkpoint(tmp_path)
    check_complete(checkpoint)
    _check_all_files_are_in_the_key(checkpoint)
    for name, source in official.networks.items():
        stored = load_file(source.file)
        if name not in ("image_encoder", "upsampler"):
            stored = {n: t.bfloat16().float() for n, t in stored.items()}
        _same(load_named(checkpoint, name, "cpu"), stored)
    told = describe_precision(checkpoint, None)
    assert told == (
        "flows in bfloat16 and float32, of numbers rounded to bfloat16; "
        "decoders in float16 and float32, of numbers rounded to bfloat16; image networks in float32"
    )
    told = describe_precision(checkpoint, torch.float32)
    assert told.startswith("flows in float32, of numbers rounded to bfloat16; decoders in float32,")


def test_trellis_2_flows_load_and_are_not_for_pictures(copy: Path) -> None:
    """The same keys without the projection and its extra level of names."""
    config, weights = _files(copy, "shape_slat_flow_model_1024")
    described = json.loads(config.read_text())
    del described["args"]["image_attn_mode"], described["args"]["proj_in_channels"]
    config.write_text(json.dumps(described))
    stored = {
        name.replace(".cross_attn_block.", "."): tensor
        for name, tensor in load_file(weights).items()
        if "proj_linear" not in name
    }
    save_file(stored, weights)
    checkpoint = open_checkpoint(copy)
    network = load_network(checkpoint.networks["shape_flow_1024"])
    assert torch.equal(
        network.state_dict()["blocks.1.cross_attn.cross_attn_block.to_q.weight"],
        stored["blocks.1.cross_attn.to_q.weight"].bfloat16(),
    )
    with pytest.raises(WeightsError, match="no projection"):
        load_named(checkpoint, "shape_flow_1024", "cpu")


def test_rotary_phases_in_the_file_are_left_out(copy: Path) -> None:
    _, weights = _files(copy, "sparse_structure_flow_model")
    save_file({**load_file(weights), "rope_phases": torch.ones(4, 8)}, weights)
    load_named(open_checkpoint(copy), "structure_flow", "cpu")


def test_newer_names_of_the_image_encoder(copy: Path) -> None:
    """transformers 5 nests the layers one level deeper."""
    weights = copy / "dinov3" / "model.safetensors"
    stored = load_file(weights)
    nested = {n.replace("layer.", "model.layer.", 1): t for n, t in stored.items()}
    assert nested.keys() != stored.keys()
    save_file(nested, weights)
    _same(load_named(open_checkpoint(copy), "image_encoder", "cpu"), stored)


def test_the_upsampler_as_its_authors_release_it(copy: Path) -> None:
    """A pickle of tensors is read without running code; one that holds code is refused."""
    stored = load_file(copy / "naf.safetensors")
    (copy / "naf.safetensors").unlink()
    with pytest.raises(WeightsError, match="naf.safetensors is missing"):
        open_checkpoint(copy)
    release = copy / "naf_release.pth"
    torch.save(stored, release)
    checkpoint = open_checkpoint(copy)
    _check_all_files_are_in_the_key(checkpoint)
    assert describe_precision(checkpoint, None) == AS_RELEASED
    _same(load_named(checkpoint, "upsampler", "cpu"), stored)
    torch.save({**stored, "hook": Path.unlink}, release)
    with pytest.raises(WeightsError, match="naf_release.pth is damaged, or holds more"):
        load_named(checkpoint, "upsampler", "cpu")
    torch.save({"model": stored}, release)
    with pytest.raises(WeightsError, match="more than named tensors"):
        load_named(checkpoint, "upsampler", "cpu")


def test_the_authors_files_and_image_networks_from_elsewhere(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both rows of the table as `models pull` leaves them: what lacks is named, all of it is in the
    key."""
    released = model_table()["pixal3d-released"]
    stems = sorted({Path(f).stem for f in released.files if f.startswith("ckpts/")})
    folder = tmp_path / released.repo
    (folder / "ckpts").mkdir(parents=True)
    pipeline = json.loads((tiny / "pipeline.json").read_text())
    for key, stem in AUTHORS_FILES.items():
        for suffix in (".json", ".safetensors"):
            shutil.copy(tiny / f"ckpts/{key}{suffix}", folder / f"ckpts/{stem}{suffix}")
        pipeline["args"]["models"][key] = f"ckpts/{stem}"
    assert stems == sorted(AUTHORS_FILES.values())
    (folder / "pipeline.json").write_text(json.dumps(pipeline))
    monkeypatch.setenv("PHOTOSCENE_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    settings = Settings(model="pixal3d-released")
    with pytest.raises(MissingWeights, match="models pull pixal3d-image-networks"):
        BACKEND.weights_digest(settings)

    official = open_checkpoint(tiny).networks
    tiny_specs = {name: source.spec for name, source in official.items()}
    monkeypatch.setattr("pixal3d.checkpoints.OFFICIAL", tiny_specs)
    (images,) = model_table()["pixal3d-image-networks"].files
    file = tmp_path / "Comfy-Org/Pixal3D" / images
    file.parent.mkdir(parents=True)
    naf = {f"naf.{n}": t for n, t in load_file(official["upsampler"].file).items()}
    save_file({**load_file(official["image_encoder"].file), **naf}, file)
    digest = BACKEND.weights_digest(settings)
    checkpoint = BACKEND.load(settings, "cpu").loaded_checkpoint(False).checkpoint
    check_complete(checkpoint)
    assert checkpoint.networks["upsampler"].file == file
    assert checkpoint.networks["shape_decoder"].file.parent == folder / "ckpts"
    assert describe_precision(checkpoint, None) == AS_RELEASED
    save_file({**load_file(file), "naf.more": torch.zeros(1)}, file)
    assert BACKEND.weights_digest(settings) != digest


def _files(folder: Path, key: str) -> tuple[Path, Path]:
    return folder / f"ckpts/{key}.json", folder / f"ckpts/{key}.safetensors"


def _change(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        _, weights = _files(folder, "shape_slat_decoder")
        stored = load_file(weights)
        change(stored)
        save_file(stored, weights)

    return damage


def _cut(folder: Path) -> None:
    _, weights = _files(folder, "shape_slat_decoder")
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])


def _not_finite(stored: dict[str, torch.Tensor]) -> None:
    stored["from_latent.weight"][3, 1] = float("nan")


def _quantised(stored: dict[str, torch.Tensor]) -> None:
    stored["from_latent.weight"] = stored["from_latent.weight"].to(torch.int8)


def _other_shape(stored: dict[str, torch.Tensor]) -> None:
    stored["from_latent.weight"] = stored["from_latent.weight"][:, :5].contiguous()


def _too_few(stored: dict[str, torch.Tensor]) -> None:
    del stored["from_latent.bias"]


def _too_many(stored: dict[str, torch.Tensor]) -> None:
    stored["from_latent.scale"] = torch.ones(1)


def _pickle(folder: Path) -> None:
    _, weights = _files(folder, "shape_slat_decoder")
    torch.save({"from_latent.weight": torch.ones(2)}, weights)


def _gone(folder: Path) -> None:
    _files(folder, "shape_slat_decoder")[1].unlink()


def _config(text: str) -> Callable[[Path], None]:
    return lambda folder: _files(folder, "shape_slat_decoder")[0].write_text(text) and None


DAMAGE = {
    "cut short": (_cut, "damaged"),
    "a pickle": (_pickle, "damaged or no safetensors"),
    "not finite": (_change(_not_finite), "from_latent.weight has values that are not finite"),
    "quantised": (_change(_quantised), "use the bf16 or fp32 file"),
    "another shape": (
        _change(_other_shape),
        r"from_latent.weight is \(32, 5\), expected \(32, 32\)",
    ),
    "too few": (_change(_too_few), "missing from_latent.bias"),
    "too many": (_change(_too_many), "unknown from_latent.scale"),
    "no file": (_gone, "is missing"),
    "no JSON": (_config("{"), "not JSON"),
    "another JSON": (_config("[1]"), "not a JSON object"),
    "no class": (_config("{}"), "no name and args"),
    "unknown class": (_config('{"name": "X", "args": {}}'), "unknown network class"),
    "no sizes": (_config('{"name": "FlexiDualGridVaeDecoder", "args": {}}'), "lacks"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_weights_are_one_clear_error(case: str, copy: Path) -> None:
    damage, message = DAMAGE[case]
    damage(copy)
    with pytest.raises(WeightsError, match=message) as caught:
        load_named(open_checkpoint(copy), "shape_decoder", "cpu")
    assert "\n" not in caught.value.strerror and "shape_slat_decoder" in caught.value.strerror


def test_other_architectures_are_refused() -> None:
    arguments = dict(OFFICIAL["structure_flow"].arguments)
    with pytest.raises(ValueError, match="pe_mode is 'ape'"):
        build_network("SparseStructureFlowModel", {**arguments, "pe_mode": "ape"})
    with pytest.raises(ValueError, match="use_gated_mlp"):
        build_network("DINOv3ViTModel", {**DINO, "use_gated_mlp": True})


def test_folders_that_are_no_checkpoint(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(WeightsError, match="no Pixal3D weights"):
        open_checkpoint(tmp_path / "nothing")
    shutil.rmtree(copy / "dinov3")
    with pytest.raises(WeightsError, match="no image encoder"):
        open_checkpoint(copy)
    lacking = Checkpoint(copy, {})
    with pytest.raises(WeightsError, match="lack image_encoder"):
        check_complete(lacking)


def test_a_missing_weight_file_is_named(tmp_path: Path) -> None:
    source = NetworkSource(NetworkSpec("NAF", {}), tmp_path / "naf.safetensors")
    with pytest.raises(WeightsError, match="naf.safetensors is missing"):
        load_network(source)


def test_pipeline_keys_are_the_cascade() -> None:
    assert set(PIPELINE_KEYS.values()) - {"texture_flow_512"} <= set(OFFICIAL)
