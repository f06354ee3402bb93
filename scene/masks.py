"""Reads masks and label maps as programs save them: which pixels are the object, which are which?

A mask's transparency decides where it varies, else its brightness: above half of its range is the
object. One label besides the background (0, black) and "ignore" (255) is the object, too; several
are refused, and are what a label map is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scene.errors import BadInput
from scene.images import full_scale, orientation_remedy
from scene.mask_files import Drawn, read_drawn
from scene.types import Bool

IGNORE, VOC_IGNORE = 255, 0xE0E0C0  # what PASCAL VOC gives the borders of objects, and its colour
# A label's pixels lie beside their like; a soft edge's, or those of JPEG's ripples, do not.
MIN_LABEL_PX = 16
MIN_FLAT_FRACTION = 0.3  # of a label's pixels, those with four like neighbours
MIN_AREA_FRACTION = 0.05  # of a soft picture's bright pixels: an area of one level that is a label
SAME_FRACTION = 1 / 16  # of the range: levels so near each other are one area's
WHITE_FRACTION = 0.75  # of the range: such levels are shades of white
MAX_BETWEEN_FRACTION = 0.4  # of the pixels, neither background nor object: then it is no mask
OTHER_COLOUR, MAX_OTHER_FRACTION = 48, 0.05  # levels; of the object's pixels
RIM_FRACTION = 0.1  # of the contacts with the background: an area with fewer lies behind a rim
MAX_PALETTE_LABELS = 8  # a palette of so few colours is no picture's
SHOWN_LABELS = 6
MANY_COLOURS = (
    "has many colours and no area of one: is it the photo? Paint the object white, the rest black"
)
REMEDY = "give it with --label-map, or save one file per object"


class NamedObjects(NamedTuple):
    """The objects of one file: name and pixels (H, W) at the file's size, drawn one at a time; and
    what was left out, in words."""

    objects: Iterator[tuple[str, Bool]]
    notes: tuple[str, ...] = ()


class _Counted(NamedTuple):
    """The distinct codes of a mask, their pixels, and those of them with four like neighbours."""

    values: NDArray
    counts: NDArray
    flat: NDArray


def decode_mask(
    data: bytes,
    width: int,
    height: int,
    sizes: list[tuple[int, int]],
    turned: str | None = None,
) -> Bool:
    """(height, width) bool: the object's pixels in a mask file.

    sizes are the (width, height) that the file may have; it is resampled to the working size
    (nearest). turned: how EXIF turns the photo, as `images.orientation_of` says.
    """
    drawn = read_drawn(data)
    _check_size(drawn, sizes, turned)
    pixels = drawn.opaque if drawn.opaque is not None else _object_of(drawn)
    if pixels.shape != (height, width):
        small = Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
        pixels = np.asarray(small)
    return pixels


def decode_label_map(data: bytes) -> NamedObjects:
    """Every label of a label map as an object of its own, by rising number.

    Raises BadInput where the file has soft edges, or no label.
    """
    drawn = read_drawn(data)
    codes = _codes(drawn.pixels)
    if drawn.opaque is not None:
        codes = np.where(drawn.opaque, codes, 0)
    counted = _count(codes)
    if not _are_labels(drawn, counted):
        raise BadInput(
            f"has {len(counted.values)} levels with soft edges, not labels: save it as PNG without "
            "smoothing or JPEG, or give one --mask per object"
        )
    colours = drawn.pixels.ndim == 3
    if colours and 0 not in counted.values:
        raise BadInput("has no black, which is the background: paint that black")
    labels, ignored = _split(drawn, codes, counted)
    if not labels:
        raise BadInput("has no label besides the background (0): is it the right file?")
    notes = [f"label {_named(v, colours)} means 'ignore' and is left out" for v in ignored]
    if 0 not in counted.values:
        notes.append("has no background (0): every label is an object")
    objects = ((f"object {_named(v, colours)}", codes == v) for v in labels)
    return NamedObjects(objects, tuple(notes))


def _check_size(drawn: Drawn, sizes: list[tuple[int, int]], turned: str | None) -> None:
    height, width = drawn.pixels.shape[:2]
    if (width, height) in sizes:
        return
    if (height, width) in sizes:
        remedy = "remove its own EXIF orientation" if drawn.turned else orientation_remedy(turned)
        raise BadInput(
            f"is {width} x {height} pixels, the photo's {height} x {width} turned: {remedy}"
        )
    expected = " or ".join(f"{w} x {h}" for w, h in dict.fromkeys(sizes))
    raise BadInput(
        f"is {width} x {height} pixels, expected {expected}: export it at the photo's size"
    )


def _codes(pixels: NDArray) -> NDArray:
    """One number per pixel (H, W): the level, or the colour as 0xRRGGBB."""
    if pixels.ndim == 3:
        red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
        return red << 16 | green << 8 | blue
    if pixels.dtype == bool:
        return pixels.astype(np.uint8)
    return np.nan_to_num(pixels, posinf=0, neginf=0) if pixels.dtype.kind == "f" else pixels


def _count(codes: NDArray) -> _Counted:
    values, counts = _distinct(codes)
    if len(values) <= 2:
        return _Counted(values, counts, counts)
    inner = codes[1:-1, 1:-1]
    like = (inner == codes[:-2, 1:-1]) & (inner == codes[2:, 1:-1])
    like &= (inner == codes[1:-1, :-2]) & (inner == codes[1:-1, 2:])
    flat = np.zeros_like(counts)
    some, numbers = _distinct(inner[like])
    flat[np.searchsorted(values, some)] = numbers
    return _Counted(values, counts, flat)


def _distinct(codes: NDArray) -> tuple[NDArray, NDArray]:
    """The distinct codes, rising, and how often each is met."""
    if codes.dtype in (np.uint8, np.uint16):
        counts = np.bincount(codes.ravel())
        values = np.flatnonzero(counts)
        return values, counts[values]
    return np.unique(codes, return_counts=True)


def _are_labels(drawn: Drawn, counted: _Counted) -> bool:
    """Whether most values are met in areas, not on soft edges only; all are whole numbers."""
    values = counted.values
    if drawn.exact is False or (drawn.exact and len(values) <= MAX_PALETTE_LABELS):
        return bool(drawn.exact)
    if not np.array_equal(values, np.rint(values)):
        return False
    named = values != 0
    areas = (counted.flat >= MIN_LABEL_PX) & (counted.flat >= MIN_FLAT_FRACTION * counted.counts)
    return named.sum() <= 1 or bool((areas & named).sum() > named.sum() / 2)


def _ignore_label(drawn: Drawn, counted: _Counted) -> int:
    """The label that may mean "ignore" in such a file."""
    if drawn.pixels.ndim == 3:
        return VOC_IGNORE
    return IGNORE if counted.values[-1] <= IGNORE else 65535


def _split(drawn: Drawn, codes: NDArray, counted: _Counted) -> tuple[list[int], list[int]]:
    """The labels besides the background, and those that mean "ignore".

    White beside shades of grey only means it where it lies between them and the background.
    """
    ignored = _ignore_label(drawn, counted)
    labels = [v for v in counted.values.tolist() if v > 0 and v != ignored]
    left_out = [v for v in counted.values.tolist() if v < 0 or v == ignored]
    if not labels:
        return [v for v in left_out if v > 0], [v for v in left_out if v < 0]
    painted = drawn.pixels.ndim == 2 and not drawn.exact and min(labels) > ignored / 4
    if painted and ignored in left_out:
        of_labels, of_ignored = _contacts(codes, labels), _contacts(codes, [ignored])
        if of_labels >= RIM_FRACTION * of_ignored:
            return [*labels, ignored], [v for v in left_out if v != ignored]
    return labels, left_out


def _object_of(drawn: Drawn) -> Bool:
    """The object's pixels by brightness or by its only label; BadInput where neither decides."""
    codes = _codes(drawn.pixels)
    counted = _count(codes)
    values = counted.values
    labels = _are_labels(drawn, counted)
    if values[0] < 0 and not (labels and drawn.pixels.dtype.kind == "i"):
        raise BadInput(
            f"has values from {values[0]:g} to {values[-1]:g}: expected 0 to 1 or 0 to 255; "
            "save it as black and white"
        )
    one_label = len(values) == 1 or (len(values) == 2 and values[0] == 0)
    if one_label and drawn.exact is not False:
        return codes != 0
    top = 255.0 if drawn.pixels.ndim == 3 else full_scale(drawn.pixels)
    black_and_white = values[0] <= top / 4 and values[1] >= WHITE_FRACTION * top
    if len(values) == 2 and drawn.pixels.ndim == 2 and not drawn.exact and black_and_white:
        return codes > top / 2
    if labels:
        return _only_label(drawn, codes, counted, top)
    if drawn.exact:
        raise BadInput(MANY_COLOURS)
    return _brighter(drawn.pixels, codes, counted, top)


def _only_label(drawn: Drawn, codes: NDArray, counted: _Counted, top: float) -> Bool:
    """The pixels of the only label besides the background and "ignore"."""
    colours = drawn.pixels.ndim == 3
    labels, _ = _split(drawn, codes, counted)
    if counted.values[counted.values >= 0][0] != 0:
        listed = _listed(labels, colours)
        raise BadInput(f"has {listed} and no background, which is 0 (black): paint that black")
    if len(labels) == 1:
        return codes == labels[0]
    if len(labels) == 2 and labels[1] == _ignore_label(drawn, counted):
        # Grey and white, as `_split` found: the rim of a white object, or two shades of white?
        of_grey, of_white = _contacts(codes, labels[:1]), _contacts(codes, labels[1:])
        if of_white < RIM_FRACTION * of_grey or labels[0] > (1 - SAME_FRACTION) * top:
            return codes > top / 2
    raise BadInput(f"has {_listed(labels, colours)} besides the background: {REMEDY}")


def _contacts(codes: NDArray, labels: list[int]) -> int:
    """How many pixels of these labels have a neighbour of the background."""
    of_labels, nothing = np.isin(codes, labels), codes == 0
    across = (of_labels[:, 1:] & nothing[:, :-1]).sum() + (of_labels[:, :-1] & nothing[:, 1:]).sum()
    return int(across + (of_labels[1:] & nothing[:-1]).sum() + (of_labels[:-1] & nothing[1:]).sum())


def _brighter(pixels: NDArray, codes: NDArray, counted: _Counted, top: float) -> Bool:
    """The pixels of a soft picture above half of its white, or of the only colour that fills an
    area; BadInput where several do, or most pixels are in between.
    """
    colours = pixels.ndim == 3
    areas = _areas(counted, top, colours)
    if len(areas) > 1:
        listed = _listed(areas, colours)
        raise BadInput(f"has soft edges and {listed}: save one file per object, white on black")
    if colours and not areas:
        raise BadInput(MANY_COLOURS)
    lit = _rgb(areas[:1])[0] if colours else np.array([areas[0] if areas else top])
    if not colours and lit[0] >= WHITE_FRACTION * top:
        lit = np.array([top])
    fraction = pixels.reshape(*pixels.shape[:2], -1) @ (lit / (lit @ lit))
    if colours:
        _check_other_colours(pixels, fraction, lit)
    between = float(((fraction > 0.25) & (fraction < 0.75)).mean())
    if between > MAX_BETWEEN_FRACTION:
        raise BadInput(
            f"is neither black nor white in {between:.0%} of its pixels: is it a mask? Paint the "
            "object white, the rest black"
        )
    return fraction > 0.5


def _check_other_colours(pixels: NDArray, fraction: NDArray, lit: NDArray) -> None:
    """Raise BadInput where many pixels are no shade (H, W) of the object's colour."""
    off = np.abs(pixels - fraction[..., None] * lit).max(-1) > OTHER_COLOUR
    others = float((off & (pixels.max(-1) > OTHER_COLOUR)).sum() / max(1, (fraction > 0.5).sum()))
    if others > MAX_OTHER_FRACTION:
        colour = _named(int(lit @ (65536, 256, 1)), True)
        raise BadInput(
            f"has other colours beside {colour}, soft edges, and no two clear labels: save one "
            "file per object, white on black"
        )


def _areas(counted: _Counted, top: float, colours: bool) -> list[int]:
    """One code for every area of a bright level or colour in a soft picture; shades are one."""
    vectors = _rgb(counted.values) if colours else counted.values[:, None]
    bright = vectors.max(1) > SAME_FRACTION * top
    wide = counted.flat >= max(MIN_LABEL_PX, MIN_AREA_FRACTION * counted.counts[bright].sum())
    found: list[tuple[NDArray, int]] = []
    for index in np.flatnonzero(bright & wide):
        vector = vectors[index]
        if (vector >= WHITE_FRACTION * top).all():
            vector = np.full_like(vector, top)
        if all(np.abs(other - vector).max() > SAME_FRACTION * top for other, _ in found):
            found.append((vector, counted.values[index].item()))
    return [code for _, code in found]


def _rgb(codes: NDArray | list[int]) -> NDArray:
    """(N, 3) of codes 0xRRGGBB."""
    whole = np.asarray(codes, np.int64)
    return np.stack([whole >> 16 & 255, whole >> 8 & 255, whole & 255], -1)


def _listed(codes: list[int], colours: bool) -> str:
    """How many labels, and the first of them."""
    shown = ", ".join(_named(code, colours) for code in codes[:SHOWN_LABELS])
    more = ", ..." if len(codes) > SHOWN_LABELS else ""
    return f"{len(codes)} label{'s' * (len(codes) != 1)} ({shown}{more})"


def _named(code: int | float, colours: bool) -> str:
    return f"#{int(code):06x}" if colours else f"{code:g}"
