"""Reads photos and mask pictures as people have them: rotated, 16 bit, palette, CMYK, profiled."""

from __future__ import annotations

import io
import os
import re
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from scene.errors import BadInput
from scene.heif import BRANDS, decode_heif, is_heif
from scene.types import Bool, Cutout, Photo, Uint8

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
SAVE_AGAIN = "open it in a picture program and save it again"
# What people give by mistake: the first bytes, in lower case, and what that is.
MISTAKEN = (
    (rb"%pdf", "a PDF document"),
    (rb"pk\x03\x04", "a ZIP archive"),
    (rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!doctype svg[^>]*>\s*)?<svg", "an SVG drawing"),
    (rb"\s*<(!doctype html|html|head|body)", "a web page"),
    (rb"....ftyp", "a video or a sound"),
    (rb"%!ps", "a PostScript document"),
)
BOM = b"\xef\xbb\xbf"
PICTURE_BEGINS = (b"\xff\xd8\xff", b"\x89png", b"gif8", b"bm", b"ii*\0", b"mm\0*", b"riff")


def decode_photo(data: bytes, max_side_px: int) -> tuple[Photo, dict[str, Any]]:
    """An upright sRGB photo, at most max_side_px long, and details as plain JSON.

    Details: width and height (upright, before any reduction), focal_35mm (EXIF, or None), notes in
    words. Raises BadInput when the bytes are no readable picture.
    """
    image = _open(data)
    _check_sides(*image.size, max_side_px)
    with _damage_reported():
        notes = _frame_notes(image)
        _load(image)
        focal_35mm = _focal_35mm(image)
        image = _upright(image)
    width, height = image.size
    if _is_see_through(image):
        image = _over_white(image)
        notes.append("transparent picture: shown on white")
    with _damage_reported():
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


def decode_cutout(data: bytes) -> Cutout:
    """An object by itself on transparency, upright, at its own size.

    Raises BadInput when the bytes are no readable picture, or one without anything cut out.
    """
    image = _open(data)
    if image.width < 2 or image.height < 2:
        raise BadInput(f"has {image.width} x {image.height} pixels: give a larger picture")
    with _damage_reported():
        _load(image)
        image = _upright(image)
        rgba = image.convert("RGBA")
    low, high = rgba.getchannel("A").getextrema()
    if high == 0:
        raise BadInput("is fully transparent: there is no object in it")
    if low == 255:
        raise BadInput("has no transparency: cut the object out of its background first")
    return Cutout(np.asarray(rgba))


def decode_mask(data: bytes, width: int, height: int, sizes: list[tuple[int, int]]) -> Bool:
    """(height, width) bool from a mask picture: its alpha if that varies, else its brightness.

    Pixels above half are the object (above zero when the file holds only 0 and 1). sizes are the
    (width, height) that the file may have; it is resampled to the working size (nearest).
    """
    image = _open(data)
    if image.size not in sizes:
        expected = " or ".join(f"{w} x {h}" for w, h in dict.fromkeys(sizes))
        raise BadInput(
            f"is {image.size[0]} x {image.size[1]} pixels, expected {expected}: "
            "export it at the photo's size"
        )
    with _damage_reported():
        _load(image)
        levels = np.asarray(_mask_levels(image))
    threshold = 0 if levels.max() <= 1 else 127
    pixels = levels > threshold
    if pixels.shape != (height, width):
        small = Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
        pixels = np.asarray(small)
    return pixels


def _open(data: bytes) -> Image.Image:
    """Read the header only; BadInput for what is no picture or has too many pixels."""
    if not data:
        raise BadInput("is empty (0 bytes): save or download it again")
    if is_heif(data):
        return _open_heif(data)
    with _damage_reported():
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except UnidentifiedImageError:
            image = None
    if image is None:
        raise BadInput(_why_unknown(data))
    if image.width * image.height > MAX_MEGAPIXELS * 1e6:
        raise BadInput(_too_large(image.width * image.height))
    return image


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
def _damage_reported() -> Iterator[None]:
    """Every way in which a picture can be broken becomes BadInput; warnings are not shown."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged tags, and sizes that _open judges itself
            yield
    except Image.DecompressionBombError as error:
        count = re.search(r"\d+", str(error))
        raise BadInput(_too_large(int(count[0]) if count else 0)) from None
    except DECODE_ERRORS as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"is damaged ({why[:120]}): {SAVE_AGAIN}") from None


def _why_unknown(data: bytes) -> str:
    """Why Pillow knows nothing about these bytes, as far as they tell."""
    start = data[:1024].lower().removeprefix(BOM)
    if start.startswith(PICTURE_BEGINS) or data[8:12] in (*BRANDS, b"avif", b"avis"):
        return f"is damaged (its header cannot be read): {SAVE_AGAIN}"
    mistaken = next((what for begin, what in MISTAKEN if re.match(begin, start, re.DOTALL)), None)
    if mistaken:
        return f"is not a picture in a known format but {mistaken}: save it as JPEG or PNG"
    return "is not a picture in a known format: save it as JPEG or PNG"


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


def _upright(image: Image.Image) -> Image.Image:
    """Turned as EXIF says; a damaged or impossible tag turns nothing."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except DECODE_ERRORS:
        pass
    return image


def _focal_35mm(image: Image.Image) -> float | None:
    """EXIF's 35 mm equivalent focal length in millimetres, None when absent or absurd."""
    try:
        exif = image.getexif().get_ifd(ExifTags.IFD.Exif)
        focal = float(exif.get(ExifTags.Base.FocalLengthIn35mmFilm) or 0)
    except DECODE_ERRORS:
        return None  # a damaged tag is no reason to refuse the picture
    low, high = FOCAL_35MM_RANGE
    return focal if low <= focal <= high else None


def _is_see_through(image: Image.Image) -> bool:
    """Whether a pixel is transparent; BadInput when nothing would be left to see."""
    if _is_deep(image) or not image.has_transparency_data:
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


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _to_srgb(image: Image.Image) -> Image.Image:
    """8-bit sRGB, through the embedded colour profile when there is a usable one."""
    if _is_deep(image):
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


def _eight_bit(levels: np.ndarray) -> Uint8:
    """(H, W) integers of 16 bits, or floats, as uint8; a small range counts as 0 to 255 (or 1)."""
    if np.issubdtype(levels.dtype, np.floating):
        levels = np.nan_to_num(levels)
        top = next((limit for limit in (1.0, 255.0) if levels.max() <= limit), 65535.0)
        return np.rint(levels / top * 255).clip(0, 255).astype(np.uint8)
    levels = levels.clip(0, 65535)
    top = 255 if levels.max() <= 255 else 65535
    table = np.rint(np.arange(65536) / top * 255).clip(0, 255).astype(np.uint8)
    return table[levels]


def _mask_levels(image: Image.Image) -> Image.Image:
    if "A" in image.getbands():
        alpha = image.getchannel("A")
        low, high = alpha.getextrema()
        if low != high:
            return alpha
    if _is_deep(image):
        return Image.fromarray((np.asarray(image) > 0).astype(np.uint8) * 255)
    return image.convert("L")
