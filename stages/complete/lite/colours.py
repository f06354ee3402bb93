"""How do colours go on into what is hidden? As blurs of those known, the narrowest that reach."""

from __future__ import annotations

import cv2
import numpy as np

from scene.types import Bool, Float32

SPREADS = (0.02, 0.04, 0.08, 0.16)  # the blurs, as shares of the crop's side
ENOUGH = 0.02  # weight at which a narrower blur is used instead of a wider one


def painted(rgb: Float32, known: Bool) -> Float32:
    """(N, N, 3): colours (N, N, 3) that are known, carried on into the rest; their mean far off."""
    if not known.any():
        return rgb
    mean, weight = rgb[known].mean(0), known.astype(np.float32)[..., None]
    both = np.concatenate([(rgb - mean) * weight, weight], -1).astype(np.float32)
    carried = np.zeros_like(rgb, np.float32)
    for blur in reversed(SPREADS):
        around = _blurred(both, blur)
        enough = np.clip(around[..., -1:] / ENOUGH, 0, 1)
        carried += enough * (around[..., :-1] / np.maximum(around[..., -1:], 1e-6) - carried)
    return np.asarray(mean + carried, np.float32)


def _blurred(values: Float32, blur: float) -> Float32:
    """A blur by a share of the side, of a picture made as small as the blur allows."""
    side = len(values)
    small = int(np.clip(2 / blur, 32, side))
    shrunk = cv2.resize(values, (small, small), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(shrunk, (0, 0), blur * small, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(cv2.resize(blurred, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)
