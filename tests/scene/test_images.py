"""Photos and masks as people have them: unusual ones work, broken ones say what is wrong."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from scene.images import decode_photo
from scene.masks import decode_mask
from support import DATA

PIXELS = np.zeros((60, 90, 3), np.uint8)
PIXELS[:, :45], PIXELS[:20, 45:] = (250, 10, 10), (10, 10, 250)


def _file(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_exif_rotation_and_focal_length_are_used() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    exif.get_ifd(0x8769)[0xA405] = 28
    photo, details = decode_photo(_file(Image.fromarray(PIXELS), "JPEG", exif=exif), 2048)
    assert photo.rgb.shape == (90, 60, 3)
    assert details["focal_35mm"] == 28 and (details["width"], details["height"]) == (60, 90)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "LA", "1", "I;16"])
def test_unusual_modes_work(mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(PIXELS).convert(mode)
    photo, _ = decode_photo(_file(image, "TIFF" if mode == "CMYK" else "PNG"), 2048)
    assert photo.rgb.shape == (60, 90, 3) and photo.rgb.dtype == np.uint8
    assert photo.rgb[50, 10].max() > 60 and photo.rgb[50, 80].max() < 60


def test_animation_gives_its_first_frame_and_says_so() -> None:
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    data = _file(frames[0], "GIF", save_all=True, append_images=frames[1:])
    photo, details = decode_photo(data, 2048)
    assert photo.rgb[50, 10, 0] > 200 and "first of 2" in details["notes"][0]


def test_large_photos_are_reduced_and_it_is_said() -> None:
    photo, details = decode_photo(_file(Image.fromarray(PIXELS)), 45)
    assert photo.rgb.shape == (30, 45, 3)
    assert details["width"] == 90 and "worked on at 45 x 30" in details["notes"][0]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"no picture", "not a picture"),
        (_file(Image.fromarray(PIXELS))[:80], "damaged"),
        (_file(Image.fromarray(PIXELS[:1, :1])), "1 x 1"),
    ],
)
def test_broken_photos(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode_photo(data, 2048)


def test_bytes_that_crash_the_heic_decoder_are_refused() -> None:
    with pytest.raises(ValueError, match="is damaged"):
        decode_photo((DATA / "crash.heic").read_bytes(), 99)


def test_a_mask_instead_of_the_photo_is_recognised() -> None:
    alpha = Image.fromarray(PIXELS[..., 0])
    for colour in ("black", "red"):
        mask = Image.new("RGB", alpha.size, colour)
        mask.putalpha(alpha)
        with pytest.raises(ValueError, match="--mask"):
            decode_photo(_file(mask), 2048)


def test_masks_by_brightness_alpha_or_zero_and_one() -> None:
    expected = PIXELS[..., 0] > 100
    grey = Image.fromarray(expected.astype(np.uint8) * 255)
    alpha = Image.fromarray(PIXELS)
    alpha.putalpha(grey)
    ones = Image.fromarray(expected.astype(np.uint8))
    for image in (grey, grey.convert("1"), alpha, ones):
        np.testing.assert_array_equal(decode_mask(_file(image), 90, 60, [(90, 60)]), expected)


def test_masks_of_the_photos_full_size_are_reduced() -> None:
    grey = Image.fromarray((PIXELS[..., 0] > 100).astype(np.uint8) * 255)
    assert decode_mask(_file(grey), 45, 30, [(45, 30), (90, 60)]).shape == (30, 45)
    with pytest.raises(ValueError, match="expected 45 x 30"):
        decode_mask(_file(grey), 45, 30, [(45, 30)])


def _tiff(tags: dict[int, object], big: bool = False) -> bytes:
    """A small RGB TIFF with more tags, as raws begin."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, (kind, value) in tags.items():  # type: ignore[misc]
        info.tagtype[tag] = kind
        info[tag] = value
    return _file(Image.fromarray(PIXELS), "TIFF", tiffinfo=info, big_tiff=big)


BYTE, SHORT, LONG = 1, 3, 4
RAWS = {
    "DNG": _tiff({50706: (BYTE, b"\1\4\0\0"), 254: (LONG, 1)}),
    "full-size DNG": _tiff({50706: (BYTE, b"\1\4\0\0")}),
    "NEF, a preview before sub-images": _tiff({254: (LONG, 1), 330: (LONG, 8)}),
    "big TIFF": _tiff({50706: (BYTE, b"\1\4\0\0")}, big=True),
    "CR2": b"II*\0\x10\0\0\0CR\2\0" + bytes(99),
    "CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    "CRW": b"II\x1a\0\0\0HEAPCCDR\2\0",
    "RAF": b"FUJIFILMCCD-RAW 0201",
    "ORF": b"IIRO\x08\0\0\0",
    "RW2": b"IIU\0\x18\0\0\0",
}


@pytest.mark.parametrize("data", [*RAWS.values()], ids=[*RAWS])
def test_camera_raws_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="is a camera raw: develop it first"):
        decode_photo(data, 2048)


def test_a_tiff_with_smaller_copies_behind_it_is_a_photo() -> None:
    assert decode_photo(_tiff({254: (LONG, 0), 330: (LONG, 8)}), 99)[0].rgb.shape == (60, 90, 3)


def _panorama(kind: str, projection: str) -> bytes:
    text = f'<rdf:Description xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" {projection}'
    xmp = f"<x:xmpmeta>{text}</x:xmpmeta>".encode()
    if kind == "TIFF":
        return _tiff({700: (BYTE, xmp)})
    return _file(Image.fromarray(PIXELS), kind, xmp=xmp)


@pytest.mark.parametrize(
    "data",
    [
        _panorama("JPEG", 'GPano:ProjectionType="equirectangular"/>'),
        _panorama("JPEG", "><GPano:ProjectionType>equirectangular</GPano:ProjectionType>"),
        _panorama("WEBP", "GPano:ProjectionType='cylindrical'/>"),
        _panorama("AVIF", 'GPano:ProjectionType="equirectangular"/>'),
        _panorama("TIFF", 'GPano:ProjectionType="equirectangular"/>'),
    ],
    ids=["attribute", "element", "cylinder", "AVIF", "TIFF"],
)
def test_panoramas_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="is a panorama .*cut a view"):
        decode_photo(data, 2048)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_grey_of_fewer_bits_in_sixteen_is_not_black(bits: int) -> None:
    levels = np.linspace(0, 2**bits - 1, 60 * 90).reshape(60, 90).astype(np.uint16)
    photo, details = decode_photo(_file(Image.fromarray(levels)), 2048)
    assert photo.rgb[0, 0, 0] == 0 and photo.rgb[-1, -1, 0] == 255
    assert abs(int(photo.rgb[30, 0, 0]) - 128) <= 2
    assert ("".join(details["notes"]) != "") == (bits in (10, 12, 14))


@pytest.mark.parametrize("pixels", [PIXELS / 255, (PIXELS / 255).astype(np.float32)])
def test_a_float_tiff_in_colour_is_not_supported(pixels: np.ndarray) -> None:
    bits = pixels.dtype.itemsize * 8
    data = cv2.imencode(".tiff", pixels)[1].tobytes()
    told = rf"is a TIFF of 3 channels of {bits} bits .floating point., which is not supported"
    with pytest.raises(ValueError, match=told):
        decode_photo(data, 2048)
