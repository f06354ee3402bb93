"""The Qwen-Image-Edit pipeline: read strictly from a folder, and run on one square picture.

Behaviour follows diffusers' own pipelines (pipelines/qwenimage): `QwenImageEditPlusPipeline` for
the weights of September 2025 and later, `QwenImageEditPipeline` for those of August 2025.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scene.errors import BadInput, BadWeights
from scene.types import Uint8
from stages.backends import Offload
from stages.device_memory import is_out_of_memory
from stages.devices import place_pipeline
from stages.pretrained import load_strictly, prepare_torchvision

logger = logging.getLogger(__name__)

PIPELINES = ("QwenImageEditPlusPipeline", "QwenImageEditPipeline")
OFFICIAL_AREA = 1024 * 1024  # what both pipelines bring a picture to before the encoder
NO_WORDS = " "  # the negative prompt of the released examples
REPAIR = "check the folder with `photoscene models verify`"
COMFY_PREFIX = "model.diffusion_model."  # ComfyUI's files may have it before every name
# An empty tensor by which ComfyUI recognises the edition of December 2025 (ComfyUI, pull request
# 11362). Files made for it carry it, also in GGUF; what it means is `zero_cond_t` of the config.
EDITION_MARKER = "__index_timestep_zero__"
_sizing = threading.Lock()  # the library keeps its picture size in a module


@dataclass(frozen=True)
class WeightFiles:
    """Where the weights lie: the released folder, and files that replace or add to parts of it.

    transformer: a GGUF or safetensors file instead of the folder's; lora: a safetensors file.
    """

    folder: Path
    transformer: Path | None = None
    lora: Path | None = None


@dataclass(frozen=True)
class Sampling:
    """steps: of the solver; true_cfg: guidance, 1 for none; shift: of the noise schedule, None for
    the released one, 3 for Lightning weights; side_px: of the picture, a multiple of 32."""

    steps: int
    true_cfg: float
    shift: float | None
    side_px: int


def load_pipeline(weights: WeightFiles, device: str, offload: Offload) -> Any:
    """The pipeline of a folder, in its place. bfloat16 on CUDA, float32 on a CPU.

    Raises ValueError, in one line, where a weight is missing, left over or of another shape.
    """
    prepare_torchvision()
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

    folder = weights.folder
    pipeline_class = diffusers_class(class_name(folder))
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    tokenizer = _read(Qwen2Tokenizer, folder / "tokenizer")
    text_class = Qwen2_5_VLForConditionalGeneration
    pipeline = pipeline_class(
        scheduler=_read(diffusers_class("FlowMatchEulerDiscreteScheduler"), folder / "scheduler"),
        vae=_diffusers_model(diffusers_class("AutoencoderKLQwenImage"), folder / "vae", dtype),
        text_encoder=load_strictly(text_class, folder / "text_encoder", dtype),
        tokenizer=tokenizer,
        processor=_processor(folder / "processor", tokenizer),
        transformer=_transformer(weights, dtype),
    )
    pipeline.set_progress_bar_config(disable=True)
    if weights.lora is not None:
        _add_lora(pipeline, weights.lora)
    return place_pipeline(pipeline, device, offload)


def diffusers_class(name: str) -> Any:
    """A class of diffusers by name; `prepare_torchvision` must have been called."""
    import diffusers

    return getattr(diffusers, name)


def class_name(folder: Path) -> str:
    """The pipeline's class by model_index.json; ValueError where it is none of ours."""
    try:
        index = json.loads((folder / "model_index.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadWeights(
            f"{folder / 'model_index.json'} cannot be read ({error}): {REPAIR}"
        ) from None
    name = index.get("_class_name") if isinstance(index, dict) else None
    if name not in PIPELINES:
        raise BadWeights(
            f"{folder} holds a {name}: complete backend qwen_edit runs {' and '.join(PIPELINES)}"
        )
    return name


def run_pipeline(pipeline: Any, rgb: Uint8, words: str, how: Sampling, seed: int) -> Uint8:
    """(side, side, 3) the edit of a square picture (N, N, 3).

    The noise comes from a generator on the CPU, so that a seed means the same on every device.
    """
    import torch

    image = Image.fromarray(rgb).resize((how.side_px, how.side_px), Image.Resampling.LANCZOS)
    guided = how.true_cfg > 1
    several = type(pipeline).__name__ == "QwenImageEditPlusPipeline"
    with _sized(pipeline, how.side_px), _scheduled(pipeline, how.shift):
        done = pipeline(
            image=[image] if several else image,
            prompt=words,
            negative_prompt=NO_WORDS if guided else None,
            true_cfg_scale=how.true_cfg,
            num_inference_steps=how.steps,
            height=how.side_px,
            width=how.side_px,
            generator=torch.Generator("cpu").manual_seed(seed),
        )
    return np.asarray(done.images[0].convert("RGB"))


@contextmanager
def _sized(pipeline: Any, side_px: int) -> Iterator[None]:
    """While it runs, the encoders see pictures of side_px too.

    The pipelines scale what they are given to a megapixel whatever size is asked for. An edit of
    another size than its reference comes out scaled (Qwen-Image issues 160 and 229), so both are
    one here.
    """
    module: Any = sys.modules[type(pipeline).__module__]
    official: Callable[..., Any] = module.calculate_dimensions

    def dimensions(area: int, ratio: float) -> Any:
        asked = side_px * side_px
        return official(asked if area == OFFICIAL_AREA else min(area, asked), ratio)

    with _sizing:
        module.calculate_dimensions = dimensions
        try:
            yield
        finally:
            module.calculate_dimensions = official


@contextmanager
def _scheduled(pipeline: Any, shift: float | None) -> Iterator[None]:
    """While it runs, the noise follows the released schedule, or one of a fixed shift."""
    released = pipeline.scheduler
    pipeline.scheduler = released if shift is None else _with_shift(released, shift)
    try:
        yield
    finally:
        pipeline.scheduler = released


def _with_shift(scheduler: Any, shift: float) -> Any:
    """A schedule of a fixed shift.

    Lightning weights were distilled for shift 3 and no terminal value: base_shift and max_shift are
    log(3) in ModelTC/Qwen-Image-Lightning, generate_with_diffusers.py.
    """
    fixed = {"base_shift": math.log(shift), "max_shift": math.log(shift), "shift_terminal": None}
    return type(scheduler).from_config({**scheduler.config, **fixed})


def _processor(folder: Path, tokenizer: Any) -> Any:
    """Qwen2VLProcessor for pictures alone.

    Its video part needs torchvision, and nothing here is a video. Pictures are scaled by Pillow,
    as when the weights were made, so that an edit does not depend on what else is installed.
    """
    from transformers import Qwen2VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    class ImageProcessor(Qwen2VLProcessor):
        def __init__(self, image_processor: Any = None, tokenizer: Any = None) -> None:
            self.image_token = "<|image_pad|>"
            self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
            self.video_token = "<|video_pad|>"
            self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
            super(Qwen2VLProcessor, self).__init__(image_processor, tokenizer)

    return ImageProcessor(_read(Qwen2VLImageProcessorPil, folder), tokenizer)


def _transformer(weights: WeightFiles, dtype: Any) -> Any:
    model_class = diffusers_class("QwenImageTransformer2DModel")
    if weights.transformer is None:
        return _diffusers_model(model_class, weights.folder / "transformer", dtype)
    return _single_file(model_class, weights.transformer, weights.folder / "transformer", dtype)


def _single_file(model_class: Any, file: Path, config: Path, dtype: Any) -> Any:
    """The transformer of one file; GGUF stays quantised and is unpacked layer by layer."""
    how = {}
    if file.suffix == ".gguf":
        unpacked = diffusers_class("GGUFQuantizationConfig")(compute_dtype=dtype)
        how = {"quantization_config": unpacked}
    values = _config_values(model_class, config)
    stored = _stored_names(_names_in(file))
    what = f"complete.transformer: {file}"
    if stored.pop(EDITION_MARKER, None) and not values.get("zero_cond_t"):
        raise BadWeights(f"{what} is of the edition of December 2025, {config} is of another one")
    named, wanted = set(stored), _names_of(model_class, values)
    _check_names(what, wanted - named, named - wanted)
    try:
        weights = _read_weights(file)
        renamed = {ours: weights[theirs] for ours, theirs in stored.items()}
        return model_class.from_single_file(
            renamed, config=str(config), torch_dtype=dtype, local_files_only=True, **how
        )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        if is_out_of_memory(error):
            raise
        raise BadInput(f"{what} cannot be used ({_line(error)})") from None


def _stored_names(names: set[str]) -> dict[str, str]:
    """The names in a file by the model's: without ComfyUI's prefix, unless both names are there."""
    stored: dict[str, str] = {}
    for name in sorted(names, key=len):
        ours = name.removeprefix(COMFY_PREFIX)
        stored[name if ours in stored else ours] = name
    return stored


def _config_values(model_class: Any, config: Path) -> dict[str, Any]:
    try:
        return model_class.load_config(config, local_files_only=True)
    except (OSError, ValueError) as error:
        raise BadWeights(f"{config} has no readable config ({_line(error)}): {REPAIR}") from None


def _names_of(model_class: Any, config_values: dict[str, Any]) -> set[str]:
    """The names of the weights that a model of a config has."""
    import torch

    with torch.device("meta"):
        return set(model_class.from_config(config_values).state_dict())


def _read_weights(file: Path) -> dict[str, Any]:
    """The tensors of a file as diffusers reads them; quantised ones stay so."""
    from diffusers.models.model_loading_utils import load_state_dict

    return load_state_dict(str(file))


def _names_in(file: Path) -> set[str]:
    """The names of the weights in a file."""
    from safetensors import SafetensorError, safe_open

    try:
        if file.suffix == ".gguf":
            from gguf import GGUFReader

            return {tensor.name for tensor in GGUFReader(str(file)).tensors}
        with safe_open(str(file), "pt") as opened:
            return set(opened.keys())
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise BadWeights(f"{file} cannot be read ({_line(error)}): download it again") from None


def _add_lora(pipeline: Any, file: Path) -> None:
    """Add a LoRA to the transformer, all of it."""
    layers = {n for n in _names_in(file) if n.endswith((".lora_down.weight", ".lora_A.weight"))}
    try:
        pipeline.load_lora_weights(str(file.parent), weight_name=file.name, local_files_only=True)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        if is_out_of_memory(error):
            raise
        raise BadInput(f"complete.lora: {file} cannot be used ({_line(error)})") from None
    added = [n for n, _ in pipeline.transformer.named_modules() if n.endswith(".lora_A")]
    if not layers or len(added) != len(layers):
        raise BadInput(
            f"complete.lora: {file} has {len(layers)} layers, of which the transformer took "
            f"{len(added)}: it was made for another model"
        )


def _diffusers_model(model_class: Any, folder: Path, dtype: Any) -> Any:
    """A diffusers model from a folder's safetensors, with nothing missing and nothing left over."""
    try:
        model, found = model_class.from_pretrained(
            folder, torch_dtype=dtype, local_files_only=True, use_safetensors=True,
            output_loading_info=True,
        )  # fmt: skip
    except (OSError, RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise BadWeights(
            f"{model_class.__name__} cannot be read from {folder} ({_line(error)}): {REPAIR}"
        ) from None
    what = f"the weights in {folder} are not those of {model_class.__name__}"
    mismatched = {str(name) for name in found.get("mismatched_keys") or ()}
    missing = set(found.get("missing_keys") or ()) | mismatched
    _check_names(what, missing, set(found.get("unexpected_keys") or ()))
    return model.eval()


def _check_names(what: str, missing: set[str], unexpected: set[str]) -> None:
    for kind, names in (("missing", missing), ("unexpected", unexpected)):
        if names:
            raise BadWeights(f"{what}: {len(names)} weights are {kind}, as {min(names)}")


def _read(of_class: Any, folder: Path) -> Any:
    """A small part of the pipeline, which has no weights."""
    try:
        return of_class.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise BadWeights(
            f"{of_class.__name__} cannot be read from {folder} ({_line(error)}): {REPAIR}"
        ) from None


def _line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
