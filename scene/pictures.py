"""Reads photos and mask pictures as people have them: rotated, 16 bit, palette, CMYK, profiled."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from scene.types import Bool, Photo

FOCAL_35MM_RANGE = (5.0, 2000.0)  # outside, the tag is a placeholder
MIN_SIDE_PX = 16


def decode_photo(data: bytes, max_side_px: int) -> tuple[Photo, dict[str, Any]]:
    """An upright sRGB photo, at most max_side_px long, and details as plain JSON.

    Details: width and height (upright, before any reduction), focal_35mm (EXIF, or None), notes in
    words. Raises ValueError when the bytes are no readable picture.
    """
    image = _open(data)
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"animated picture: the first of {frames} frames is used")
    focal_35mm = _focal_35mm(image)
    image = ImageOps.exif_transpose(image)
    width, height = image.size
    if min(width, height) < MIN_SIDE_PX:
        raise ValueError(f"photo is {width} x {height} pixels: at least {MIN_SIDE_PX} are needed")
    image = _to_srgb(image)
    if max(width, height) > max_side_px:
        factor = max_side_px / max(width, height)
        size = (round(width * factor), round(height * factor))
        image = image.resize(
            size, Image.Resampling.BOX if factor < 0.5 else Image.Resampling.LANCZOS
        )
        notes.append(f"photo of {width} x {height} is worked on at {size[0]} x {size[1]}")
    details = {"width": width, "height": height, "focal_35mm": focal_35mm, "notes": notes}
    return Photo(np.asarray(image)), details


def decode_mask(data: bytes, width: int, height: int, sizes: list[tuple[int, int]]) -> Bool:
    """(height, width) bool from a mask picture: its alpha if that varies, else its brightness.

    Pixels above half are the object (above zero when the file holds only 0 and 1). sizes are the
    (width, height) that the file may have; it is resampled to the working size (nearest).
    """
    image = _open(data)
    if image.size not in sizes:
        expected = " or ".join(f"{w} x {h}" for w, h in dict.fromkeys(sizes))
        raise ValueError(f"is {image.size[0]} x {image.size[1]} pixels, expected {expected}")
    levels = np.asarray(_mask_levels(image))
    threshold = 0 if levels.max() <= 1 else 127
    pixels = levels > threshold
    if pixels.shape != (height, width):
        small = Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
        pixels = np.asarray(small)
    return pixels


def _open(data: bytes) -> Image.Image:
    """Open and decode fully; every way a picture can be broken becomes a ValueError."""
    if not data:
        raise ValueError("is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            # Large photos are reduced; the bomb limit itself (twice the warning's) stays in force.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            image.load()
            return image
    except UnidentifiedImageError:
        raise ValueError("is not a picture in a known format") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"is too large: {error}") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ValueError(f"is damaged: {error}") from None


def _focal_35mm(image: Image.Image) -> float | None:
    """EXIF's 35 mm equivalent focal length in millimetres, None when absent or absurd."""
    try:
        exif = image.getexif().get_ifd(ExifTags.IFD.Exif)
        focal = float(exif.get(ExifTags.Base.FocalLengthIn35mmFilm) or 0)
    except (ValueError, TypeError, ZeroDivisionError, OSError, SyntaxError):
        return None  # a damaged tag is no reason to refuse the picture
    low, high = FOCAL_35MM_RANGE
    return focal if low <= focal <= high else None


def _to_srgb(image: Image.Image) -> Image.Image:
    """8-bit sRGB, through the embedded colour profile when there is a usable one."""
    if image.mode.startswith("I") or image.mode == "F":
        levels = np.asarray(image, np.float64)
        top = 65535.0 if levels.max() > 255 else 255.0
        return Image.fromarray(np.rint(levels / top * 255).clip(0, 255).astype(np.uint8)).convert(
            "RGB"
        )
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError):
            pass  # an unusable profile: the plain conversion below is what viewers do
    return image.convert("RGB")


def _mask_levels(image: Image.Image) -> Image.Image:
    if "A" in image.getbands():
        alpha = image.getchannel("A")
        low, high = alpha.getextrema()
        if low != high:
            return alpha
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) > 0).astype(np.uint8) * 255)
    return image.convert("L")
