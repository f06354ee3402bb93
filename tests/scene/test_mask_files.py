"""Masks and label maps as ten programs write them are read right, or refused with the reason."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFilter, TiffImagePlugin

import scene.mask_files
from scene.errors import BadInput
from scene.masks import decode_label_map, decode_mask
from scene.types import Bool, Uint8
from support.corpus import encoded

WIDTH, HEIGHT = 120, 90


def _disc(x: float, y: float, radius: float) -> Bool:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


A, B = _disc(45, 40, 23), _disc(95, 60, 15)
RING = _disc(45, 40, 27) & ~A
WHITE = A.astype(np.uint8) * 255
SOFT = np.asarray(Image.fromarray(WHITE).filter(ImageFilter.GaussianBlur(2)))
SCENE = np.random.default_rng(0).integers(9, 255, (9, 12, 3), np.uint8)
PHOTO = np.asarray(Image.fromarray(SCENE).resize((WIDTH, HEIGHT)))
GREY = PHOTO[..., 0]
BORDERED = (A * 15 + RING * 255).astype(np.uint8)
TWO = (A + 2 * B).astype(np.uint8)
RED = np.where(A[..., None], np.uint8([128, 0, 0]), np.uint8(0))
VOC = [(15, (192, 128, 128)), (255, (224, 224, 192)), (1, (128, 0, 0)), (2, (0, 128, 0))]


def _array(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _arrays(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def _exr(tmp_path, **channels: np.ndarray) -> bytes:
    import OpenEXR

    path = tmp_path / "mask.exr"
    header = {"type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {name.replace("_", "."): c for name, c in channels.items()}).write(
        str(path)
    )
    return path.read_bytes()


def _cv(suffix: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def _indexed(labels: Uint8) -> Image.Image:
    """A palette picture in PASCAL VOC's colours."""
    palette = np.zeros((256, 3), np.uint8)
    for index, colour in VOC:
        palette[index] = colour
    image = Image.frombytes("P", (WIDTH, HEIGHT), labels.tobytes())
    image.putpalette(palette.tobytes())
    return image


def _cut_out(alpha: Uint8 = WHITE) -> Image.Image:
    return Image.fromarray(np.dstack([PHOTO, alpha]))


def _reads(data: bytes, at_least: float = 1.0) -> None:
    found = decode_mask(data, WIDTH, HEIGHT, [(WIDTH, HEIGHT)])
    assert (found & A).sum() / (found | A).sum() >= at_least


HALF = {
    "8 bits": lambda: encoded(SOFT, "PNG"),
    "16 bits": lambda: encoded(SOFT.astype(np.uint16) * 257, "PNG"),
    "12 bits in 16": lambda: encoded(SOFT.astype(np.uint16) * 16, "PNG"),
    "8 bits in 16": lambda: _cv(".png", SOFT.astype(np.uint16)),
    "16 bits, two levels": lambda: _cv(".png", A.astype(np.uint16) * 65535),
    "16 bits, 0 and 1": lambda: encoded(A.astype(np.uint16), "PNG"),
    "TIFF of 16 bits": lambda: _cv(".tiff", SOFT.astype(np.uint16) * 257),
    "TIFF of floats": lambda: encoded((SOFT / 255).astype(np.float32), "TIFF"),
    "TIFF of floats to 255": lambda: encoded(SOFT.astype(np.float32), "TIFF"),
    "TIFF of doubles": lambda: _cv(".tiff", SOFT / 255),
    "TIFF of 32-bit integers": lambda: encoded(A.astype(np.int32), "TIFF"),
    "floats with NaN": lambda: encoded(np.where(A, 1, np.nan).astype(np.float32), "TIFF"),
    "numpy, truth values": lambda: _array(A),
    "numpy, probabilities": lambda: _array(SOFT / 255),
    "numpy, half": lambda: _array((SOFT / 255).astype(np.float16)),
    "numpy, with a channel": lambda: _array(WHITE[..., None]),
    "numpy archive": lambda: _arrays(mask=A),
    "one bit": lambda: encoded(Image.fromarray(A), "TIFF", compression="group4"),
    "JPEG": lambda: encoded(WHITE, "JPEG", quality=60),
    "JPEG of grey 128": lambda: encoded(A.astype(np.uint8) * 128, "JPEG"),
    "WebP": lambda: encoded(np.dstack([WHITE] * 3), "WEBP", quality=60),
    "colours of 16 bits": lambda: _cv(".png", np.dstack([A.astype(np.uint16) * 65535] * 3)),
    "video levels": lambda: encoded(np.where(A, 235, 16).astype(np.uint8), "PNG"),
    "CMYK": lambda: encoded(Image.fromarray(np.dstack([WHITE] * 3)).convert("CMYK"), "TIFF"),
}  # fmt: skip
TRANSPARENT = {
    "RGBA": lambda: encoded(_cut_out(), "PNG"),
    "soft RGBA": lambda: encoded(_cut_out(SOFT), "PNG"),
    "palette": lambda: encoded(_cut_out().quantize(64), "PNG"),
    "palette, one clear index": lambda: encoded(_indexed(TWO & 1), "PNG", transparency=0),
    "GIF": lambda: encoded(_cut_out(), "GIF"),
    "tRNS of RGB": lambda: encoded(
        np.where(A[..., None], PHOTO, np.uint8(7)), "PNG", transparency=(7, 7, 7)),
    "tRNS of grey": lambda: encoded(np.where(A, GREY, np.uint8(7)), "PNG", transparency=7),
    "tRNS of 16 bits": lambda: encoded(
        np.where(A, GREY.astype(np.uint16) + 999, 7).astype(np.uint16), "PNG", transparency=7),
    "LA": lambda: encoded(_cut_out().convert("LA"), "PNG"),
    "TIFF": lambda: encoded(_cut_out(), "TIFF", compression="tiff_lzw"),
    "TIFF of LA": lambda: encoded(_cut_out().convert("LA"), "TIFF"),
    "WebP": lambda: encoded(_cut_out(), "WEBP"),
    "RGBA of 16 bits": lambda: _cv(
        ".png", np.dstack([PHOTO, WHITE]).astype(np.uint16) * 257),
    "nearly opaque": lambda: encoded(
        np.dstack([WHITE] * 3 + [np.where(B, 254, 255).astype(np.uint8)]), "PNG"),
    "clear all over": lambda: encoded(np.dstack([WHITE] * 3 + [WHITE * 0]), "PNG"),
}  # fmt: skip
ONE_LABEL = {
    "VOC index": lambda: encoded(_indexed(BORDERED), "PNG"),
    "VOC index as grey": lambda: encoded(BORDERED, "PNG"),
    "VOC colours": lambda: encoded(_indexed(BORDERED).convert("RGB"), "PNG"),
    "VOC, class 1": lambda: encoded(np.where(BORDERED == 15, 1, BORDERED), "PNG"),
    "grey with a white border": lambda: encoded(np.where(A, 128, BORDERED), "PNG"),
    "a dark colour": lambda: encoded(RED, "PNG"),
    "a dark colour in JPEG": lambda: encoded(RED, "JPEG"),
    "a dark colour, smoothed": lambda: encoded(
        Image.fromarray(RED).filter(ImageFilter.GaussianBlur(1)), "PNG"),
    "a label of 16 bits": lambda: encoded(A.astype(np.uint16) * 26001, "PNG"),
    "a label in floats": lambda: encoded(A.astype(np.float32) * 7, "TIFF"),
    "a label, -1 ignored": lambda: _array(A.astype(np.int64) - RING),
    "a bitmap of one colour": lambda: _cv(".bmp", RED[..., ::-1]),
    "black second in the palette": lambda: encoded(
        Image.fromarray(RED).quantize(4).remap_palette([1, 0]), "PNG"),
}  # fmt: skip


@pytest.mark.parametrize(("software", "photometric"), [("tifffile.py", 0), ("", 1)])
def test_bits_that_tifffile_wrote_are_true_where_they_are_set(
    software: str, photometric: int
) -> None:
    """It marks a boolean array as "white is zero", and reads it without minding that."""
    out = io.BytesIO()
    info = {TiffImagePlugin.SOFTWARE: software} if software else {}
    Image.fromarray(A).save(out, "TIFF", tiffinfo=info)
    data, at = out.getvalue(), TiffImagePlugin.PHOTOMETRIC_INTERPRETATION
    entry = struct.pack("<HHII", at, 3, 1, 1)
    assert data.count(entry) == 1
    _reads(data.replace(entry, struct.pack("<HHII", at, 3, 1, photometric)), 0.97)


def test_a_mistake_of_the_reader_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene.mask_files, "ON_ITS_SIDE", 5)  # `in` wants several
    with pytest.raises(TypeError):
        decode_mask(encoded(A, "PNG"), *A.shape[::-1], [A.shape[::-1]])


@pytest.mark.parametrize("data", [*HALF.values()], ids=[*HALF])
def test_above_half_of_the_range_is_the_object(data: Callable[[], bytes]) -> None:
    _reads(data(), 0.97)


@pytest.mark.parametrize("data", [*TRANSPARENT.values()], ids=[*TRANSPARENT])
def test_transparency_decides_however_it_is_kept(data: Callable[[], bytes]) -> None:
    _reads(data(), 0.97)


@pytest.mark.parametrize("data", [*ONE_LABEL.values()], ids=[*ONE_LABEL])
def test_one_label_besides_background_and_border_is_the_object(data: Callable[[], bytes]) -> None:
    _reads(data(), 0.97)


@pytest.mark.parametrize(
    "channels",
    [
        {"Y": A.astype(np.float32)},
        {"A": A.astype(np.float16)},
        {name: A.astype(np.float16) for name in "RGBA"},
        {**{name: GREY.astype(np.float32) for name in "RGB"}, "A": A.astype(np.float32)},
        {"ViewLayer_IndexOB_X": A.astype(np.float32) * 3},
        {"id": A.astype(np.uint32)},
    ],
    ids=lambda channels: ",".join(channels),
)
def test_masks_in_exr(channels: dict[str, np.ndarray], tmp_path) -> None:
    _reads(_exr(tmp_path, **channels))


def _smoothed(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels.astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))


COLOURS = np.where(B[..., None], np.uint8([20, 200, 60]), RED)
MANY = np.add.outer(np.arange(HEIGHT) // 18, np.arange(WIDTH) // 24 * 5).astype(np.uint8)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encoded(TWO, "PNG"), "2 labels .1, 2. besides the background: give it with --label-map"),
        (encoded(_indexed(TWO), "PNG"), "2 labels .1, 2."),
        (encoded(TWO.astype(np.uint16) * 1000, "PNG"), "2 labels .1000, 2000."),
        (encoded(TWO.astype(np.float32), "TIFF"), "2 labels .1, 2."),
        (encoded(MANY, "PNG"), "24 labels .1, 2, 3, 4, 5, 6, ..."),
        (encoded(COLOURS, "PNG"), "2 labels .#14c83c, #800000."),
        (encoded(COLOURS, "JPEG"), "soft edges"),
        (encoded(_smoothed(A * 100 + B * 200), "PNG"), "soft edges and 2 labels .100, 200."),
        (encoded((A * 128 + B * 255).astype(np.uint8), "PNG"), "2 labels .128, 255."),
        (encoded(TWO + 1, "PNG"), "no background"),
        (encoded(PHOTO, "PNG"), "is it the photo"),
        (encoded(GREY, "PNG"), "neither black nor white"),
        (encoded(_cut_out().convert("RGB").quantize(64), "GIF"), "is it the photo"),
        (_array(SOFT / 10.0 - 9), "expected 0 to 1"),
        (_array(np.stack([A, B])), "shape .2, 90, 120."),
        (_array(np.array([{}], object)), "expected numbers"),
        (encoded(WHITE, "TIFF", save_all=True, append_images=[Image.fromarray(WHITE)]), "2 pages"),
    ],
)
def test_what_may_mean_several_things_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        decode_mask(data, WIDTH, HEIGHT, [(WIDTH, HEIGHT)])


def test_unlike_channels_of_an_exr_are_listed(tmp_path) -> None:
    data = _exr(tmp_path, a_X=A.astype(np.float32), b_X=B.astype(np.float32))
    with pytest.raises(BadInput, match="channels a.X, b.X"):
        decode_mask(data, WIDTH, HEIGHT, [(WIDTH, HEIGHT)])


def _turned(orientation: int, kind: str, pixels: Uint8) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(pixels, kind, exif=exif)


@pytest.mark.parametrize(
    ("orientation", "kind", "stored"),
    [
        (3, "PNG", WHITE[::-1, ::-1]),
        (6, "PNG", np.rot90(WHITE)),
        (8, "TIFF", np.rot90(WHITE, -1)),
        (6, "WEBP", np.dstack([np.rot90(WHITE)] * 3)),
        (5, "JPEG", WHITE.T),
        (2, "TIFF", WHITE[:, ::-1]),
    ],
)
def test_a_masks_own_orientation_is_applied(orientation: int, kind: str, stored: Uint8) -> None:
    _reads(_turned(orientation, kind, np.ascontiguousarray(stored)), 0.98)


def test_a_mask_on_its_side_is_told_how_to_turn() -> None:
    lying = np.ascontiguousarray(np.rot90(WHITE))
    size, told = [(WIDTH, HEIGHT)], "by 90 degrees clockwise"
    with pytest.raises(
        BadInput, match=f"the photo's 120 x 90 turned: turn it {told}, as the photo"
    ):
        decode_mask(encoded(lying, "PNG"), WIDTH, HEIGHT, size, told)
    with pytest.raises(BadInput, match="turned: turn it by 90 degrees$"):
        decode_mask(_array(lying), WIDTH, HEIGHT, size)
    with pytest.raises(BadInput, match="turned: remove its own EXIF orientation"):
        decode_mask(_turned(6, "PNG", WHITE), WIDTH, HEIGHT, size)


@pytest.mark.parametrize(
    ("data", "names", "note"),
    [
        (encoded(TWO, "PNG"), ["object 1", "object 2"], ""),
        (encoded(_indexed(np.maximum(TWO, RING * np.uint8(255))), "PNG"), ["object 1", "object 2"],
         "label 255 means 'ignore'"),
        (encoded(TWO.astype(np.uint16) * 255, "PNG"), ["object 255", "object 510"], ""),
        (encoded(COLOURS, "BMP"), ["object #800000", "object #14c83c"], ""),
        (encoded(COLOURS, "WEBP", lossless=True), ["object #800000", "object #14c83c"], ""),
        (encoded((A * 128 + B * 255).astype(np.uint8), "PNG"), ["object 128", "object 255"], ""),
        (encoded(TWO.astype(np.int32) - RING, "TIFF"), ["object 1", "object 2"], "label -1"),
        (_arrays(labels=TWO.astype(np.int64)), ["object 1", "object 2"], ""),
        (encoded(Image.fromarray(COLOURS).quantize(8), "GIF"), ["object #800000", "object #14c83c"],
         ""),
    ],
)  # fmt: skip
def test_a_label_map_gives_one_object_per_label(data: bytes, names: list[str], note: str) -> None:
    found = decode_label_map(data)
    objects = dict(found.objects)
    np.testing.assert_array_equal(objects[names[0]], A)
    np.testing.assert_array_equal(objects[names[1]], B)
    assert len(objects) == 2 and note in "".join(found.notes) and bool(note) == bool(found.notes)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encoded(SOFT, "PNG"), "soft edges"),
        (encoded(COLOURS, "JPEG"), "JPEG"),
        (encoded(TWO * 0, "PNG"), "no label"),
        (encoded(255 - COLOURS, "PNG"), "no black"),
        (encoded(PHOTO, "PNG"), "soft edges"),
        (encoded(_cut_out().quantize(64), "PNG"), "soft edges"),
    ],
)
def test_label_maps_without_clear_labels_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        decode_label_map(data)
