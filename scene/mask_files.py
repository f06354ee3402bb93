"""Reads a mask's numbers, colours and transparency from the file of whatever program wrote it."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION as PHOTOMETRIC
from PIL.TiffImagePlugin import SOFTWARE, TiffImageFile

from scene.arrays import (
    EXR_BEGINS,
    NPY_BEGINS,
    READ_ERRORS,
    TIFF_BEGINS,
    ZIP_BEGINS,
    read_exr,
    read_npy,
    read_npz,
    read_tiff,
)
from scene.errors import BadInput, is_own_mistake
from scene.images import (
    ON_ITS_SIDE,
    damage_reported,
    is_deep,
    load_upright,
    open_image,
)
from scene.types import Bool

MASK_NAMES = ("mask", "masks", "labels", "segmentation", "arr_0", "")
PAGED = ("TIFF", "GIF", "PNG", "WEBP", "AVIF")  # formats whose further pictures are no previews


class Drawn(NamedTuple):
    """A mask file: levels or label numbers (H, W), or colours (H, W, 3) uint8; opaque (H, W), where
    transparency tells of it; exact: True for label numbers, False where JPEG has blurred levels,
    None where the levels themselves must decide; turned: by its own EXIF.
    """

    pixels: NDArray
    opaque: Bool | None = None
    exact: bool | None = None
    turned: bool = False


def read_drawn(data: bytes) -> Drawn:
    """The file's numbers, upright, whatever wrote them."""
    if data[: len(NPY_BEGINS)] == NPY_BEGINS:
        return _from_numbers(data, "array")
    if data[:4] == ZIP_BEGINS:
        return _from_numbers(data, "archive")
    if data[:4] == EXR_BEGINS:
        return _from_numbers(data, "exr")
    try:
        image = open_image(data)
    except BadInput:
        if data[:4] not in TIFF_BEGINS:
            raise
        return _from_numbers(data, "tiff")
    return _from_image(image)


def _from_numbers(data: bytes, kind: str) -> Drawn:
    """A mask from NPY, NPZ, EXR, or a TIFF of unusual numbers."""
    try:
        if kind == "array":
            pixels = read_npy(io.BytesIO(data))
        elif kind == "archive":
            pixels = read_npz(data, MASK_NAMES, expected="mask")[0]
        elif kind == "exr":
            pixels = _exr_channel(read_exr(data))
        else:
            pixels = read_tiff(data)
    except BadInput:
        raise
    except READ_ERRORS as error:
        if is_own_mistake(error):
            raise
        why = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"is no readable mask ({why[:120]}): write it again") from None
    assert pixels is not None
    if pixels.ndim == 3 and 1 in (pixels.shape[0], pixels.shape[2]):
        pixels = pixels[0] if pixels.shape[0] == 1 else pixels[..., 0]
    colours = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
    if pixels.ndim != 2 and not colours:
        raise BadInput(f"is an array of shape {pixels.shape}, expected (H, W): save one per object")
    return Drawn(_grey_where_grey(pixels))


def _exr_channel(channels: dict[str, NDArray]) -> NDArray:
    """A mask's channel: the only one, several that are equal, or alpha where that varies."""
    if not channels:
        raise BadInput("has no channel: expected one, or R, G, B and A")
    by_name = {name.lower().rpartition(".")[2]: pixels for name, pixels in channels.items()}
    alpha = by_name.pop("a", None)
    if alpha is not None and (not by_name or np.ptp(np.nan_to_num(alpha)) > 0):
        return alpha
    first, *others = by_name.values()
    if len(by_name) + (alpha is not None) != len(channels) or not all(
        np.array_equal(first, other, equal_nan=first.dtype.kind == "f") for other in others
    ):
        raise BadInput(f"has the channels {', '.join(channels)}: save the mask's alone")
    return first


def _from_image(image: Image.Image) -> Drawn:
    with damage_reported():
        if image.format in PAGED and getattr(image, "n_frames", 1) > 1:
            pages = image.n_frames  # type: ignore[attr-defined]
        else:
            pages = 1
    if pages > 1:
        raise BadInput(f"has {pages} pages or frames: save one file per object")
    with damage_reported():
        turned = load_upright(image) in ON_ITS_SIDE
        opaque = _opaque(image)
        if image.mode in ("P", "PA"):
            return _from_palette(image, opaque, turned)
        if is_deep(image) or image.mode in ("L", "1", "RGB"):
            pixels = np.asarray(image)
            pixels = ~pixels if _is_boolean_array(image) else pixels
        else:
            pixels = np.asarray(image.convert("L" if image.mode in ("LA", "La") else "RGB"))
    exact = False if image.format == "JPEG" else None
    return Drawn(_grey_where_grey(pixels), opaque, exact, turned)


def _is_boolean_array(image: Image.Image) -> bool:
    """Whether tifffile wrote it from True and False: it calls True black, and never minds that."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    written_by = str(tags.get(SOFTWARE, ""))
    return image.mode == "1" and tags.get(PHOTOMETRIC) == 0 and written_by.startswith("tifffile")


def _opaque(image: Image.Image) -> Bool | None:
    """Where the picture is more than half opaque; None where its transparency has no meaning."""
    if not image.has_transparency_data:
        return None
    if is_deep(image):
        return np.asarray(image) != image.info["transparency"]
    alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    opaque = alpha > 127
    return None if opaque.all() or alpha.max() == alpha.min() else opaque


def _from_palette(image: Image.Image, opaque: Bool | None, turned: bool) -> Drawn:
    """Levels, where the colours in use are grey, else label numbers; else colours, where black, the
    background, is not the first.
    """
    indices = np.asarray(image if image.mode == "P" else image.getchannel("P"))
    used = np.unique(indices)
    table = np.zeros((256, 3), np.uint8)
    palette = np.reshape(image.getpalette("RGB") or [], (-1, 3))
    table[: len(palette)] = palette
    colours = table[used]
    several = len(np.unique(colours, axis=0)) == len(colours)
    if several and (colours == colours[:, :1]).all():
        levels = np.zeros(256, np.uint8)
        levels[used] = colours[:, 0]
        return Drawn(levels[indices], opaque, turned=turned)
    black = used[(colours == 0).all(1)]
    if several and len(black) == 1 and black[0] != 0:
        return Drawn(table[indices], opaque, True, turned)
    return Drawn(indices, opaque, True, turned)


def _grey_where_grey(pixels: NDArray) -> NDArray:
    """Numbers (H, W), where the three channels are equal."""
    if pixels.ndim == 3 and (pixels[..., :1] == pixels[..., 1:]).all():
        return pixels[..., 0]
    return pixels
