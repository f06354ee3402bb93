"""Points and boxes through the mask decoder that SAM 2 and SAM 3's tracker share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scene.errors import BadInput
from scene.types import ObjectPrompt, Photo
from stages.segment.shared.instances import Instance, cleaned
from stages.segment.shared.sam_images import at_photo_size

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Decoded:
    """Candidates for each of P prompts: logits (P, M, h, w), predicted IoU (P, M), both float32."""

    logits: Tensor
    iou: Tensor


def click_maps(model: Any, pyramid: Sequence[Tensor]) -> list[Tensor]:
    """What the mask decoder takes of a photo: three maps float32, highest resolution first.

    pyramid: what the neck made, highest resolution first; levels after the third are not used.
    The embedding that says "no earlier frame" belongs to the third. (transformers' Sam3TrackerModel
    adds it to the level after, which nobody reads; SAM 2's and SAM 3's own predictors add it here.)
    """
    high, middle, low = (level.float() for level in pyramid[:3])
    decoder = model.mask_decoder
    low = low + model.no_memory_embedding.view(1, -1, 1, 1)
    return [decoder.conv_s0(high), decoder.conv_s1(middle), low]


def mask_at(model: Any, maps: list[Tensor], prompt: ObjectPrompt, photo: Photo) -> Instance:
    """The object at a prompt's points and box; its pixels may be none.

    One point may mean a part or the whole: of three candidates the one with the best predicted IoU
    is taken. More points, or a box, leave no doubt, and the decoder's single mask is better (as
    in SAM 2's own predictor).
    """
    several = prompt.box is None and len(prompt.points) == 1
    decoded = decode(model, maps, [prompt], photo, several)
    best = int(decoded.iou[0].argmax())
    logits = decoded.logits[0, best]
    pixels = at_photo_size(logits, photo.height, photo.width) > 0
    likelihood = logits.sigmoid().cpu().numpy()
    return Instance(cleaned(pixels), likelihood, float(decoded.iou[0, best]), prompt.label)


def decode(
    model: Any, maps: list[Tensor], prompts: Sequence[ObjectPrompt], photo: Photo, several: bool
) -> Decoded:
    """Candidates for prompts that are alike: as many points each, and all or none with a box.

    several: three candidates for each prompt, else one.
    """
    import torch

    side = int(model.prompt_encoder.input_image_size)
    # A click names a place, x = 0 the photo's edge; the network adds half a pixel to indices.
    scale = np.array([side / photo.width, side / photo.height])
    clicks = np.array([[[p.x_px, p.y_px] for p in q.points] for q in prompts], np.float64)
    points = clicks.reshape(len(prompts), -1, 2) * scale - 0.5
    labels = np.array([[int(p.foreground) for p in q.points] for q in prompts])
    boxes = np.array([q.box for q in prompts if q.box is not None], np.float64)
    boxes = boxes.reshape(-1, 2, 2) * scale - 0.5

    def tensor(values: NDArray, kind: torch.dtype) -> Tensor | None:
        made = torch.tensor(values, dtype=kind, device=maps[0].device)[None]
        return made if values.size else None

    made = model(
        image_embeddings=maps,
        input_points=tensor(points, torch.float32),
        input_labels=tensor(labels, torch.long),
        input_boxes=tensor(boxes.reshape(-1, 4), torch.float32),
        multimask_output=several,
    )
    return Decoded(made.pred_masks[0].float(), made.iou_scores[0].float())


def nothing_there(name: str) -> BadInput:
    """The error for a prompt at which the network sees no object."""
    return BadInput(
        f"{name}: no object stands out there; move the point, or draw a box around the whole object"
    )
