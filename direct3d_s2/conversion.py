"""The released `.ckpt` files, which are pickles, to safetensors: once, and no code is run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from sparse3d.weights import weights_error

# The released files and the parts in each, which become the first word of its tensors' names.
PARTS = {
    "model_dense": ("vae", "dit"),
    "model_sparse_512": ("vae", "dit"),
    "model_sparse_1024": ("vae", "dit"),
    "model_refiner": ("refiner",),
    "model_refiner_1024": ("refiner",),
}
AGAIN = "download it again"


def convert(folder: Path) -> list[Path]:
    """Write `<name>.safetensors` beside every released `<name>.ckpt` that has none; the new files.

    Tensors keep their types; the name of `vae.decoder.x` is part, then the name within it. Raises
    WeightsError for a file that is damaged, or holds something else.
    """
    made = []
    for name, parts in PARTS.items():
        checkpoint, converted = folder / f"{name}.ckpt", folder / f"{name}.safetensors"
        if checkpoint.is_file() and not converted.is_file():
            tensors = _flattened(checkpoint, parts)
            unfinished = converted.with_suffix(".part")
            save_file(tensors, unfinished)
            os.replace(unfinished, converted)
            made.append(converted)
    return made


def _flattened(file: Path, parts: tuple[str, ...]) -> dict[str, Tensor]:
    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        raise weights_error(f"{file} is damaged, or holds more than tensors: {AGAIN}") from None
    if not isinstance(stored, dict) or set(stored) != set(parts):
        found = ", ".join(map(str, stored)) if isinstance(stored, dict) else type(stored).__name__
        raise weights_error(
            f"{file} is no file of Direct3D-S2: it holds {found[:80]}, expected {', '.join(parts)}"
        )
    tensors = {}
    for part, state in stored.items():
        if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
            raise weights_error(f"{file}: {part} holds more than named tensors: {AGAIN}")
        # Cloned: a pickle may keep one memory under two names, which safetensors does not.
        tensors |= {f"{part}.{name}": tensor.clone() for name, tensor in state.items()}
    return tensors
