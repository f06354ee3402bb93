"""Photos and masks as people have them: unusual ones work, broken ones say what is wrong."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scene.masks import decode_mask
from scene.pictures import decode_photo

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
        decode_photo((Path(__file__).with_name("data") / "crash.heic").read_bytes(), 99)


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
