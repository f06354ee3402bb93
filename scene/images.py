"""Reads photos as people have them: rotated, 16 bit, palette, CMYK, profiled."""

from __future__ import annotations

import io
import os
import re
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from scene.errors import BadInput, is_own_mistake
from scene.file_kinds import SAVE_AGAIN, check_kind, check_panorama, why_unknown
from scene.heif import decode_heif, is_heif
from scene.types import Cutout, Photo, Uint8

FOCAL_35MM_RANGE = (5.0, 2000.0)  # outside, the tag is a placeholder
MIN_SIDE_PX = 16
MAX_MEGAPIXELS = 150  # the largest cameras' photos; a decoded one takes a gigabyte or two
# Every format that Pillow reads by itself and that may hold a photo. EPS is left out: Pillow would
# start Ghostscript for it.
FORMATS = (
    "JPEG", "PNG", "GIF", "BMP", "DIB", "PPM", "WEBP", "AVIF", "TIFF", "JPEG2000", "ICO", "ICNS",
    "PCX", "PSD", "QOI", "SGI", "TGA", "DDS",
)  # fmt: skip
# What the decoders of these formats raise for damaged bytes, found by feeding them such.
DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, KeyError,
    TypeError, AttributeError, OverflowError, ZeroDivisionError, RuntimeError, AssertionError,
    NotImplementedError,
)  # fmt: skip
# By EXIF orientation: how a file's pixels are turned to stand upright.
ORIENTATIONS = {
    2: "mirrored",
    3: "by 180 degrees",
    4: "mirrored top to bottom",
    5: "by 90 degrees clockwise and mirrored",
    6: "by 90 degrees clockwise",
    7: "by 90 degrees counter-clockwise and mirrored",
    8: "by 90 degrees counter-clockwise",
}
ON_ITS_SIDE = (5, 6, 7, 8)
FULL_SCALES = (255, 1023, 4095, 16383, 65535)  # of 8, 10, 12, 14 and 16 bits


def decode_photo(data: bytes, max_side_px: int) -> tuple[Photo, dict[str, Any]]:
    """An upright sRGB photo, at most max_side_px long, and details as plain JSON.

    Details: width and height (upright, before any reduction), focal_35mm (EXIF, or None), notes in
    words. Raises BadInput when the bytes are no readable picture.
    """
    image = open_image(data)
    _check_sides(*image.size, max_side_px)
    with damage_reported():
        notes = _frame_notes(image)
        load_upright(image)
        focal_35mm = _focal_35mm(image)
    check_panorama(image)
    width, height = image.size
    if _has_transparency(image):
        image = _over_white(image)
        notes.append("transparent picture: shown on white")
    with damage_reported():
        notes += _depth_notes(image)
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


class NotCutOut(BadInput):
    """A picture without transparency, where an object on transparency is asked for."""


def decode_cutout(data: bytes) -> Cutout:
    """An object by itself on transparency, upright, at its own size.

    Raises BadInput when the bytes are no readable picture, NotCutOut for an opaque one.
    """
    image = open_image(data)
    if image.width < 2 or image.height < 2:
        raise BadInput(f"has {image.width} x {image.height} pixels: give a larger picture")
    with damage_reported():
        load_upright(image)
        rgba = image.convert("RGBA")
    low, high = rgba.getchannel("A").getextrema()
    if high == 0:
        raise BadInput("is fully transparent: there is no object in it")
    if low == 255:
        raise NotCutOut("has no transparency: cut the object out of its background first")
    return Cutout(np.asarray(rgba))


def open_image(data: bytes) -> Image.Image:
    """Read the header only; BadInput for what is no picture or has too many pixels."""
    if not data:
        raise BadInput("is empty (0 bytes): save or download it again")
    check_kind(data)
    if is_heif(data):
        return _open_heif(data)
    with damage_reported():
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except UnidentifiedImageError:
            image = None
    if image is None:
        raise BadInput(why_unknown(data))
    if image.width * image.height > MAX_MEGAPIXELS * 1e6:
        raise BadInput(_too_large(image.width * image.height))
    return image


def load_upright(image: Image.Image) -> int:
    """Decode the pixels and turn them as EXIF says; returns its orientation, 1 for none.

    A damaged or impossible tag turns nothing. Pillow turns TIFF by itself, and reads PNG's tag with
    the pixels.
    """
    orientation = _orientation(image) if image.format == "TIFF" else 0
    _load(image)
    orientation = orientation or _orientation(image)
    with suppress(*DECODE_ERRORS):
        ImageOps.exif_transpose(image, in_place=True)
    return orientation


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except DECODE_ERRORS:
        return 1


def _load(image: Image.Image) -> None:
    """Decode the pixels. libtiff writes of damage to standard error by itself: that is hushed."""
    with hushed() if image.format == "TIFF" else nullcontext():
        image.load()


@contextmanager
def hushed() -> Iterator[None]:
    """Nothing reaches standard error inside, not even from C; for libraries that chat there."""
    try:
        stderr = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    sys.stderr.flush()
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _open_heif(data: bytes) -> Image.Image:
    try:
        size, image = decode_heif(data, round(MAX_MEGAPIXELS * 1e6))
    except BadInput as error:
        raise BadInput(f"is damaged ({error}): {SAVE_AGAIN}") from None
    if image is None:
        raise BadInput(_too_large(size[0] * size[1]))
    return image


@contextmanager
def damage_reported() -> Iterator[None]:
    """Every way in which a picture can be broken becomes BadInput; warnings are not shown."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged tags, and sizes that _open judges itself
            yield
    except Image.DecompressionBombError as error:
        count = re.search(r"\d+", str(error))
        raise BadInput(_too_large(int(count[0]) if count else 0)) from None
    except DECODE_ERRORS as error:
        if is_own_mistake(error):
            raise
        why = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"is damaged ({why[:120]}): {SAVE_AGAIN}") from None


def _too_large(pixels: int) -> str:
    return (
        f"is too large: {pixels / 1e6:.0f} megapixels, at most {MAX_MEGAPIXELS} are read; "
        "make it smaller first"
    )


def _check_sides(width: int, height: int, max_side_px: int) -> None:
    """The shorter side must carry a picture, also once the photo is reduced."""
    if min(width, height) < MIN_SIDE_PX:
        raise BadInput(
            f"is {width} x {height} pixels: at least {MIN_SIDE_PX} x {MIN_SIDE_PX} are needed; "
            "give a larger picture"
        )
    short_px = round(min(width, height) * min(1.0, max_side_px / max(width, height)))
    if short_px < MIN_SIDE_PX:
        raise BadInput(
            f"is {width} x {height} pixels: worked on at {max_side_px} pixels long, it would be "
            f"{short_px} pixels narrow; cut out a part of it"
        )


def _frame_notes(image: Image.Image) -> list[str]:
    """That a file holds more than one picture, if it does."""
    count = image.info.get("pictures") or getattr(image, "n_frames", 1)
    if count < 2:
        return []
    if image.format == "TIFF":
        return [f"picture of several pages: the first of {count} is used"]
    if image.format in ("MPO", "PSD", "ICO") or "pictures" in image.info:
        return [f"file with several pictures: the main one of {count} is used"]
    return [f"animated picture: the first of {count} frames is used"]


def orientation_of(data: bytes) -> str | None:
    """How EXIF turns a photo's pixels upright, in words; None where it does not."""
    image = open_image(data)
    with damage_reported():
        return ORIENTATIONS.get(_orientation(image))


def orientation_remedy(turned: str | None) -> str:
    """What to do with a file that has the photo's size on its side; turned: `orientation_of` it."""
    if turned:
        return f"turn it {turned}, as the photo's EXIF orientation turns the photo"
    return "turn it by 90 degrees"


def _focal_35mm(image: Image.Image) -> float | None:
    """EXIF's 35 mm equivalent focal length in millimetres, None when absent or absurd."""
    try:
        exif = image.getexif().get_ifd(ExifTags.IFD.Exif)
        focal = float(exif.get(ExifTags.Base.FocalLengthIn35mmFilm) or 0)
    except DECODE_ERRORS:
        return None  # a damaged tag is no reason to refuse the picture
    low, high = FOCAL_35MM_RANGE
    return focal if low <= focal <= high else None


def _has_transparency(image: Image.Image) -> bool:
    """Whether a pixel is transparent; BadInput when nothing would be left to see."""
    if is_deep(image) or not image.has_transparency_data:
        return False
    rgba = image.convert("RGBA")
    low, high = rgba.getchannel("A").getextrema()
    if high == 0:
        raise BadInput("is fully transparent: save it without transparency")
    if low == high == 255:
        return False
    if low != high and len(rgba.convert("RGB").getcolors(1) or ()) == 1:
        raise BadInput(
            "has one colour and only its transparency varies: it looks like a mask; "
            "give the photo first and this with --mask"
        )
    return True


def _over_white(image: Image.Image) -> Image.Image:
    """Composited over white, as grey or colour; the colour profile stays with it."""
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(rgba)
    flat = white.convert("L" if image.mode in ("L", "LA", "La", "1") else "RGB")
    flat.info["icc_profile"] = image.info.get("icc_profile")
    return flat


def is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _to_srgb(image: Image.Image) -> Image.Image:
    """8-bit sRGB, through the embedded colour profile when there is a usable one."""
    if is_deep(image):
        return Image.fromarray(_eight_bit(np.asarray(image))).convert("RGB")
    profile = image.info.get("icc_profile")
    if image.mode not in ("RGB", "CMYK", "L", "LAB"):
        image = image.convert("RGB")
    try:
        srgb = ImageCms.createProfile("sRGB")
        if image.mode == "LAB":  # what Pillow itself cannot convert
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        elif profile:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        else:
            return image if image.mode == "RGB" else image.convert("RGB")
        converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        converted = None  # a profile that is broken or for other colours: do as viewers do
    return image.convert("RGB") if converted is None else converted


def full_scale(levels: np.ndarray) -> float:
    """What counts as white: the least full scale (1 for floats, else of 8 to 16 bits) that holds
    every level, or the highest level."""
    highest = float(np.nanmax(np.where(np.isfinite(levels), levels, 0), initial=0))
    scales = (1, *FULL_SCALES) if np.issubdtype(levels.dtype, np.floating) else FULL_SCALES
    return float(next((scale for scale in scales if highest <= scale), highest))


def _depth_notes(image: Image.Image) -> list[str]:
    """That a grey picture's levels were spread, if they were."""
    if not is_deep(image):
        return []
    top = full_scale(np.asarray(image))
    bits = {1023: 10, 4095: 12, 16383: 14}.get(round(top))
    return (
        [f"grey of {bits} bits in 16: its levels are spread over the whole range"] if bits else []
    )


def _eight_bit(levels: np.ndarray) -> Uint8:
    """(H, W) integers of up to 32 bits, or floats, as uint8; `full_scale` becomes 255."""
    if np.issubdtype(levels.dtype, np.floating):
        levels = np.nan_to_num(levels)
        return np.rint(levels / full_scale(levels) * 255).clip(0, 255).astype(np.uint8)
    if levels.max(initial=0) > 65535:
        return np.rint(levels.clip(0) / full_scale(levels) * 255).astype(np.uint8)
    table = np.rint(np.arange(65536) / full_scale(levels) * 255).clip(0, 255).astype(np.uint8)
    return table[levels.clip(0)]
