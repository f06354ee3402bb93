"""Segment backend `sam3`: objects by words, points and boxes, from the weights of facebook/sam3."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from scene.errors import BadInput
from scene.types import Mask, ObjectPrompt, Photo
from stages.backends import FULL_EXTRA, Keeping
from stages.devices import LazyModel, retrying_after_freeing
from stages.segment import SegmentBackend, name_of
from stages.segment.sam3.networks import Box, EncodedPhoto, Networks, load_networks
from stages.segment.shared.instances import Instance, distinct_objects
from stages.segment.shared.sam_clicks import mask_at, nothing_there
from stages.segment.shared.sam_images import Precision
from stages.settings import local
from stages.weights import weights_digest, weights_folder

MODEL = "sam3"
REMEDY = "set segment.memory=one_at_a_time, or segment.backend=sam2"
WEIGHT_FILES = ("config.json", "model*.safetensors", "processor_config.json",
                "preprocessor_config.json", "tokenizer*.json", "special_tokens_map.json",
                "vocab.json", "merges.txt")  # fmt: skip
# Things that stand on tables and in rooms; a word that is nowhere costs one decoder pass.
COMMON_WORDS = (
    "cup", "bowl", "plate", "bottle", "pot", "vase", "plant", "fruit", "food", "book", "box", "bag",
    "toy", "lamp", "clock", "pillow", "computer", "phone", "tool", "shoe", "chair", "table", "sofa",
    "bed", "cabinet",
)  # fmt: skip
# An instance whose own box agrees this well (IoU) may be what a box means; the best one is. Low,
# since a box may have been drawn around what others leave to be seen.
FIT_OF_BOX = 0.3
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """words: what is looked for without prompts; threshold: score that an instance of words needs;
    min_area_share, max_area_share: of the photo, for what is found by words (the latter without
    prompts only); max_objects: the best ones of these. precision: official is bfloat16 for the
    encoders on CUDA, float32 on a CPU and for the decoders. weights: the folder; memory: whether
    they stay on the device."""

    words: tuple[str, ...] = COMMON_WORDS
    threshold: float = 0.5
    min_area_share: float = 0.001
    max_area_share: float = 0.5
    max_objects: int = 32
    precision: Precision = "official"
    weights: str = local("")
    memory: Keeping = local("keep")

    def __post_init__(self) -> None:
        if not self.words or not all(isinstance(w, str) and w.strip() for w in self.words):
            raise BadInput("words: expected a list of words, as [cup, red chair]")
        for name in ("threshold", "min_area_share", "max_area_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"{name}: expected 0 to 1, got {getattr(self, name):g}")
        if not 1 <= self.max_objects <= 1000:
            raise BadInput(f"max_objects: expected 1 to 1000, got {self.max_objects}")


def weights_sha256(settings: Settings) -> str:
    """The digest of the weights that the settings point to."""
    return weights_digest(_folder(settings), WEIGHT_FILES)


@dataclass(frozen=True, eq=False)
class Sam3:
    """SAM 3 over a folder of weights. busy: one photo fills the machine."""

    settings: Settings
    networks: LazyModel[Networks]
    busy: threading.Lock = field(default_factory=threading.Lock)

    def segment(
        self, photo: Photo, prompts: tuple[ObjectPrompt, ...], files: tuple[Mask, ...]
    ) -> list[Mask]:
        """The objects that prompts mean in their order, or what the words of the settings find.

        Words alone: every instance of them, best first. Words with a box or points: the one
        instance that fits these. Points and a box without words: the object there. Masks are (H, W)
        bool at the photo's size. `files` are another backend's business and are ignored. Raises
        BadInput where a prompt cannot be followed, OutOfDeviceMemory.
        """
        import torch

        what = f"a photo of {photo.width} x {photo.height}"
        with self.busy, torch.no_grad():
            work = partial(self._segment, photo, prompts)
            return retrying_after_freeing(work, self.networks.release, what, REMEDY)

    def _segment(self, photo: Photo, prompts: tuple[ObjectPrompt, ...]) -> list[Mask]:
        encoded = self.networks.get().encode(photo.rgb)
        asked = Asked(encoded, photo, self.settings.threshold)
        return self._segment_prompts(asked, prompts) if prompts else self._everything(asked)

    def _segment_prompts(self, asked: Asked, prompts: tuple[ObjectPrompt, ...]) -> list[Mask]:
        found: list[Instance] = []
        given: list[bool] = []
        for index, prompt in enumerate(prompts):
            if _has_location(prompt):
                found.append(asked.at(prompt, name_of(prompt, index)))
                given.append(True)
            else:
                instances = asked.by_words(prompt.text, prompt.label)
                if not instances:
                    logger.warning("nothing here looks like %r (segment.threshold %g)",
                                   prompt.text, self.settings.threshold)  # fmt: skip
                found += instances
                given += [False] * len(instances)
        return self._objects(asked, found, given)

    def _everything(self, asked: Asked) -> list[Mask]:
        """What the words of the settings find, best first; surfaces and backdrops left out."""
        pixels = asked.photo.height * asked.photo.width
        largest = self.settings.max_area_share * pixels
        found = [o for words in self.settings.words for o in asked.by_words(words.strip(), "")]
        found = [o for o in found if o.pixels.sum() <= largest]
        found.sort(key=lambda o: -o.score)
        return self._objects(asked, found, [False] * len(found))

    def _objects(self, asked: Asked, found: list[Instance], given: list[bool]) -> list[Mask]:
        smallest = round(self.settings.min_area_share * asked.photo.height * asked.photo.width)
        objects = distinct_objects(found, given, smallest, self.settings.max_objects)
        return [o.mask for o in objects]


class Asked:
    """One photo and what it was asked so far: the same words are looked for once."""

    def __init__(self, encoded: EncodedPhoto, photo: Photo, threshold: float) -> None:
        self.encoded, self.photo, self.threshold = encoded, photo, threshold
        self._known: dict[str, list[Instance]] = {}
        self._taken: list[Instance] = []

    def by_words(self, words: str, label: str) -> list[Instance]:
        """All instances of words, best first, under a label (none: the words)."""
        if words not in self._known:
            self._known[words] = self.encoded.instances(words, self.photo, self.threshold)
        return [replace(o, label=label or words) for o in self._known[words]]

    def at(self, prompt: ObjectPrompt, name: str) -> Instance:
        """The one object at a prompt's box and points; BadInput where there is none."""
        if not prompt.text:
            found = mask_at(self.encoded.tracker, self.encoded.for_clicks, prompt, self.photo)
            if not found.pixels.any():
                raise nothing_there(name)
            return found
        return self._of_words(prompt, name)

    def _of_words(self, prompt: ObjectPrompt, name: str) -> Instance:
        """The instance of a prompt's words that fits its place; two prompts never share one.

        The words alone are asked first, once for all prompts with the same words. Where nothing
        that they found fits the box, it is shown to the detector as an exemplar beside the words;
        where points correct what the words found, box and points alone decide.
        """
        found = self._fitting(self.by_words(prompt.text, prompt.label), prompt)
        if found is None and prompt.box is not None and prompt.points:
            return self.at(replace(prompt, text="", label=prompt.label or prompt.text), name)
        if found is None and prompt.box is not None:
            again = self.encoded.instances(prompt.text, self.photo, self.threshold, prompt.box)
            label = prompt.label or prompt.text
            found = self._fitting([replace(o, label=label) for o in again], prompt)
        if found is None:
            raise BadInput(
                f"{name}: nothing there looks like {prompt.text!r}: leave the words out, or lower "
                f"segment.threshold ({self.threshold:g})"
            )
        self._taken.append(found)
        return found

    def _fitting(self, instances: Sequence[Instance], prompt: ObjectPrompt) -> Instance | None:
        taken = [id(o.likelihood) for o in self._taken]
        return best_fitting([o for o in instances if id(o.likelihood) not in taken], prompt)


def best_fitting(instances: Sequence[Instance], prompt: ObjectPrompt) -> Instance | None:
    """The instance that agrees with a prompt's points and fits its box best, None if none does.

    instances: best first, as they stay where a prompt has no box, or boxes fit equally.
    """
    agreeing = [o for o in instances if _holds(o, prompt)]
    if prompt.box is None or not agreeing:
        return agreeing[0] if agreeing else None
    fits = [_box_iou(_box_around(o), prompt.box) for o in agreeing]
    best = int(np.argmax(fits))
    return agreeing[best] if fits[best] >= FIT_OF_BOX else None


def load(settings: Settings, device: str) -> Sam3:
    """Weights are read when they are first wanted, so that a wrong folder fails the first call."""
    folder = _folder(settings)
    import transformers  # noqa: F401  (a missing library fails here, with its remedy)

    read = partial(load_networks, folder, settings.precision, device)
    return Sam3(settings, LazyModel("SAM 3", read, device))


def _folder(settings: Settings) -> Path:
    return weights_folder(settings.weights, MODEL, "segment")


def _has_location(prompt: ObjectPrompt) -> bool:
    """Whether a prompt points at one object; what it is not does not say where it is."""
    return prompt.box is not None or any(p.foreground for p in prompt.points)


def _holds(instance: Instance, prompt: ObjectPrompt) -> bool:
    """Whether an instance has all points on the object, and none of the others."""
    bottom, right = instance.pixels.shape[0] - 1, instance.pixels.shape[1] - 1
    return all(
        bool(instance.pixels[min(int(p.y_px), bottom), min(int(p.x_px), right)]) == p.foreground
        for p in prompt.points
    )


def _box_around(instance: Instance) -> Box:
    rows, columns = np.nonzero(instance.pixels)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def _box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return float(shared / (_area(a) + _area(b) - shared))


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


BACKEND = SegmentBackend(
    version="1",
    settings=Settings,
    load=load,
    loading=("precision", "weights"),
    held=lambda sam3: sam3.networks,
    memory=lambda settings: settings.memory,
    weights_sha256=weights_sha256,
    models=lambda settings: (MODEL,),
    weights_folder=lambda settings: settings.weights,
    libraries=dict.fromkeys(("torch", "transformers", "safetensors"), FULL_EXTRA),
    knows_words=True,
)
