"""What is the object in a picture of one object, where nothing has been cut out?"""

from __future__ import annotations

import cv2
import numpy as np

from scene.errors import BadInput
from scene.types import Cutout, Float32, ObjectPrompt, Photo

SALIENT = 0.5
PART_FRACTION = 0.1  # smaller parts, beside the largest, are not of the object


def cut_out(photo: Photo) -> Cutout:
    """The picture with what stands out in it, opaque, on transparency: all of it is one object.

    By U-2-Net-p and GrabCut, as segment backend `grabcut` cuts out what a box is drawn around.
    Raises BadInput where nothing stands out.
    """
    from stages.segment.grabcut import GrabCut
    from stages.segment.shared.analysed import Settings
    from stages.segment.shared.saliency import load_saliency

    saliency_of = load_saliency()
    box = salient_box(saliency_of(photo.rgb))
    if box is None:
        raise BadInput(
            "has no transparency, and nothing stands out in it: cut the object out of its "
            "background first"
        )
    (mask,) = GrabCut(Settings(), saliency_of).segment(photo, (ObjectPrompt(box=box),), ())
    return Cutout(np.dstack([photo.rgb, np.where(mask.pixels, 255, 0).astype(np.uint8)]))


def salient_box(saliency: Float32) -> tuple[float, float, float, float] | None:
    """x0, y0, x1, y1 in pixels around the large salient parts of a saliency map (H, W) in [0, 1];
    None without any."""
    _, _, stats, _ = cv2.connectedComponentsWithStats((saliency > SALIENT).astype(np.uint8))
    parts = stats[1:]
    if not len(parts):
        return None
    large = parts[parts[:, cv2.CC_STAT_AREA] >= PART_FRACTION * parts[:, cv2.CC_STAT_AREA].max()]
    low = large[:, :2].min(0)
    high = (large[:, :2] + large[:, 2:4]).max(0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
