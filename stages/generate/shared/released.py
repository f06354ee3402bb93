"""What backends over released networks have in common: limits, weights, samplers and errors."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from scene.errors import BadInput, CannotGenerate, CannotRun
from sparse3d.errors import BadImage, NothingMade
from sparse3d.errors import CannotRun as CannotCompute
from stages.weights import weights_digest

if TYPE_CHECKING:
    import torch

SamplerT = TypeVar("SamplerT")
LIBRARIES: Mapping[str, str] = dict.fromkeys(
    ("torch", "safetensors", "fast_simplification", "numba", "xatlas"),
    "pip install -e '.[pixal3d]'",
)
logger = logging.getLogger(__name__)


def check_limits(steps: int | None, guidance: float | None, faces: int, texture_px: int) -> None:
    """BadInput for a setting out of its range, which it names."""
    if steps is not None and not 1 <= steps <= 1000:
        raise BadInput(f"steps: expected 1 to 1000, got {steps}")
    if guidance is not None and not 0 <= guidance <= 100:
        raise BadInput(f"guidance: expected 0 to 100, got {guidance:g}")
    if not 100 <= faces <= 1_000_000:
        raise BadInput(f"faces: expected 100 to 1000000, got {faces}")
    if not 64 <= texture_px <= 8192:
        raise BadInput(f"texture_px: expected 64 to 8192, got {texture_px}")


def digest_of(
    folder: Path, files: Sequence[str], image_folder: Path, image_files: Sequence[str]
) -> str:
    """The digest of a folder's weights, and of the image encoder's unless it lies there as well."""
    own = weights_digest(folder, tuple(files))
    if image_folder.is_relative_to(folder):
        return own
    both = f"{own}\n{weights_digest(image_folder, tuple(image_files))}"
    return hashlib.sha256(both.encode()).hexdigest()


def body_dtype(precision: str) -> torch.dtype | None:
    """The type of the networks' bodies by its name, None for "official"."""
    import torch

    return None if precision == "official" else getattr(torch, precision)


def changed_samplers(
    samplers: Mapping[str, SamplerT], steps: int | None, guidance: float | None
) -> dict[str, SamplerT]:
    """Samplers with other steps and guidance, None as they are; those of stages that are not guided
    at all stay so."""
    changed: dict[str, Any] = dict(samplers)
    for name, sampler in changed.items():
        if steps is not None:
            sampler = replace(sampler, steps=steps)
        if guidance is not None and sampler.guidance != 1:
            sampler = replace(sampler, guidance=guidance)
        changed[name] = sampler
    return changed


@contextmanager
def our_errors(bad_image: type[ValueError] = CannotGenerate) -> Iterator[None]:
    """A generator's own classes of error as ours; bad_image: what an image of no use is here."""
    try:
        yield
    except BadImage as error:
        raise bad_image(str(error)) from error
    except NothingMade as error:
        raise CannotGenerate(str(error)) from error
    except CannotCompute as error:
        raise CannotRun(str(error)) from error


def log_steps(name: str, done: int, steps: int) -> None:
    """One line when a stage is through; a person waits for minutes here."""
    if done == steps:
        logger.info("%s: %d steps", name.replace("_", " "), steps)
