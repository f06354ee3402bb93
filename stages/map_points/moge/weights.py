"""MoGe's weights: read without running what a file may hold, loaded strictly, converted once."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import uuid
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scene.atomic import write_atomically
from scene.errors import BadWeights

# As released: a pickle of {model_config, model}. Converted: the same two, of which no code can run.
CHECKPOINT = "model.pt"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
# What torch raises for damaged and for hostile pickles, found by feeding it such.
PICKLE_ERRORS = (
    pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, TypeError, KeyError,
    IndexError, AttributeError, ImportError, OverflowError, MemoryError,
)  # fmt: skip
# What MoGe's classes raise for sizes that make no network.
BUILD_ERRORS = (TypeError, ValueError, KeyError, AttributeError, IndexError, AssertionError,
                RuntimeError, ZeroDivisionError)  # fmt: skip
# Endings of names that a file may lack, and why. The official loader of v2 accepts any difference;
# the released files have none, for the class registers all that was saved.
ALLOWED_MISSING = {
    "backbone.mask_token": "stands for hidden patches, which only pretraining has",
    "image_mean": "a constant that the class sets itself",
    "image_std": "a constant that the class sets itself",
}
BACKBONES = {"dinov2_vits14": "ViT-S", "dinov2_vitb14": "ViT-B", "dinov2_vitl14": "ViT-L",
             "dinov2_vitg14": "ViT-g"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class MoGe:
    """A network of MoGe's official class, and what it is.

    version: 1 or 2; tokens_range: of the image encoder, as trained; metric: depth is in metres.
    """

    network: Any
    version: int
    name: str
    tokens_range: tuple[int, int]
    metric: bool


def weight_files(folder: Path) -> tuple[str, ...]:
    """The names of the files that `load_moge` reads: converted weights come first."""
    return (CONFIG, WEIGHTS) if (folder / WEIGHTS).is_file() else (CHECKPOINT,)


def load_moge(folder: Path) -> MoGe:
    """The network of a folder, on the CPU in float32 and eval mode.

    Raises ValueError, in one line, for a file that is missing, damaged or no data alone, and for a
    weight that is missing, left over, or of another shape than its class has.
    """
    import torch

    config, state = _read(folder)
    version = 1 if isinstance(config.get("encoder"), str) else 2
    with torch.random.fork_rng(devices=[]):  # the class draws numbers that the weights replace
        network = _build(config, version, folder)
    state = _completed(network, state, folder)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise BadWeights(f"the weights in {folder} do not fit ({_line(error)}): {AGAIN}") from None
    backbone = config["encoder"] if version == 1 else config["encoder"]["backbone"]
    kind = BACKBONES.get(backbone, backbone)
    normals = " with normals" if hasattr(network, "normal_head") else ""
    low, high = (int(v) for v in network.num_tokens_range)
    metric = hasattr(network, "scale_head")
    network = network.float().requires_grad_(False).eval()
    return MoGe(network, version, f"MoGe-{version} {kind}{normals}", (low, high), metric)


def convert(folder: Path) -> None:
    """Write a folder's model.pt as model.safetensors and config.json, once; model.pt stays.

    Each file appears whole or not at all, the weights last, so that a folder always has one form
    that is complete. Raises BadWeights for a checkpoint that cannot be read.
    """
    if (folder / WEIGHTS).is_file():
        return
    from safetensors.torch import save_file

    config, state = _read_checkpoint(folder / CHECKPOINT)
    text = json.dumps({"model_config": config}, indent=1, sort_keys=True) + "\n"
    write_atomically(folder / CONFIG, text.encode())
    beside = folder / f".writing-{uuid.uuid4().hex}"
    try:
        # Contiguous copies: tensors of a pickle may share their memory.
        save_file({name: t.contiguous().clone() for name, t in state.items()}, beside)
        os.replace(beside, folder / WEIGHTS)
    finally:
        beside.unlink(missing_ok=True)  # still there only if something failed


AGAIN = "download them again with `photoscene models pull`"


def _read(folder: Path) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """The arguments of the class, and the named tensors."""
    if (folder / WEIGHTS).is_file():
        return _read_config(folder / CONFIG), _read_safetensors(folder / WEIGHTS)
    if not (folder / CHECKPOINT).is_file():
        raise BadWeights(f"no weights in {folder}: expected {CHECKPOINT}, or {WEIGHTS}: {AGAIN}")
    return _read_checkpoint(folder / CHECKPOINT)


def _read_checkpoint(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A pickle's two dictionaries. Only tensors and plain values are unpickled: nothing runs."""
    import torch

    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except PICKLE_ERRORS as error:
        hostile = isinstance(error, pickle.UnpicklingError)
        why = "holds more than tensors and numbers" if hostile else _line(error)
        raise BadWeights(f"{file} is refused: damaged or no MoGe model ({why}): {AGAIN}") from None
    parts = checkpoint if isinstance(checkpoint, dict) else {}
    config, state = parts.get("model_config"), parts.get("model")
    if not isinstance(config, dict) or not isinstance(state, dict):
        raise BadWeights(f"{file} is no MoGe model: expected model_config and model: {AGAIN}")
    if not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise BadWeights(f"{file} is no MoGe model: expected tensors alone in model: {AGAIN}")
    return config, state


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text("utf-8"))["model_config"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadWeights(f"{file} cannot be read ({_line(error)}): {AGAIN}") from None
    if not isinstance(config, dict):
        raise BadWeights(f"{file}: model_config: expected names and values: {AGAIN}")
    return config


def _read_safetensors(file: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise BadWeights(f"{file} is damaged ({_line(error)}): {AGAIN}") from None


def _build(config: dict[str, Any], version: int, folder: Path) -> Any:
    """The official class with the checkpoint's own arguments."""
    encoder = config.get("encoder")
    backbone = encoder.get("backbone") if isinstance(encoder, dict) else encoder
    if not (isinstance(backbone, str) and backbone.startswith("dinov2_")):
        raise BadWeights(f"{folder}: model_config names no DINOv2 encoder: {AGAIN}")
    if version == 1:
        from moge.model.v1 import MoGeModel
    else:
        from moge.model.v2 import MoGeModel
    try:
        with _hushed():  # about names of the time when it was trained
            return MoGeModel(**config)
    except BUILD_ERRORS as error:
        raise BadWeights(
            f"{folder}: model_config makes no MoGe-{version} ({_line(error)}): {AGAIN}"
        ) from None


def _completed(network: Any, state: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The file's weights, and the class's own that a file may lack; BadWeights otherwise."""
    own = network.state_dict()
    lacking = own.keys() - state.keys()
    missing = sorted(n for n in lacking if not n.endswith(tuple(ALLOWED_MISSING)))
    extra = sorted(state.keys() - own.keys())
    for kind, names in (("missing", missing), ("unknown", extra)):
        if names:
            raise BadWeights(
                f"the weights in {folder} are not those of its model_config: {len(names)} {kind}, "
                f"as {names[0]}: {AGAIN}"
            )
    return {**state, **{name: own[name] for name in lacking}}


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _line(error: BaseException) -> str:
    """The beginning of an error's first line that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # torch puts what it was doing first, and what was wrong below.
    return (lines[1] if len(lines) > 1 and lines[0].endswith(":") else (lines or [""])[0])[
        :160
    ] or (type(error).__name__)
