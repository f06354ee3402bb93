"""Reads arrays of numbers as programs save them: NPY, NPZ, EXR and TIFF.

Headers are judged before memory is taken, and nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import io
import lzma
import math
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import IO

import cv2
import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image

from scene.errors import BadInput
from scene.file_kinds import TIFF_BEGINS as TIFF_BEGINS
from scene.file_kinds import tiff_tags
from scene.images import MAX_MEGAPIXELS, hushed

NPY_BEGINS, ZIP_BEGINS, EXR_BEGINS = b"\x93NUMPY", b"PK\x03\x04", b"\x76\x2f\x31\x01"
TIFF_WIDTH, TIFF_HEIGHT = 256, 257
# What the readers raise for damaged bytes, found by feeding them such.
READ_ERRORS = (
    OSError, ValueError, EOFError, KeyError, IndexError, TypeError, AttributeError, SyntaxError,
    OverflowError, RuntimeError, NotImplementedError, struct.error, zlib.error, cv2.error,
    lzma.LZMAError, zipfile.BadZipFile, tokenize.TokenError, Image.DecompressionBombError,
)  # fmt: skip


def read_npy(stream: IO[bytes]) -> NDArray:
    """One array of numbers or truth values."""
    version = npy.read_magic(stream)
    header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran_order, dtype = header(stream)
    if dtype.kind not in "biuf":
        raise BadInput(f"expected numbers, got {dtype} {shape}")
    check_count(*shape)
    data = stream.read(math.prod(shape) * dtype.itemsize)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")


def read_npz(data: bytes, *alternatives: Sequence[str], expected: str) -> list[NDArray | None]:
    """For each list of names the first that the file has, None without one.

    Raises BadInput, saying what was expected, where the first list finds nothing; an only array is
    found by any name where that list has "".
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [n.removesuffix(".npy") for n in archive.namelist()]
        found = [next((n for n in choice if n in names), None) for choice in alternatives]
        if found[0] is None and "" in alternatives[0] and len(names) == 1:
            found[0] = names[0]
        if found[0] is None:
            listed = f"has {', '.join(names)}" if names else "is empty"
            raise BadInput(f"{listed}; expected {expected}")
        return [None if name is None else _member(archive, name) for name in found]


def _member(archive: zipfile.ZipFile, name: str) -> NDArray:
    with archive.open(f"{name}.npy") as member:
        return read_npy(member)


def read_exr(data: bytes) -> dict[str, NDArray]:
    """Every channel (H, W) over the display window, NaN (or 0) outside its data, by its full name.

    A part's name goes before its channels' where there are several parts.
    """
    import OpenEXR

    # The library reads paths only, and prints about damage by itself, from Python and from C.
    with (
        tempfile.NamedTemporaryFile(suffix=".exr") as copy,
        hushed(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        copy.write(data)
        copy.flush()
        for part in OpenEXR.File(copy.name, header_only=True).parts:
            for window in ("dataWindow", "displayWindow"):
                low, high = part.header[window]
                check_count(*(int(v) + 1 for v in high - low))
        parts = OpenEXR.File(copy.name, separate_channels=True).parts
        several = len(parts) > 1
        return {
            f"{part.name()}.{name}" if several and part.name() else name: _framed(
                channel.pixels, part.header
            )
            for part in parts
            for name, channel in part.channels.items()
        }


def _framed(pixels: NDArray, header: Mapping[str, NDArray]) -> NDArray:
    """A channel's pixels (h, w) where they lie in the display window (H, W)."""
    (x0, y0), (x1, y1) = (corner.tolist() for corner in header["dataWindow"])
    (left, top), (right, bottom) = (corner.tolist() for corner in header["displayWindow"])
    if (x0, y0, x1, y1) == (left, top, right, bottom):
        return pixels
    rows, columns = np.arange(top, bottom + 1) - y0, np.arange(left, right + 1) - x0
    has_rows = (rows >= 0) & (rows < pixels.shape[0])
    has_columns = (columns >= 0) & (columns < pixels.shape[1])
    nothing = 0 if pixels.dtype.kind in "iu" else np.nan
    framed = np.full((len(rows), len(columns)), nothing, pixels.dtype)
    framed[np.ix_(has_rows, has_columns)] = pixels[np.ix_(rows[has_rows], columns[has_columns])]
    return framed


def read_tiff(data: bytes) -> NDArray:
    """The first page (H, W) or (H, W, C) of a TIFF of any number format; colours as R, G, B."""
    tags = tiff_tags(data)
    check_count(int(tags[TIFF_HEIGHT]), int(tags[TIFF_WIDTH]))
    with hushed():
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise BadInput("its numbers are of a kind that is not supported; save it as float32")
    return pixels[..., ::-1] if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels


def check_count(*shape: int) -> None:
    """A depth map may be as large as a photo; points have three numbers a pixel."""
    if min(shape, default=0) < 0 or math.prod(shape) > 3e6 * MAX_MEGAPIXELS:
        raise BadInput(f"shape {shape} is impossible, at most {MAX_MEGAPIXELS} megapixels are read")
