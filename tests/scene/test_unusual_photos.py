"""Do merely unusual photos give a scene, each as a person would expect to see it?"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from flows.compute import produce
from flows.steps import photo as photo_step
from photoscene.inputs.request import Arguments, build_request
from scene.images import decode_photo
from scene.store import Store
from scene.types import Uint8
from stages.devices import ModelPool
from support.corpus import DATA, encoded, flipped
from support.small_photo import call

# Small, not square, and different in every corner: a turned or mirrored picture is noticed.
WIDTH, HEIGHT = 96, 64
BOX = (24, 12, 72, 52)  # x0, y0, x1, y1 of the object
RED, BLUE, GREY = (200, 60, 40), (50, 90, 190), (190, 190, 190)
TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
}  # fmt: skip
# A profile with the sRGB curve but the red, green and blue of Display P3 (SMPTE EG 432-1, D50).
P3_COLUMNS = {b"rXYZ": (0.5151, 0.2412, -0.0011), b"gXYZ": (0.2920, 0.6922, 0.0419),
              b"bXYZ": (0.1571, 0.0666, 0.7841)}  # fmt: skip


def drawn() -> Uint8:
    """(H, W, 3): a red object with a blue top right corner, on grey that brightens to the right."""
    rgb = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    rgb[:, :, :] += np.linspace(0, 40, WIDTH).astype(np.uint8)[None, :, None]
    x0, y0, x1, y1 = BOX
    rgb[y0:y1, x0:x1] = RED
    rgb[y0 : y0 + 16, x1 - 16 : x1] = BLUE
    return rgb


def picture(mode: str = "RGB") -> Image.Image:
    """The drawing in a Pillow mode."""
    return Image.fromarray(drawn()).convert(mode)


def turned(orientation: int, kind: str = "PNG") -> bytes:
    """Stored so that EXIF's orientation makes it upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = picture()
    if orientation in TRANSPOSED:
        image = image.transpose(TRANSPOSED[orientation])
    return encoded(image, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))


def see_through(mode: str) -> bytes:
    """Transparent around the object."""
    x0, y0, x1, y1 = BOX
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[y0:y1, x0:x1] = 255
    image = picture("L" if mode == "LA" else "RGB")
    image.putalpha(Image.fromarray(alpha))
    return encoded(image, "PNG")


def see_through_palette() -> bytes:
    """A palette picture whose background colour is transparent."""
    image = picture().quantize(8)
    pixels = np.asarray(image).copy()
    clear = pixels[0, 0]
    inside = pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]].copy()
    assert clear not in inside
    pixels[:] = clear
    pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = inside
    palette = image.getpalette()
    image = Image.fromarray(pixels, "P")
    image.putpalette(palette or [])
    return encoded(image, "PNG", transparency=int(clear))


def animated(kind: str) -> bytes:
    """Two frames; the second is the negative."""
    second = Image.fromarray(255 - drawn())
    options: dict[str, Any] = {"WEBP": {"lossless": True}, "MPO": {"quality": 95}}.get(kind, {})
    return encoded(picture(), kind, save_all=True, append_images=[second], duration=100, **options)


def deep_png(channels: int) -> bytes:
    """16 bits per channel."""
    levels = drawn().astype(np.uint16) * 257
    if channels == 1:
        return encoded(levels[..., 0], "PNG")
    import cv2

    return cv2.imencode(".png", np.ascontiguousarray(levels[..., ::-1]))[1].tobytes()


def deep_tiff() -> bytes:
    """16 bits per channel in colour."""
    import cv2

    levels = np.ascontiguousarray(drawn()[..., ::-1].astype(np.uint16) * 257)
    return cv2.imencode(".tif", levels, [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes()


def wide_gamut_profile() -> bytes:
    """sRGB's own profile with other primaries."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for index in range(int.from_bytes(profile[128:132], "big")):
        entry = 132 + 12 * index
        if bytes(profile[entry : entry + 4]) in P3_COLUMNS:
            offset = int.from_bytes(profile[entry + 4 : entry + 8], "big")
            for axis, value in enumerate(P3_COLUMNS[bytes(profile[entry : entry + 4])]):
                at = offset + 8 + 4 * axis
                profile[at : at + 4] = round(value * 65536).to_bytes(4, "big", signed=True)
    return bytes(profile)


def huge() -> bytes:
    """100 megapixels."""
    image = picture().resize((100, 100), Image.Resampling.NEAREST)
    return encoded(image.resize((10000, 10000), Image.Resampling.NEAREST), "JPEG")


# Name -> file name and its bytes.
PHOTOS: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    **{f"EXIF orientation {n}": ("p.png", lambda n=n: turned(n)) for n in range(1, 9)},
    "JPEG lying on its side": ("p.jpg", lambda: turned(6, "JPEG")),
    "CMYK JPEG": ("p.jpg", lambda: encoded(picture("CMYK"), "JPEG", quality=95)),
    "progressive JPEG": ("p.jpg", lambda: encoded(picture(), "JPEG", quality=95, progressive=True)),
    "greyscale JPEG": ("p.jpg", lambda: encoded(picture("L"), "JPEG", quality=95)),
    "palette PNG": ("p.png", lambda: encoded(picture().quantize(64), "PNG")),
    "palette PNG with transparency": ("p.png", see_through_palette),
    "grey PNG of 16 bits": ("p.png", lambda: deep_png(1)),
    "colour PNG of 16 bits": ("p.png", lambda: deep_png(3)),
    "colour TIFF of 16 bits": ("p.tif", deep_tiff),
    "PNG of one bit": ("p.png", lambda: encoded(picture("1"), "PNG")),
    "grey with transparency": ("p.png", lambda: see_through("LA")),
    "colour with transparency": ("p.png", lambda: see_through("RGBA")),
    "animated GIF": ("p.gif", lambda: animated("GIF")),
    "animated WebP": ("p.webp", lambda: animated("WEBP")),
    "animated PNG": ("p.png", lambda: animated("PNG")),
    "TIFF of two pages": ("p.tif", lambda: animated("TIFF")),
    "MPO of two views": ("p.mpo", lambda: animated("MPO")),
    "colour profile": ("p.png", lambda: encoded(
        picture(), "PNG", icc_profile=wide_gamut_profile())),
    "colour profile of another kind": (
        "p.jpg", lambda: encoded(picture("L"), "JPEG", icc_profile=wide_gamut_profile())),
    "HEIC": ("p.heic", lambda: (DATA / "upright.heic").read_bytes()),
    "AVIF": ("p.avif", lambda: encoded(picture(), "AVIF", quality=90)),
    "BMP": ("p.bmp", lambda: encoded(picture(), "BMP")),
    "JPEG 2000": ("p.jp2", lambda: encoded(picture(), "JPEG2000")),
    "JPEG with damaged pixels": (
        "p.jpg", lambda: flipped(encoded(picture(), "JPEG", quality=95), 1500, 2)),
    "no suffix": ("photo", lambda: encoded(picture(), "PNG")),
    "wrong suffix": ("photo.txt", lambda: encoded(picture(), "JPEG", quality=95)),
    "2000 x 40 pixels": ("p.png", lambda: encoded(picture().resize((2000, 40)), "PNG")),
    "100 megapixels": ("p.jpg", huge),
}  # fmt: skip
NOTES = {
    "palette PNG with transparency": "transparent picture: shown on white",
    "grey with transparency": "transparent picture: shown on white",
    "colour with transparency": "transparent picture: shown on white",
    "animated GIF": "animated picture: the first of 2 frames is used",
    "animated WebP": "animated picture: the first of 2 frames is used",
    "animated PNG": "animated picture: the first of 2 frames is used",
    "TIFF of two pages": "picture of several pages: the first of 2 is used",
    "MPO of two views": "file with several pictures: the main one of 2 is used",
    "100 megapixels": "photo of 10000 x 10000 is worked on at 2048 x 2048",
}
OTHER_IMAGE = ("HEIC", "2000 x 40 pixels", "100 megapixels", "JPEG with damaged pixels")
# Decoded, these are the plain drawing to the bit: with that one known, nothing is computed.
SAME_PIXELS = (*(f"EXIF orientation {n}" for n in range(2, 9)), "colour PNG of 16 bits",
               "colour TIFF of 16 bits", "BMP", "JPEG 2000", "no suffix")  # fmt: skip
GREY_ONLY = ("greyscale JPEG", "colour profile of another kind", "grey PNG of 16 bits",
             "PNG of one bit", "grey with transparency")  # fmt: skip


def object_mask(width: int, height: int) -> Uint8:
    """The drawing's object at another size of the photo."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def run_photo(photo: Path, store: Path) -> dict[str, Any]:
    """Reconstruct a photo's object into RUN beside it; what `run --json` prints."""
    width, height = size_of(photo)
    mask, run = photo.parent / "cup.png", photo.parent / "run"
    mask.write_bytes(encoded(object_mask(width, height), "PNG"))
    words = ["run", photo, "--mask", mask, "--set", "generate.grid=32", "--set",
             "map_points.pitch_deg=30", "--store", store, "-o", run, "--json"]  # fmt: skip
    result = call(*words)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def size_of(photo: Path) -> tuple[int, int]:
    """Width and height of the upright photo, before any reduction."""
    details = decode_photo(photo.read_bytes(), 2048)[1]
    return details["width"], details["height"]


@pytest.fixture(scope="module")
def store(inline_runs: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all photos, which knows the plain one."""
    folder = tmp_path_factory.mktemp("unusual")
    (folder / "plain.png").write_bytes(encoded(picture(), "PNG"))
    run_photo(folder / "plain.png", folder / "store")
    return folder / "store"


def decode_ahead(photo: Path, store: Path) -> None:
    """Carry out the step that reads the photo, without a flow."""
    request = build_request(Arguments(photo), Store(store))
    produce(photo_step.call(request), Store(store), ModelPool())


# One of each kind runs wholly here; all of them are slow.
WHOLE_RUN = (
    "EXIF orientation 6", "palette PNG with transparency", "animated GIF", "HEIC",
)  # fmt: skip


SLOW, LONG = [pytest.mark.slow], ("100 megapixels",)


@pytest.mark.parametrize(
    "name",
    [
        n if n in WHOLE_RUN else pytest.param(n, marks=SLOW + [pytest.mark.long] * (n in LONG))
        for n in PHOTOS
    ],
)
def test_an_unusual_photo_gives_a_scene(
    name: str, store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, make = PHOTOS[name]
    photo, run = tmp_path / file, tmp_path / "run"
    photo.write_bytes(make())
    size = size_of(photo)
    assert size == (WIDTH, HEIGHT) or name in OTHER_IMAGE
    if name in SAME_PIXELS:
        decode_ahead(photo, store)
    told = run_photo(photo, store)
    assert told["steps_computed"] == 0 or name not in SAME_PIXELS
    assert Path(told["scene"]).stat().st_size > 0
    assert [o["failure"] for o in told["objects"]] == [None]
    assert NOTES.get(name) in (*told["notes"], None)
    if name not in NOTES:
        assert not [n for n in told["notes"] if "picture" in n or "worked on" in n]
    assert capfd.readouterr() == ("", "")
    written = Image.open(run / "objects" / "01_cup" / "mask.png")
    overlay = np.asarray(Image.open(run / "overlay.png").convert("RGB"), np.int16)
    assert overlay.shape[1::-1] == written.size
    kept = np.asarray(written) > 127
    expected = (
        np.asarray(
            Image.fromarray(object_mask(*size)).resize(written.size, Image.Resampling.NEAREST)
        )
        > 127
    )
    np.testing.assert_array_equal(kept, expected)
    if name not in OTHER_IMAGE + GREY_ONLY:
        # The re-rendered object stands upright where the photo has it: red, its top right blue.
        assert _reddish(overlay, BOX[0] + 12, BOX[3] - 12)
        assert not _reddish(overlay, BOX[2] - 8, BOX[1] + 8)


def _reddish(overlay: np.ndarray, x: int, y: int) -> bool:
    patch = overlay[y - 2 : y + 3, x - 2 : x + 3].mean((0, 1))
    return bool(patch[0] > patch[2] + 40)


@pytest.mark.parametrize("name", [n for n in PHOTOS if n not in OTHER_IMAGE])
def test_its_pixels_are_the_drawing(name: str) -> None:
    photo, _ = decode_photo(PHOTOS[name][1](), 2048)
    expected = drawn().astype(np.int16)
    if name in GREY_ONLY:
        source = picture("1" if name == "PNG of one bit" else "L").convert("RGB")
        source = Image.fromarray(drawn()[..., 0]) if name == "grey PNG of 16 bits" else source
        expected = np.asarray(source.convert("RGB"), np.int16)
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    if "transparency" in name:
        expected = np.where(inside[..., None], expected, 255)
        expected = expected if "palette" not in name else np.asarray(photo.rgb, np.int16)
    if name == "colour profile":  # the same numbers mean stronger colours there
        assert photo.rgb[40, 40, 0] > RED[0] + 8
        assert np.abs(photo.rgb[:, :20] - expected[:, :20]).max() <= 2
        return
    difference = np.abs(photo.rgb - expected).mean()
    assert difference < (6 if name in ("CMYK JPEG", "animated GIF") else 3), difference


@pytest.mark.slow
def test_100_megapixels_are_read() -> None:
    photo, details = decode_photo(huge(), 2048)
    assert (details["width"], photo.width) == (10000, 2048)
    assert NOTES["100 megapixels"] in details["notes"]


def test_transparent_parts_are_white() -> None:
    for name in ("palette PNG with transparency", "grey with transparency",
                 "colour with transparency"):  # fmt: skip
        photo, _ = decode_photo(PHOTOS[name][1](), 2048)
        assert (photo.rgb[30, 5] == 255).all() and photo.rgb[40, 40].min() < 150


def test_opaque_pictures_with_an_alpha_channel_are_as_without() -> None:
    image = picture()
    plain, _ = decode_photo(encoded(image, "PNG"), 2048)
    image.putalpha(255)
    opaque, details = decode_photo(encoded(image, "PNG"), 2048)
    np.testing.assert_array_equal(plain.rgb, opaque.rgb)
    assert details["notes"] == []


def test_heic_is_upright_and_tells_its_focal_length() -> None:
    photo, details = decode_photo((DATA / "upright.heic").read_bytes(), 2048)
    assert photo.rgb.shape == (80, 60, 3) or photo.rgb.shape == (60, 80, 3)
    assert details["focal_35mm"] == 26


def test_floating_point_pictures_work() -> None:
    levels = drawn()[..., 0].astype(np.float32)
    for scale in (1 / 255, 1.0):
        photo, _ = decode_photo(encoded(levels * scale, "TIFF"), 2048)
        np.testing.assert_allclose(photo.rgb[..., 0], levels, atol=1)


def test_lab_is_converted() -> None:
    profile = ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(picture(), ImageCms.createProfile("sRGB"), profile,
                                    outputMode="LAB")  # fmt: skip
    assert lab is not None
    photo, _ = decode_photo(encoded(lab, "TIFF"), 2048)
    assert np.abs(photo.rgb.astype(int) - drawn()).mean() < 4


def test_cmyk_with_a_broken_profile_is_converted_plainly() -> None:
    out = io.BytesIO()
    picture("CMYK").save(out, "TIFF", icc_profile=b"no profile")
    photo, _ = decode_photo(out.getvalue(), 2048)
    assert np.abs(photo.rgb.astype(int) - drawn()).mean() < 3
