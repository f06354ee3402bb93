"""Segment backend `sam2`: SAM 2.1 by points and boxes, or by a grid of points; ungated weights."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scene.errors import BadInput
from scene.types import Mask, ObjectPrompt, Photo, Point, Uint8
from stages.backends import FULL_EXTRA, Keeping
from stages.devices import LazyModel, put_on, retrying_after_freeing
from stages.pretrained import load_strictly, prepare_torchvision
from stages.segment import SegmentBackend, name_of
from stages.segment.shared.instances import (
    INSIDE,
    Instance,
    cleaned,
    distinct_objects,
    settle,
    shared_areas,
    without_duplicates,
)
from stages.segment.shared.memory import remembered
from stages.segment.shared.sam_clicks import Decoded, click_maps, decode, mask_at, nothing_there
from stages.segment.shared.sam_images import (
    IMAGENET,
    Normalization,
    Precision,
    at_photo_size,
    in_bfloat16,
    network_image,
    normalization_of,
    uses_bfloat16,
)
from stages.settings import local
from stages.weights import weights_digest, weights_folder

if TYPE_CHECKING:
    from torch import Tensor

REMEDY = "choose a smaller segment.model, or set segment.memory=one_at_a_time"
WEIGHT_FILES = ("config.json", "model*.safetensors", "processor_config.json",
                "preprocessor_config.json")  # fmt: skip
PHOTOS_REMEMBERED = 2  # a quarter of a gigabyte each
POINTS_AT_ONCE = 64  # of the grid; as SAM 2's own mask generator does
STABILITY_OFFSET = 1.0  # logits; a stable mask hardly changes between plus and minus this
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """Without prompts: points_per_side of the grid; predicted_iou and stability that a mask needs;
    min_area_share, max_area_share of the photo; max_objects, the best ones. precision: official is
    bfloat16 on CUDA, float32 on a CPU (the decoder is always float32). model: a row of the
    table of weights; weights: their folder; memory: whether they stay on the device."""

    points_per_side: int = 32
    predicted_iou: float = 0.8
    stability: float = 0.95
    min_area_share: float = 0.005
    max_area_share: float = 0.5
    max_objects: int = 16
    precision: Precision = "official"
    model: Literal[
        "sam2.1-hiera-large",
        "sam2.1-hiera-base-plus",
        "sam2.1-hiera-small",
        "sam2.1-hiera-tiny",
    ] = local("sam2.1-hiera-large")
    weights: str = local("")
    memory: Keeping = local("keep")

    def __post_init__(self) -> None:
        if not 1 <= self.points_per_side <= 128:
            raise BadInput(f"points_per_side: expected 1 to 128, got {self.points_per_side}")
        for name in ("predicted_iou", "stability", "min_area_share", "max_area_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"{name}: expected 0 to 1, got {getattr(self, name):g}")
        if not 1 <= self.max_objects <= 1000:
            raise BadInput(f"max_objects: expected 1 to 1000, got {self.max_objects}")


def weights_sha256(settings: Settings) -> str:
    """The digest of the weights that the settings point to."""
    return weights_digest(_folder(settings), WEIGHT_FILES)


class Network:
    """SAM 2 with its weights; its features of the last photos are remembered by their content."""

    def __init__(self, model: Any, normalization: Normalization, device: str) -> None:
        self.model, self.normalization, self.device = model, normalization, device
        self.maps_of = remembered(PHOTOS_REMEMBERED)(self._maps_of)

    def _maps_of(self, rgb: Uint8) -> list[Tensor]:
        side = int(self.model.prompt_encoder.input_image_size)
        weight = next(self.model.vision_encoder.parameters())
        picture = network_image(rgb, side, self.normalization).to(self.device, weight.dtype)
        return click_maps(self.model, self.model.vision_encoder(picture).fpn_hidden_states)


@dataclass(frozen=True, eq=False)
class Sam2:
    """SAM 2.1 over a folder of weights. busy: one photo fills the machine."""

    settings: Settings
    network: LazyModel[Network]
    busy: threading.Lock = field(default_factory=threading.Lock)

    def segment(
        self, photo: Photo, prompts: tuple[ObjectPrompt, ...], files: tuple[Mask, ...]
    ) -> list[Mask]:
        """One mask per prompt in order, or without prompts what the grid of points finds.

        Masks are (H, W) bool at the photo's size. `files` are another backend's business and are
        ignored. Raises BadInput where a prompt cannot be followed, OutOfDeviceMemory.
        """
        import torch

        for index, prompt in enumerate(prompts):
            check_prompt(prompt, name_of(prompt, index))
        what = f"a photo of {photo.width} x {photo.height}"
        with self.busy, torch.no_grad():
            work = partial(self._find, photo, prompts)
            found = retrying_after_freeing(work, self.network.release, what, REMEDY)
        if not prompts:
            return [o.mask for o in found]
        for index, (prompt, instance) in enumerate(zip(prompts, found, strict=True)):
            if not instance.pixels.any():
                raise nothing_there(name_of(prompt, index))
        return [o.mask for o in settle(found)]

    def _find(self, photo: Photo, prompts: tuple[ObjectPrompt, ...]) -> list[Instance]:
        """One instance per prompt, or without prompts everything."""
        network = self.network.get()
        maps = network.maps_of(photo.rgb)
        if not prompts:
            return self._everything(network, maps, photo)
        return [mask_at(network.model, maps, prompt, photo) for prompt in prompts]

    def _everything(self, network: Network, maps: list[Tensor], photo: Photo) -> list[Instance]:
        """What stands out at any point of a grid: whole objects rather than their parts."""
        points = grid(self.settings.points_per_side, photo)
        candidates: list[Instance] = []
        for first in range(0, len(points), POINTS_AT_ONCE):
            clicks = points[first : first + POINTS_AT_ONCE]
            decoded = decode(network.model, maps, clicks, photo, several=True)
            candidates += stable(decoded, self.settings)
        wholes = without_parts(candidates)
        logger.debug("%d masks of %d points, %d whole", len(candidates), len(points), len(wholes))
        grown = [grown_to(o, photo) for o in wholes]
        smallest = round(self.settings.min_area_share * photo.height * photo.width)
        return distinct_objects(grown, [False] * len(grown), smallest, self.settings.max_objects)


def load(settings: Settings, device: str) -> Sam2:
    """Weights are read when they are first wanted, so that a wrong folder fails the first call."""
    folder = _folder(settings)
    import transformers  # noqa: F401  (a missing library fails here, with its remedy)

    read = partial(load_network, folder, settings.precision, device)
    return Sam2(settings, LazyModel("SAM 2", read, device))


def load_network(folder: Path, precision: Precision, device: str) -> Network:
    """The network of a folder on the device; BadWeights where its files do not fit."""
    prepare_torchvision()
    import torch
    from transformers.models.sam2.modeling_sam2 import Sam2Model

    model = load_strictly(Sam2Model, folder, torch.float32)
    if uses_bfloat16(precision, device):
        in_bfloat16(model.vision_encoder)
    return Network(put_on(model, device), normalization_of(folder, IMAGENET), device)


def check_prompt(prompt: ObjectPrompt, name: str) -> None:
    """Raise BadInput where a prompt has nothing to point at, or asks for words."""
    if prompt.box is None and not any(p.foreground for p in prompt.points):
        raise BadInput(
            f"{name} has only the words {prompt.text!r}: sam2 understands points and boxes, not "
            "words; give --point or --box, or --set segment.backend=sam3"
        )


def grid(per_side: int, photo: Photo) -> list[ObjectPrompt]:
    """One prompt of one point for each cell of a grid over the photo."""
    across = (np.arange(per_side) + 0.5) / per_side
    places = [(x * photo.width, y * photo.height) for y in across for x in across]
    return [ObjectPrompt(points=(Point(float(x), float(y)),)) for x, y in places]


def stable(decoded: Decoded, settings: Settings) -> list[Instance]:
    """The candidates that the network is sure of, of an allowed size, on the decoder's grid.

    Stability is how much of a mask stays when its threshold moves by STABILITY_OFFSET.
    """
    logits, iou = decoded.logits.flatten(0, 1), decoded.iou.flatten()
    core = (logits > STABILITY_OFFSET).sum((1, 2))
    reach = (logits > -STABILITY_OFFSET).sum((1, 2))
    share = (logits > 0).float().mean((1, 2))
    sure = (iou > settings.predicted_iou) & (core > settings.stability * reach)
    sized = (share >= settings.min_area_share) & (share <= settings.max_area_share) & (share > 0)
    likelihoods = logits[sure & sized].sigmoid().cpu().numpy()
    scores = iou[sure & sized].tolist()
    return [Instance(p > 0.5, p, s) for p, s in zip(likelihoods, scores, strict=True)]


def without_parts(candidates: list[Instance]) -> list[Instance]:
    """The candidates without duplicates, and without what lies in a larger one.

    A point on a handle gives handle, cup, and perhaps both: a scene is made of cups. What stands
    in front of an object is no part of it, since that object's mask leaves it out.
    """
    ranked = sorted(candidates, key=lambda o: -o.score)
    distinct = [ranked[i] for i in without_duplicates(ranked)]
    shared = shared_areas(distinct)
    areas = shared.diagonal()
    inside = (shared >= INSIDE * areas[:, None]) & (areas[None, :] > areas[:, None])
    return [o for o, within in zip(distinct, inside, strict=True) if not within.any()]


def grown_to(instance: Instance, photo: Photo) -> Instance:
    """An instance of the decoder's grid at the photo's size."""
    import torch

    logits = torch.logit(torch.from_numpy(instance.likelihood), eps=1e-6)
    pixels = at_photo_size(logits, photo.height, photo.width) > 0
    return replace(instance, pixels=cleaned(pixels))


def _folder(settings: Settings) -> Path:
    return weights_folder(settings.weights, settings.model, "segment")


BACKEND = SegmentBackend(
    version="1",
    settings=Settings,
    load=load,
    loading=("precision", "model", "weights"),
    held=lambda sam2: sam2.network,
    memory=lambda settings: settings.memory,
    weights_sha256=weights_sha256,
    models=lambda settings: (settings.model,),
    weights_folder=lambda settings: settings.weights,
    libraries=dict.fromkeys(("torch", "transformers", "safetensors"), FULL_EXTRA),
)
