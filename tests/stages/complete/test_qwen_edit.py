"""The Qwen-Image-Edit backend on tiny random weights of the official classes."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from support import ROOT

torch = pytest.importorskip("torch", reason="the official models: pip install -e '.[full]'")
pytest.importorskip("transformers", reason="the official models: pip install -e '.[full]'")
pytest.importorskip("diffusers", reason="the official models: pip install -e '.[full]'")

from photoscene.inputs.request import build_request  # noqa: E402
from photoscene.runs.reconstruction import reconstruct_photo  # noqa: E402
from photoscene.self_test.tiny_qwen import (  # noqa: E402
    copied,
    edition_of_december,
    save_tiny_qwen,
    write_gguf,
    write_lora,
)
from scene.cameras import camera_from_fov  # noqa: E402
from scene.errors import BadWeights  # noqa: E402
from scene.store import Store  # noqa: E402
from scene.types import Crop, CropCamera, Cutout, Uint8  # noqa: E402
from stages import complete  # noqa: E402
from stages.complete.qwen_edit import BACKEND, QwenEdit, Settings, load, weights_sha256  # noqa: E402
from stages.complete.qwen_edit.edit_request import (  # noqa: E402
    BACKDROPS,
    DEFAULT_PROMPT,
    backdrop_name,
    image_to_edit,
    is_hidden,
    words_for,
)
from stages.complete.qwen_edit.pipeline import (  # noqa: E402
    COMFY_PREFIX,
    EDITION_MARKER,
    Sampling,
    WeightFiles,
    _transformer,
    _with_shift,
    load_pipeline,
    run_pipeline,
)
from stages.complete.shared.continuation import continued  # noqa: E402
from stages.devices import ModelPool  # noqa: E402
from stages.settings import local_settings, settings_to_json  # noqa: E402
from stages.weights import MissingWeights  # noqa: E402
from support.borrowing import borrowed, settings_of  # noqa: E402
from support.small_photo import SmallPhoto  # noqa: E402

SIDE = 64
HOW = Sampling(2, 4.0, None, SIDE)
QUICK = {"steps": 2, "side_px": SIDE, "tries": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny weights; damage only copies of it."""
    return save_tiny_qwen(tmp_path_factory.mktemp("qwen") / "plus")


@pytest.fixture(scope="module")
def picture() -> Uint8:
    return np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def edited(folder: Path, picture: Uint8) -> Uint8:
    """What the plain folder makes of the picture at seed 3."""
    return _edit(WeightFiles(folder), picture)


def _edit(weights: WeightFiles, picture: Uint8, seed: int = 3) -> Uint8:
    pipeline = load_pipeline(weights, "cpu", "none")
    return run_pipeline(pipeline, picture, "Show the whole cup.", HOW, seed)


def hidden_disc() -> Crop:
    """A red disc whose right side a green bar hides."""
    v, u = np.mgrid[:128, :128] + 0.5
    disc, bar = np.hypot(u - 64, v - 64) < 40, (np.abs(u - 84) < 8)
    rgba = np.zeros((128, 128, 4), np.uint8)
    rgba[..., :3] = 90
    rgba[disc, :3], rgba[bar, :3] = (200, 60, 30), (10, 200, 10)
    rgba[..., 3] = np.where(disc & ~bar, 255, 0)
    camera = CropCamera(camera_from_fov(128, 128, 0.4), np.eye(3))
    return Crop(rgba, bar, camera, ("milk carton",))


def quick(folder: Path, **values: Any) -> QwenEdit:
    settings = settings_of("complete", "qwen_edit", {"weights": str(folder), **QUICK, **values})
    return load(settings, "cpu")


def test_a_seed_means_one_picture(folder: Path, picture: Uint8, edited: Uint8) -> None:
    assert edited.shape == (SIDE, SIDE, 3) and edited.std() > 1
    np.testing.assert_array_equal(_edit(WeightFiles(folder), picture), edited)
    assert (_edit(WeightFiles(folder), picture, seed=4) != edited).any()


def test_the_library_is_left_as_it_was(folder: Path, picture: Uint8) -> None:
    """Its own picture size comes back, also after an error."""
    import diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus as module

    before = module.calculate_dimensions
    pipeline = load_pipeline(WeightFiles(folder), "cpu", "none")
    with pytest.raises(ValueError, match="prompt"):
        run_pipeline(pipeline, picture, cast(str, None), HOW, 0)
    assert module.calculate_dimensions is before


def test_weights_of_august_2025_run_in_their_own_pipeline(tmp_path: Path, picture: Uint8) -> None:
    old = save_tiny_qwen(tmp_path / "old", "QwenImageEditPipeline")
    pipeline = load_pipeline(WeightFiles(old), "cpu", "none")
    assert type(pipeline).__name__ == "QwenImageEditPipeline"
    assert run_pipeline(pipeline, picture, "cup", HOW, 0).shape == (SIDE, SIDE, 3)


@pytest.mark.extra("torchvision")
def test_pictures_and_words_are_prepared_as_the_official_processor_does(folder: Path) -> None:
    """Ours has no video part; what is left gives the same numbers."""
    from PIL import Image
    from transformers import Qwen2VLProcessor, Qwen2VLVideoProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    pipeline = load_pipeline(WeightFiles(folder), "cpu", "none")
    pictures = Qwen2VLImageProcessorPil.from_pretrained(folder / "processor")
    official: Any = Qwen2VLProcessor(pictures, pipeline.tokenizer, Qwen2VLVideoProcessor())
    image = Image.fromarray(np.full((70, 50, 3), 120, np.uint8))
    words = ["<|im_start|>a <|vision_start|><|image_pad|><|vision_end|> cup<|im_end|>"]
    ours = pipeline.processor(text=words, images=[image], padding=True, return_tensors="pt")
    theirs = official(text=words, images=[image], padding=True, return_tensors="pt")
    for name in ("input_ids", "attention_mask", "pixel_values", "image_grid_thw"):
        torch.testing.assert_close(ours[name], theirs[name], atol=0, rtol=0)


WITHOUT_TORCHVISION = """
import sys
sys.modules["torchvision"] = None
import numpy as np
from pathlib import Path
from stages.complete.qwen_edit.pipeline import (
    Sampling, WeightFiles, load_pipeline, run_pipeline
)
from stages.pretrained import prepare_torchvision
assert prepare_torchvision() == "absent"
pipeline = load_pipeline(WeightFiles(Path(sys.argv[1])), "cpu", "none")
how = Sampling(2, 4.0, None, 64)
edit = run_pipeline(pipeline, np.load(sys.argv[2]), "Show the whole cup.", how, 3)
np.save(sys.argv[3], edit)
"""


@pytest.mark.slow
def test_without_torchvision_the_picture_is_the_same(
    folder: Path, picture: Uint8, edited: Uint8, tmp_path: Path
) -> None:
    np.save(tmp_path / "in.npy", picture)
    command = [sys.executable, "-c", WITHOUT_TORCHVISION, str(folder)]
    command += [str(tmp_path / "in.npy"), str(tmp_path / "out.npy")]
    root = ROOT
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), edited)


def _resave(file: Path, change: Any) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(file)
    change(weights)
    save_file(weights, file, {"format": "pt"})


@pytest.mark.parametrize(
    ("part", "file", "change", "says"),
    [
        ("transformer", "diffusion_pytorch_model", lambda w: w.pop("img_in.weight"),
         "1 weights are missing, as img_in.weight"),
        ("transformer", "diffusion_pytorch_model", lambda w: w.update(odd=torch.zeros(2)),
         "1 weights are unexpected, as odd"),
        ("vae", "diffusion_pytorch_model", lambda w: w.pop("quant_conv.weight"), "missing"),
        ("transformer", "diffusion_pytorch_model",
         lambda w: w.update({"img_in.bias": torch.zeros(5)}), "img_in.bias"),
        ("text_encoder", "model", lambda w: w.pop("lm_head.weight"), "missing"),
    ],
)  # fmt: skip
def test_weights_must_be_the_right_ones(
    part: str, file: str, change: Any, says: str, folder: Path, tmp_path: Path
) -> None:
    damaged = copied(folder, tmp_path / "damaged")
    _resave(damaged / part / f"{file}.safetensors", change)
    with pytest.raises(BadWeights, match=says) as caught:
        load_pipeline(WeightFiles(damaged), "cpu", "none")
    assert "\n" not in str(caught.value) and part in str(caught.value)


def test_a_wrong_or_damaged_folder_is_one_line(folder: Path, tmp_path: Path) -> None:
    other = copied(folder, tmp_path / "other")
    (other / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(BadWeights, match="holds a FluxPipeline: complete backend qwen_edit runs"):
        quick(other)
    (other / "model_index.json").write_text("{")
    with pytest.raises(BadWeights, match="model_index.json cannot be read"):
        quick(other)
    cut = copied(folder, tmp_path / "cut")
    weights = cut / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BadWeights, match="QwenImageTransformer2DModel cannot be read") as caught:
        load_pipeline(WeightFiles(cut), "cpu", "none")
    assert "\n" not in str(caught.value)
    weights.unlink()
    with pytest.raises(BadWeights, match="cannot be read"):
        load_pipeline(WeightFiles(cut), "cpu", "none")


def test_no_weights_says_where_they_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTOSCENE_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    with pytest.raises(MissingWeights, match="photoscene models pull qwen-image-edit-2511"):
        load(Settings(), "cpu")


def test_a_transformer_of_one_file(
    folder: Path, picture: Uint8, edited: Uint8, tmp_path: Path
) -> None:
    """The same weights in one file make the same picture; others and half ones are refused."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    one = tmp_path / "one.safetensors"
    save_file(weights, one)
    frame = copied(folder, tmp_path / "frame")
    (frame / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    made = _edit(WeightFiles(frame, one), picture)
    np.testing.assert_allclose(made.astype(int), edited, atol=1)  # sums in another order
    weights.pop("proj_out.weight")
    save_file(weights, one)
    with pytest.raises(BadWeights, match="complete.transformer: .*missing, as proj_out.weight"):
        load_pipeline(WeightFiles(frame, one), "cpu", "none")
    one.write_bytes(b"no weights")
    with pytest.raises(BadWeights, match="cannot be read"):
        load_pipeline(WeightFiles(frame, one), "cpu", "none")


def test_quantised_weights_make_nearly_the_same_picture(
    folder: Path, picture: Uint8, edited: Uint8, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    weights = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    eight = write_gguf(tmp_path / "eight.gguf", weights)
    made = _edit(WeightFiles(folder, eight), picture).astype(int)
    other_seed = _edit(WeightFiles(folder, eight), picture, seed=4).astype(int)
    assert 0 < np.abs(made - edited).mean() < 0.2 * np.abs(other_seed - edited).mean()
    half = write_gguf(tmp_path / "half.gguf", weights, lacking="norm_out.linear.weight")
    with pytest.raises(BadWeights, match="missing, as norm_out.linear.weight"):
        load_pipeline(WeightFiles(folder, half), "cpu", "none")


def test_files_made_for_comfyui_are_read(
    folder: Path, picture: Uint8, edited: Uint8, tmp_path: Path
) -> None:
    """A GGUF with the marker of December 2025, and a file with ComfyUI's prefix; no other name more
    than the model's is accepted."""
    from safetensors.torch import load_file, save_file

    newest = edition_of_december(folder, tmp_path / "newest")
    weights = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    marked = {**weights, EDITION_MARKER: torch.zeros(0)}
    eight = write_gguf(tmp_path / "eight.gguf", marked)
    transformer = _transformer(WeightFiles(newest, eight), torch.float32)
    assert transformer.zero_cond_t and set(transformer.state_dict()) == set(weights)
    with pytest.raises(BadWeights, match="eight.gguf is of the edition of December 2025"):
        _transformer(WeightFiles(folder, eight), torch.float32)

    comfy = tmp_path / "comfy.safetensors"
    save_file({f"{COMFY_PREFIX}{name}": value for name, value in weights.items()}, comfy)
    read = _transformer(WeightFiles(folder, comfy), torch.float32).state_dict()
    assert all(torch.equal(read[name], value) for name, value in weights.items())

    for odd in ("__x0__", "scaled_fp8"):
        more = write_gguf(tmp_path / "more.gguf", {**marked, odd: torch.zeros(1)})
        with pytest.raises(BadWeights, match=f"1 weights are unexpected, as {odd}"):
            _transformer(WeightFiles(newest, more), torch.float32)
    for odd in (f"{COMFY_PREFIX}odd.weight", "img_in.bias"):  # the latter is there with a prefix
        save_file({**load_file(comfy), odd: torch.zeros(2)}, tmp_path / "more.safetensors")
        with pytest.raises(BadWeights, match="1 weights are unexpected, as .*(odd|img_in)"):
            _transformer(WeightFiles(folder, tmp_path / "more.safetensors"), torch.float32)


def test_a_lora_changes_the_picture_and_must_fit(
    folder: Path, picture: Uint8, edited: Uint8, tmp_path: Path
) -> None:
    pytest.importorskip("peft", reason="LoRA weights: pip install peft")
    lora = write_lora(tmp_path / "lora.safetensors")
    assert (_edit(WeightFiles(folder, None, lora), picture) != edited).any()
    other = write_lora(tmp_path / "other.safetensors", "double_blocks")
    with pytest.raises(ValueError, match="complete.lora: ") as caught:
        load_pipeline(WeightFiles(folder, None, other), "cpu", "none")
    assert "\n" not in str(caught.value)


def test_a_lora_on_quantised_weights_does_what_it_does_on_plain_ones(
    folder: Path, picture: Uint8, edited: Uint8, tmp_path: Path
) -> None:
    """Both together, as profile full_low_vram has them."""
    pytest.importorskip("peft", reason="LoRA weights: pip install peft")
    from safetensors.torch import load_file

    weights = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    eight = write_gguf(tmp_path / "eight.gguf", weights)
    lora = write_lora(tmp_path / "lora.safetensors")
    plain = _edit(WeightFiles(folder, None, lora), picture).astype(int)
    both = _edit(WeightFiles(folder, eight, lora), picture).astype(int)
    assert np.abs(both - plain).mean() < 0.2 * np.abs(plain - edited).mean()


def test_lightning_has_a_schedule_of_fixed_shift(folder: Path) -> None:
    """sigma' = s sigma / (1 + (s - 1) sigma) for shift s, whatever the picture's size."""
    released = load_pipeline(WeightFiles(folder), "cpu", "none").scheduler
    scheduler = _with_shift(released, 3.0)
    sigmas = np.array([1.0, 0.75, 0.5, 0.25])
    scheduler.set_timesteps(sigmas=sigmas, mu=np.log(3))
    expected = 3 * sigmas / (1 + 2 * sigmas)
    np.testing.assert_allclose(scheduler.sigmas[:-1].numpy(), expected, rtol=1e-5)
    assert scheduler.config.base_shift == scheduler.config.max_shift == pytest.approx(np.log(3))
    assert released.config.shift_terminal == 0.02


def test_the_digest_knows_all_weights(folder: Path, tmp_path: Path) -> None:
    plain = Settings(weights=str(folder))
    moved = Settings(weights=str(copied(folder, tmp_path / "moved")), offload="model")
    assert weights_sha256(plain) == weights_sha256(moved)
    lora = str(write_lora(tmp_path / "lora.safetensors"))
    file = str(folder / "vae" / "diffusion_pytorch_model.safetensors")
    digests = {
        weights_sha256(s)
        for s in (plain, replace(plain, lora=lora), replace(plain, transformer=file),
                  replace(plain, transformer=lora), replace(plain, transformer=file, lora=lora))
    }  # fmt: skip
    assert len(digests) == 5
    assert {"weights", "model", "transformer", "lora", "offload"} <= set(local_settings(plain))
    assert "prompt" in settings_to_json(plain)


def test_what_is_read_of_the_table() -> None:
    assert BACKEND.models_read(Settings()) == ("qwen-image-edit-2511",)
    small = Settings(transformer="qwen-image-edit-2511-q4", lora="qwen-image-edit-2511-lightning")
    assert BACKEND.models_read(small) == (
        "qwen-image-edit-2511-frame", "qwen-image-edit-2511-q4", "qwen-image-edit-2511-lightning",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"steps": 1}, "steps: expected 2 to 200"),
        ({"side_px": 1000}, "side_px: expected a multiple of 32"),
        ({"true_cfg": 0.5}, "true_cfg: expected 1 to 20"),
        ({"prompt": "the {object}"}, "prompt: expected words with .*got {object}"),
        ({"prompt": "an open {"}, "prompt: "),
        ({"offload": "half"}, "offload: expected"),
        ({"transformer": "/nowhere/a.gguf"}, "complete.transformer: there is no file"),
        ({"lora": __file__}, "complete.lora: expected .safetensors"),
    ],
)
def test_settings_are_checked(values: dict[str, Any], says: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=says):
        quick(folder, **values)


def test_garbage_is_refused_and_the_outline_continued(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Random weights draw nothing of use: all tries are check_edit, then the outline goes on."""
    crop = hidden_disc()
    with caplog.at_level(logging.INFO, "stages.complete.qwen_edit"):
        done = complete.run(quick(folder), crop, "cup", 5)
    assert [m for m in caplog.messages if "rejected" in m][1].startswith("edit 2 of cup rejected")
    assert "all 2 edits were rejected, its outline has been continued instead" in done.notes[0]
    np.testing.assert_array_equal(done.rgba, continued(crop, 0.005, 5).rgba)
    assert (done.rgba[..., 3] > 127).sum() > (crop.rgba[..., 3] > 127).sum() + 200


def test_what_nothing_hides_needs_no_weights(folder: Path, tmp_path: Path) -> None:
    """The visible cut-out comes back, though the weights could not even be read."""
    broken = copied(folder, tmp_path / "broken")
    (broken / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    editor, crop = quick(broken), hidden_disc()
    free = replace(crop, occluder=np.zeros_like(crop.occluder))
    apart = replace(crop, occluder=np.roll(crop.occluder, 40, 1))
    for unhidden in (free, apart):
        done = editor.complete(unhidden, "cup", 0)
        np.testing.assert_array_equal(done.rgba, crop.rgba)
        assert done.notes == ()
    with pytest.raises(BadWeights, match="cannot be read"):
        editor.complete(crop, "cup", 0)


def test_networks_are_read_once_and_let_go(folder: Path) -> None:
    settings = {"weights": str(folder), **QUICK, "memory": "one_at_a_time"}
    pool = ModelPool("cpu")
    with borrowed(pool, "complete", "qwen_edit", settings) as editor:
        editor.complete(hidden_disc(), "cup", 0)
        first = weakref.ref(editor.pipeline.get().transformer)
        editor.complete(hidden_disc(), "cup", 1)
        assert editor.pipeline.get().transformer is first()
    with borrowed(pool, "complete", "qwen_edit", {**settings, "steps": 3, "shift": 3.0}) as editor:
        editor.complete(hidden_disc(), "cup", 0)
        assert editor.pipeline.get().transformer is first()  # other steps need no other weights
    with borrowed(pool, "complete", "qwen_edit", {**settings, "offload": "model"}):
        gc.collect()
        assert first() is None  # the other one let go of it


def test_words_name_the_object_and_what_hides_it() -> None:
    words = words_for(DEFAULT_PROMPT, "white cup", ("milk carton", "bowl", "spoon"), "grey")
    assert words.startswith("Remove the milk carton, the bowl and the spoon. Show the whole white")
    assert "plain grey background" in words and "{" not in words
    assert "Remove the bowl." in words_for(DEFAULT_PROMPT, "cup", ("bowl",), "grey")
    assert words_for("{label}|{occluders}", "", (), "white") == (
        "object|everything that is in front of it"
    )


def test_the_picture_shows_the_object_and_its_occluder_alone() -> None:
    crop = hidden_disc()
    assert is_hidden(crop, 0.02) and not is_hidden(crop, 0.9)
    shown = image_to_edit(crop, "white")
    visible = crop.rgba[..., 3] > 127
    np.testing.assert_array_equal(shown[visible], crop.rgba[visible, :3])
    assert (shown[64, 84] == (10, 200, 10)).all() and (shown[5, 5] == 255).all()


@pytest.mark.parametrize(
    ("colour", "expected"), [((240, 240, 235), "black"), ((20, 20, 25), "white")]
)
def test_the_background_differs_from_the_object(
    colour: tuple[int, int, int], expected: str
) -> None:
    rgba = np.full((32, 32, 4), 255, np.uint8)
    rgba[..., :3] = colour
    chosen = backdrop_name(rgba)
    assert np.abs(np.array(BACKDROPS[chosen]) - colour).min() > 60
    assert chosen != ("white" if expected == "black" else "black")


def test_through_the_flow(folder: Path, small_photo: SmallPhoto, tmp_path: Path) -> None:
    """Only "b" is hidden: it alone wakes the editor, knows who hides it, and has a note."""
    settings = ["complete.backend=qwen_edit", f"complete.weights={folder}"]
    settings += [f"complete.{name}={value}" for name, value in QUICK.items()]
    arguments = replace(small_photo.arguments(), settings=tuple(settings), until="complete")
    store = Store(tmp_path / "store")
    scene, outcomes = reconstruct_photo(build_request(arguments, store), store)
    assert [o.failure for o in scene.objects] == [None] * 3
    (note,) = [n for n in scene.notes if "rejected" in n]
    assert note.startswith("b: all 2 edits were rejected")
    calls = {o.call.subject: o.call for o in outcomes if o.call.stage == "complete"}
    a, b, c = (calls[o.id] for o in scene.objects)
    assert store.load(b.inputs["occluder_labels"], dict) == {"labels": ["a"]}
    assert "occluder_labels" not in a.inputs and "occluder_labels" not in c.inputs
    assert b.weights == a.weights == weights_sha256(Settings(weights=str(folder)))
    seen = store.load(scene.objects[2].completion, Cutout)  # pyright: ignore[reportArgumentType]
    assert seen.rgba[..., 3].any()
