"""PNG bytes, the same for the same pixels: what every mask, image and texture is kept as."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PNG_COMPRESSION = 3  # zlib level: a third of the default's time for 5 % more bytes


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """(H, W), (H, W, 3) or (H, W, 4) uint8 -> PNG bytes, the same for the same pixels."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=PNG_COMPRESSION)
    return out.getvalue()


def decode_png(data: bytes, mode: str) -> NDArray[np.uint8]:
    """PNG bytes -> uint8 pixels in a Pillow mode ("L", "RGB", "RGBA")."""
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode))
