"""Complete backend `qwen_edit`: Qwen-Image-Edit draws what is hidden; the photo keeps its pixels.

An object that nothing hides is left as it is seen, without the model. Of any other the editor is
asked for the whole, by itself; its picture is registered back to the photo, judged by what both
show, and only the hidden pixels are taken from it. A picture that drifted is thrown away and made
anew with another seed, and when all were, the outline is continued as `inpaint` does.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import string
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from scene.errors import BadInput
from scene.types import Completion, Crop, Uint8
from stages.backends import FULL_EXTRA, Keeping, Offload
from stages.complete import CompleteBackend
from stages.complete.qwen_edit.edit_request import (
    DEFAULT_PROMPT,
    backdrop_name,
    image_to_edit,
    is_hidden,
    words_for,
)
from stages.complete.qwen_edit.edit_result import EditCheck, check_edit
from stages.complete.qwen_edit.pipeline import (
    Sampling,
    WeightFiles,
    class_name,
    load_pipeline,
    run_pipeline,
)
from stages.complete.shared.continuation import continued
from stages.devices import LazyModel, retrying_after_freeing
from stages.model_table import known_model, model_table
from stages.settings import local
from stages.weights import weights_digest, weights_folder

LIBRARIES = ("torch", "transformers", "diffusers", "accelerate")
REMEDY = (
    "lower complete.side_px, or set complete.offload=model or sequential, complete.transformer to "
    "a quantised file, or complete.memory=one_at_a_time"
)
NEXT_SEED = 1_000_003  # between tries: seeds of objects are not near each other
CONTINUED_MIN_HIDDEN, CONTINUED_RADIUS_PX = 0.005, 5  # as `inpaint` has them
CONFIG_FILES = ("model_index.json", "*/*.json", "*/*.txt", "*/*.jinja")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """steps, true_cfg (guidance), shift (of the schedule: null as released, 3 for Lightning);
    side_px: of the edit; tries: seeds before giving up; min_contact: share of the outline that
    touches what is nearer; prompt: {label}, {occluders}, {background}. model or weights: whose
    weights, or their folder; transformer, lora: files, or models of the table; offload, memory:
    what waits in main memory."""

    steps: int = 40
    true_cfg: float = 4.0
    shift: float | None = None
    side_px: int = 1024
    tries: int = 3
    min_contact: float = 0.02
    prompt: str = DEFAULT_PROMPT
    model: Literal["qwen-image-edit-2511", "qwen-image-edit-2509", "qwen-image-edit"] = local(
        "qwen-image-edit-2511"
    )
    weights: str = local("")
    transformer: str = local("")
    lora: str = local("")
    offload: Offload = local("none")
    memory: Keeping = local("keep")

    def __post_init__(self) -> None:
        if not 2 <= self.steps <= 200:  # the released schedule divides by zero for one step
            raise BadInput(f"steps: expected 2 to 200, got {self.steps}")
        if not 1 <= self.true_cfg <= 20:
            raise BadInput(f"true_cfg: expected 1 to 20, got {self.true_cfg:g}")
        if self.shift is not None and not 0.1 <= self.shift <= 20:
            raise BadInput(f"shift: expected 0.1 to 20, got {self.shift:g}")
        if not 64 <= self.side_px <= 2048 or self.side_px % 32:
            raise BadInput(f"side_px: expected a multiple of 32, 64 to 2048, got {self.side_px}")
        if not 1 <= self.tries <= 20:
            raise BadInput(f"tries: expected 1 to 20, got {self.tries}")
        if not 0 <= self.min_contact <= 1:
            raise BadInput(f"min_contact: expected 0 to 1, got {self.min_contact:g}")
        _check_template(self.prompt)


def weights_sha256(settings: Settings) -> str:
    """The digest of everything that the settings point to: the folder and the single files."""
    weights = _weights(settings)
    own = ["text_encoder/*.safetensors", "vae/*.safetensors"]
    own += [] if weights.transformer else ["transformer/*.safetensors"]
    digests = [weights_digest(weights.folder, (*CONFIG_FILES, *own))]
    for file in (weights.transformer, weights.lora):
        if file is not None:
            digests.append(weights_digest(file.parent, (file.name,)))
    if len(digests) == 1:
        return digests[0]
    roles = f"{bool(weights.transformer):d}{bool(weights.lora):d}"
    return hashlib.sha256("\n".join([roles, *digests]).encode()).hexdigest()


def models(settings: Settings) -> tuple[str, ...]:
    """The models of the table that these settings read."""
    named = [name for name in (settings.transformer, settings.lora) if name in model_table()]
    return (_frame(settings), *named)


@dataclass(frozen=True, eq=False)
class QwenEdit:
    """The editor, read when the first hidden object comes. busy: one picture fills the machine, on
    a CPU too."""

    settings: Settings
    pipeline: LazyModel[Any]
    busy: threading.Lock = field(default_factory=threading.Lock)

    def complete(self, crop: Crop, label: str, seed: int) -> Completion:
        """The whole object; what the photo shows of it stays as photographed.

        The notes say what was drawn, or why nothing could be. Raises OutOfDeviceMemory.
        """
        if not is_hidden(crop, self.settings.min_contact):
            return Completion(crop.rgba)
        backdrop = backdrop_name(crop.rgba)
        words = words_for(self.settings.prompt, label, crop.occluder_labels, backdrop)
        image = image_to_edit(crop, backdrop)
        rejections: list[str] = []
        for attempt in range(self.settings.tries):
            found = check_edit(self._edit(image, words, seed + attempt * NEXT_SEED), crop)
            if not found.rejection:
                return _completion(found, crop, attempt + 1)
            rejections.append(found.rejection)
            logger.info("edit %d of %s rejected: %s", attempt + 1, label, found.rejection)
        return _continued(crop, rejections)

    def _edit(self, image: Uint8, words: str, seed: int) -> Uint8:
        s = self.settings
        how = Sampling(s.steps, s.true_cfg, s.shift, s.side_px)
        with self.busy:
            started = time.monotonic()
            work = partial(self._run, image, words, how, seed)
            what = f"an edit of {s.side_px} x {s.side_px} pixels"
            edit = retrying_after_freeing(work, self.pipeline.release, what, REMEDY)
            logger.info(
                "%d steps at %d px in %.1f s", s.steps, s.side_px, time.monotonic() - started
            )
        return edit

    def _run(self, image: Uint8, words: str, how: Sampling, seed: int) -> Uint8:
        return run_pipeline(self.pipeline.get(), image, words, how, seed)


def load(settings: Settings, device: str) -> QwenEdit:
    """Looks for the files and the libraries; the networks are read for the first hidden object."""
    weights = _weights(settings)
    class_name(weights.folder)
    needed = [*LIBRARIES, *(["peft"] if settings.lora else [])]
    needed += ["gguf"] if settings.transformer.endswith(".gguf") else []
    for name in needed:
        if importlib.util.find_spec(name) is None:
            raise ImportError(f"complete backend qwen_edit needs {name}: {FULL_EXTRA}")
    read = partial(load_pipeline, weights, device, settings.offload)
    return QwenEdit(settings, LazyModel("Qwen-Image-Edit", read, device))


def _completion(found: EditCheck, crop: Crop, attempt: int) -> Completion:
    """What was accepted, with a note of how much was drawn and how far it had moved."""
    assert found.rgba is not None and found.hidden is not None and found.where is not None
    hidden, visible = int(found.hidden.sum()), int((crop.rgba[..., 3] > 127).sum())
    if not hidden:
        return Completion(found.rgba, ("the edit shows no hidden part",))
    where = found.where
    moved = (
        f"zoom {1 / where.zoom:.3f} and shift {-where.shift_x_px:.1f}, {-where.shift_y_px:.1f} px"
    )
    again = f", at try {attempt}" if attempt > 1 else ""
    share = hidden / (hidden + visible)
    return Completion(
        found.rgba,
        (f"{share:.0%} of the outline was hidden and has been drawn{again} ({moved} undone)",),
    )


def _continued(crop: Crop, rejections: list[str]) -> Completion:
    """Without an edit: the outline goes on as far as it tells, and a note says why."""
    made = continued(crop, CONTINUED_MIN_HIDDEN, CONTINUED_RADIUS_PX)
    count = "the edit was" if len(rejections) == 1 else f"all {len(rejections)} edits were"
    instead = "its outline has been continued instead" if made.notes else "it stays as it is seen"
    return Completion(made.rgba, (f"{count} rejected, {instead}: {rejections[-1]}", *made.notes))


def _weights(settings: Settings) -> WeightFiles:
    """The files of the settings; MissingWeights or BadInput where they are not here."""
    folder = weights_folder(settings.weights, _frame(settings), "complete")
    transformer = _file("transformer", settings.transformer)
    return WeightFiles(folder, transformer, _file("lora", settings.lora))


def _frame(settings: Settings) -> str:
    """The model whose folder is read: one without a transformer where a file has that."""
    without = f"{settings.model}-frame"
    return without if settings.transformer and without in model_table() else settings.model


def _file(name: str, given: str) -> Path | None:
    """The file of a setting: a path, or a model of the table that is one file; None for ""."""
    if not given:
        return None
    if given in model_table():
        return weights_folder("", given, "complete") / known_model(given).files[0]
    file = Path(given).expanduser()
    if not file.is_file():
        raise BadInput(f"complete.{name}: there is no file {file}: check the name")
    kinds = (".safetensors", ".gguf") if name == "transformer" else (".safetensors",)
    if file.suffix not in kinds:
        raise BadInput(f"complete.{name}: expected {' or '.join(kinds)}, got {file.name}")
    return file


def _check_template(prompt: str) -> None:
    """Raises BadInput for a prompt whose braces are not ours."""
    known = {"label", "occluders", "background"}
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(prompt) if field is not None}
    except ValueError as error:
        raise BadInput(f"prompt: {error} in {prompt!r}") from None
    if not prompt.strip() or fields - known:
        odd = ", ".join("{" + field + "}" for field in sorted(fields - known))
        raise BadInput(
            f"prompt: expected words with {{label}}, {{occluders}}, {{background}}, "
            f"got {odd or 'nothing'}"
        )


BACKEND = CompleteBackend(
    version="1",
    settings=Settings,
    load=load,
    loading=("model", "weights", "transformer", "lora", "offload"),
    held=lambda editor: editor.pipeline,
    memory=lambda settings: settings.memory,
    offload=lambda settings: settings.offload,
    weights_sha256=weights_sha256,
    models=models,
    weights_folder=lambda settings: settings.weights,
    libraries=dict.fromkeys(LIBRARIES, FULL_EXTRA),
)
