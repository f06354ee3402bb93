"""What is a file that cannot be worked on as a photo? Told by its first bytes and its tags."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image, TiffImagePlugin

from scene.errors import BadInput
from scene.heif import BRANDS

SAVE_AGAIN = "open it in a picture program and save it again"
DEVELOP = "develop it first and give the JPEG or TIFF"
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
IMAGE_BEGINS = (b"\xff\xd8\xff", b"\x89png", b"gif8", b"bm", b"ii*\0", b"mm\0*", b"riff")
BIG_TIFF_BEGINS = (b"II+\0", b"MM\0+")
TIFF_BEGINS = (b"II*\0", b"MM\0*", *BIG_TIFF_BEGINS)
# Camera raws that are no TIFF: Fujifilm, Canon (three generations), Olympus, Panasonic, Sigma,
# Minolta.
RAW_BEGINS = re.compile(
    rb"FUJIFILMCCD-RAW|....ftypcrx |II....HEAPCCDR|II\*\0....CR|II(RO|RS|U\0)|MM(OR)|FOVb|\0MRM",
    re.DOTALL,
)
SUBFILE_TYPE, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES = 254, 258, 259, 262, 277
SUB_IFDS, SAMPLE_FORMAT, DNG_VERSION = 330, 339, 50706
SENSOR_MOSAICS = (32803, 34892)  # PhotometricInterpretation: a colour filter array, linear raw
SAMPLE_KINDS = {1: "unsigned", 2: "signed", 3: "floating point", 5: "complex", 6: "complex"}
MAX_SUB_IFDS = 16
# What Pillow's reader of TIFF tags raises for damaged bytes.
DAMAGE = (OSError, SyntaxError, ValueError, KeyError, TypeError, IndexError, struct.error)
# XMP of Google's "Photo Sphere" vocabulary, as an attribute or as an element.
PROJECTION = re.compile(rb"GPano:ProjectionType\s*(?:=\s*[\"']|>)\s*(\w+)")


def check_kind(data: bytes) -> None:
    """Raise BadInput for a camera raw: decoders would show the small preview that it carries."""
    if RAW_BEGINS.match(data) or (data[:4] in TIFF_BEGINS and _is_raw_tiff(data)):
        raise BadInput(f"is a camera raw: {DEVELOP}")


def check_panorama(image: Image.Image) -> None:
    """Raise BadInput where the picture's XMP says that it is no pinhole camera's view."""
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    found = PROJECTION.search(xmp if isinstance(xmp, bytes) else str(xmp).encode())
    if found and found[1] != b"rectilinear":
        raise BadInput(
            f"is a panorama ({found[1].decode().lower()}), not one view: cut a view of at most 100 "
            "degrees out of it, with Hugin or the viewer that it came with"
        )


def why_unknown(data: bytes) -> str:
    """Why no decoder takes these bytes, as far as they tell."""
    start = data[:1024].lower().removeprefix(BOM)
    if data[:4] in TIFF_BEGINS and (layout := _tiff_layout(data)):
        return f"is a TIFF of {layout}, which is not supported: save it with 8 or 16 bits a channel"
    if start.startswith(IMAGE_BEGINS) or data[8:12] in (*BRANDS, b"avif", b"avis"):
        return f"is damaged (its header cannot be read): {SAVE_AGAIN}"
    mistaken = next((what for begin, what in MISTAKEN if re.match(begin, start, re.DOTALL)), None)
    if mistaken:
        return f"is not a picture in a known format but {mistaken}: save it as JPEG or PNG"
    return "is not a picture in a known format: save it as JPEG or PNG"


def tiff_tags(data: bytes, offset: int | None = None) -> Mapping[int, Any]:
    """The tags of a TIFF's first directory, or of the one at an offset; {} where it has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damaged tags
            header = data[: 16 if data[:4] in BIG_TIFF_BEGINS else 8]
            tags = TiffImagePlugin.ImageFileDirectory_v2(header)
            stream = io.BytesIO(data)
            stream.seek(tags.next if offset is None else offset)
            tags.load(stream)
            return {tag: tags[tag] for tag in tags}
    except DAMAGE:
        return {}


def _is_raw_tiff(data: bytes) -> bool:
    """Whether a TIFF holds a sensor's data: it says so, or begins with a preview of a sub-image."""
    first = tiff_tags(data)
    if DNG_VERSION in first or first.get(PHOTOMETRIC) in SENSOR_MOSAICS:
        return True
    if SUB_IFDS not in first:
        return False
    preview = bool(_number(first.get(SUBFILE_TYPE)) & 1)
    return preview or any(sub.get(PHOTOMETRIC) in SENSOR_MOSAICS for sub in _sub_images(data))


def _sub_images(data: bytes) -> Iterator[Mapping[int, Any]]:
    offsets = tiff_tags(data)[SUB_IFDS]
    for offset in (offsets if isinstance(offsets, tuple) else (offsets,))[:MAX_SUB_IFDS]:
        yield tiff_tags(data, _number(offset))


def _number(value: Any) -> int:
    """A tag's value as a number, 0 for none and for what a damaged file has there."""
    return value if isinstance(value, int) and value >= 0 else 0


def _tiff_layout(data: bytes) -> str:
    """How a TIFF keeps its pixels, in words; "" where its directory cannot be read."""
    tags = tiff_tags(data)
    bits = tags.get(BITS)
    if not isinstance(bits, tuple) or not bits or not all(isinstance(b, int) for b in bits):
        return ""
    formats = tags.get(SAMPLE_FORMAT)
    kind = SAMPLE_KINDS.get(formats[0], "unknown") if isinstance(formats, tuple) else "unsigned"
    count = _number(tags.get(SAMPLES)) or len(bits)
    return f"{count} channel{'s' * (count != 1)} of {bits[0]} bits ({kind})"
