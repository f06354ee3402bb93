"""Loads official classes of transformers and diffusers: offline, strict, safetensors only."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from scene.errors import BadWeights
from stages.device_memory import is_out_of_memory

Torchvision = Literal["native", "schemas", "absent"]

# The registrations vanish with this object, so it must live as long as the process.
_schemas: Any = None


def prepare_torchvision() -> Torchvision:
    """Make `import transformers` work whatever torchvision is there; call it before that import.

    PyPI's torchvision is linked to CUDA. Beside a CPU build of torch its library does not load, and
    its import fails because two operators are missing, taking every model class of transformers
    with it. Their schemas are all that import needs: "schemas". "native": its library loads.
    "absent": there is none, and nothing of ours needs it.
    """
    global _schemas
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return "absent"
    if _schemas is not None:
        return "schemas"
    import torch

    library = next(Path(spec.origin).parent.glob("_C*.so"), None)
    try:
        if library is not None:
            torch.ops.load_library(str(library))
            return "native"
    except OSError:
        pass  # linked to a CUDA that is not there
    _schemas = torch.library.Library("torchvision", "DEF")
    _schemas.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _schemas.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return "schemas"


def load_strictly(model_class: Any, folder: Path, dtype: Any) -> Any:
    """A transformers model in eval mode from a folder's safetensors, on the CPU.

    Raises ValueError when a weight is missing, left over, or of another shape than its class has.
    """
    try:
        with quiet_transformers():
            model, found = model_class.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=dtype,
                output_loading_info=True,
            )  # fmt: skip
    except (OSError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        why = str(error).strip().splitlines()[0]
        raise BadWeights(
            f"{model_class.__name__} cannot be read from {folder} ({why}): "
            "check the folder with `photoscene models verify`"
        ) from None
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if found.get(kind):
            names = sorted(str(name) for name in found[kind])
            raise BadWeights(
                f"the weights in {folder} are not those of {model_class.__name__}: "
                f"{len(names)} {kind.replace('_', ' ')}, as {names[0]}; download them again"
            )
    return model.eval()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without its bars, and its report of hundreds of lines: what is wrong is raised in one."""
    from transformers.utils import logging as reports

    level, bars = reports.get_verbosity(), reports.is_progress_bar_enabled()
    reports.set_verbosity_error()
    reports.disable_progress_bar()
    try:
        yield
    finally:
        reports.set_verbosity(level)
        if bars:
            reports.enable_progress_bar()
