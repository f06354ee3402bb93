"""SAM 3's detector and tracker on one backbone: a photo is encoded once for many prompts."""

from __future__ import annotations

import importlib
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from scene.errors import BadInput, BadWeights
from scene.types import Photo, Uint8
from stages.devices import put_on
from stages.pretrained import load_strictly, prepare_torchvision
from stages.segment.shared.instances import Instance, cleaned
from stages.segment.shared.memory import remembered
from stages.segment.shared.sam_clicks import click_maps
from stages.segment.shared.sam_images import (
    STANDARD,
    Normalization,
    Precision,
    at_photo_size,
    in_bfloat16,
    network_image,
    normalization_of,
    roi_align,
    uses_bfloat16,
)

if TYPE_CHECKING:
    from torch import Tensor

PHOTOS_REMEMBERED = 2  # up to half a gigabyte each
Box = tuple[float, float, float, float]


class Networks:
    """The detector (words, exemplars) and the tracker (points, boxes) on one backbone."""

    def __init__(
        self,
        detector: Any,
        tracker: Any,
        tokenizer: Any,
        normalization: Normalization,
        device: str,
    ) -> None:
        self.detector, self.tracker, self.tokenizer = detector, tracker, tokenizer
        self.normalization, self.device = normalization, device
        self.encode = remembered(PHOTOS_REMEMBERED)(self._encode)

    def _encode(self, rgb: Uint8) -> EncodedPhoto:
        """What the backbone sees of (H, W, 3) uint8; the last photos are remembered by content."""
        backbone = self.detector.vision_encoder.backbone
        side = int(self.tracker.prompt_encoder.input_image_size)
        weight = next(backbone.parameters())
        picture = network_image(rgb, side, self.normalization).to(self.device, weight.dtype)
        tokens = backbone(picture).last_hidden_state.float()
        cells = side // backbone.config.patch_size
        return EncodedPhoto(self, tokens.transpose(1, 2).reshape(1, -1, cells, cells))


class EncodedPhoto:
    """One photo as the backbone encodes it: features (1, C, h, w) float32. Necks run when
    wanted."""

    def __init__(self, networks: Networks, features: Tensor) -> None:
        self._networks, self.features = networks, features

    @property
    def tracker(self) -> Any:
        """The model that decodes `for_clicks`."""
        return self._networks.tracker

    @cached_property
    def for_clicks(self) -> list[Tensor]:
        """The tracker's maps of the photo."""
        levels, _ = self.tracker.vision_encoder.neck(self.features)
        return click_maps(self.tracker, levels)

    @cached_property
    def for_words(self) -> Any:
        """The detector's pyramid of the photo, as its forward takes it."""
        from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

        levels, positions = self._networks.detector.vision_encoder.neck(self.features)
        return Sam3VisionEncoderOutput(fpn_hidden_states=levels, fpn_position_encoding=positions)

    def instances(
        self, words: str, photo: Photo, threshold: float, exemplar: Box | None = None
    ) -> list[Instance]:
        """What words mean in the photo, best first, with scores above a threshold.

        exemplar: a box (x0, y0, x1, y1 in pixels of the photo) around one of them. Score and mask
        are those of the official post-processing: likelihood times presence, and above one half.
        """
        asked = self._ask(words)
        if exemplar is not None:
            asked["input_boxes"] = self._relative(exemplar, photo)
        found = self._networks.detector(vision_embeds=self.for_words, **asked)
        scores = (found.pred_logits.sigmoid() * found.presence_logits.sigmoid())[0].float()
        instances = []
        ranked = scores.sort(descending=True, stable=True)
        for score, index in zip(ranked.values.tolist(), ranked.indices.tolist(), strict=True):
            if score <= threshold:
                break
            likelihood = found.pred_masks[0, index].float().sigmoid()
            pixels = at_photo_size(likelihood, photo.height, photo.width) > 0.5
            if pixels.any():
                grid = likelihood.cpu().numpy()
                instances.append(Instance(cleaned(pixels), grid, score, words))
        return instances

    def _ask(self, words: str) -> dict[str, Any]:
        """Words as the detector takes them; BadInput for more than it reads."""
        detector, device = self._networks.detector, self._networks.device
        most = detector.config.text_config.max_position_embeddings
        tokens = self._networks.tokenizer(
            words, return_tensors="pt", padding="max_length", max_length=most
        )
        if tokens["input_ids"].shape[1] > most:
            raise BadInput(f"the words {words!r} are too many for SAM 3: use a short noun phrase")
        ids, mask = tokens["input_ids"].to(device), tokens["attention_mask"].to(device)
        text = detector.text_encoder(input_ids=ids, attention_mask=mask, return_dict=True)
        text.pooler_output = detector.text_projection(text.last_hidden_state.float())
        return {"text_embeds": text, "attention_mask": mask}

    def _relative(self, box: Box, photo: Photo) -> Tensor:
        """(1, 1, 4): centre and size of a box, cut to the photo, as shares of the photo."""
        import torch

        x0, x1 = (min(max(x, 0), photo.width) / photo.width for x in (box[0], box[2]))
        y0, y1 = (min(max(y, 0), photo.height) / photo.height for y in (box[1], box[3]))
        values = [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]
        return torch.tensor([[values]], dtype=torch.float32, device=self._networks.device)


def load_networks(folder: Path, precision: Precision, device: str) -> Networks:
    """Both networks of a folder like facebook/sam3, on the device, with one backbone.

    Raises BadWeights where a file or a weight is missing, left over or of another shape.
    """
    torchvision = prepare_torchvision()
    import torch
    from transformers.models.clip.tokenization_clip import CLIPTokenizer
    from transformers.models.sam3_tracker.modeling_sam3_tracker import Sam3TrackerModel

    # Not by `from`: without torchvision the package has a stand-in that refuses.
    modeling_sam3: Any = importlib.import_module("transformers.models.sam3.modeling_sam3")
    if torchvision != "native":
        # The one thing that the module takes from torchvision; box exemplars need it.
        modeling_sam3.torchvision = SimpleNamespace(ops=SimpleNamespace(roi_align=roi_align))
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        why = str(error).strip().splitlines()[0]
        raise BadWeights(f"no tokenizer in {folder} ({why}): download it again") from None
    detector = load_strictly(modeling_sam3.Sam3Model, folder, torch.float32)
    tracker = load_strictly(Sam3TrackerModel, folder, torch.float32)
    # Both were read from the same tensors of the file.
    tracker.vision_encoder.backbone = detector.vision_encoder.backbone
    if uses_bfloat16(precision, device):
        in_bfloat16(detector.vision_encoder.backbone)
        in_bfloat16(detector.text_encoder)
    normalization = normalization_of(folder, STANDARD)
    return Networks(
        put_on(detector, device), put_on(tracker, device), tokenizer, normalization, device
    )
