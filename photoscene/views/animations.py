"""Writes images one after another as a GIF, an animated PNG or an MP4, the same bytes each time."""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from scene.errors import BadInput, CannotRun
from scene.png import PNG_COMPRESSION
from scene.types import Uint8

GIF, PNG, MP4 = ".gif", ".png", ".mp4"
FRAMES_PER_S = 20  # a whole number of GIF's hundredths of a second
FRAME_MS = 1000 // FRAMES_PER_S
MAX_HELD_PX = 250_000_000  # of the frames of a GIF or PNG, which are held in memory: 1 GB
PALETTE_FRAMES = 8  # of which a GIF's one palette is made
DITHER_LEVELS = 6  # an ordered pattern that stays where it is: no flicker on even ground
QUALITY = {"crf": "17", "preset": "medium", "x264-params": "threads=1"}  # threads change bytes


def check_animation(suffix: str, frames: int, size: tuple[int, int], transparent: bool) -> None:
    """BadInput, before anything is drawn, for what a file of that kind cannot be."""
    if suffix not in (GIF, PNG, MP4):
        raise BadInput(f"--turntable: expected a .gif, .png or .mp4 file, got {suffix or 'none'}")
    if transparent and suffix != PNG:
        raise BadInput(f"--background transparent: {suffix} has no soft transparency: write a .png")
    if suffix == MP4:
        if size[0] % 2 or size[1] % 2:
            raise BadInput(
                f"an .mp4 takes even numbers of pixels, these are {size[0]}x{size[1]}: give an "
                "even --size"
            )
        _av()
    elif frames * size[0] * size[1] > MAX_HELD_PX:
        raise BadInput(
            f"{frames} frames of {size[0]}x{size[1]} are too many for a {suffix} file: write a "
            ".mp4, or give a smaller --size or --frames"
        )


def animation(suffix: str, frames: Iterable[Uint8]) -> bytes:
    """A file that `check_animation` allows, which repeats for ever as far as its kind can say so.

    frames: (H, W, 3), or (H, W, 4) for PNG, uint8 sRGB.
    """
    return {GIF: _gif, PNG: _png, MP4: _mp4}[suffix](frames)


def _png(frames: Iterable[Uint8]) -> bytes:
    first, *rest = (Image.fromarray(frame) for frame in frames)
    out = io.BytesIO()
    first.save(
        out, "PNG", save_all=True, append_images=rest, duration=FRAME_MS, loop=0,
        compress_level=PNG_COMPRESSION,
    )  # fmt: skip
    return out.getvalue()


def _gif(frames: Iterable[Uint8]) -> bytes:
    images = list(frames)
    chosen = images[:: max(1, len(images) // PALETTE_FRAMES)]
    palette = Image.fromarray(np.concatenate(chosen)).quantize(256, Image.Quantize.MEDIANCUT)
    offset = _ordered_pattern(images[0].shape[:2])
    first, *rest = (
        Image.fromarray(np.rint(np.clip(image + offset, 0, 255)).astype(np.uint8)).quantize(
            palette=palette, dither=Image.Dither.NONE
        )
        for image in images
    )
    out = io.BytesIO()
    first.save(out, "GIF", save_all=True, append_images=rest, duration=FRAME_MS, loop=0)
    return out.getvalue()


def _ordered_pattern(shape: tuple[int, int]) -> np.ndarray:
    """(H, W, 1) Bayer's 8 x 8 thresholds about 0, repeated."""
    pattern = np.zeros((1, 1))
    for _ in range(3):
        pattern = np.block([[4 * pattern, 4 * pattern + 2], [4 * pattern + 3, 4 * pattern + 1]])
    rows, columns = (-(-side // 8) for side in shape)
    tiled = np.tile(pattern / 64 - 0.5, (rows, columns))[: shape[0], : shape[1]]
    return (tiled * DITHER_LEVELS)[..., None]


def _mp4(frames: Iterable[Uint8]) -> bytes:
    av = _av()
    out = io.BytesIO()
    with av.open(out, "w", format="mp4", options={"fflags": "bitexact"}) as container:
        stream = None
        for number, image in enumerate(frames):
            if stream is None:
                stream = container.add_stream("libx264", FRAMES_PER_S, options=dict(QUALITY))
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"  # what every player takes
                stream.codec_context.color_range = av.video.reformatter.ColorRange.MPEG
                stream.codec_context.colorspace = av.video.reformatter.Colorspace.ITU709
                stream.codec_context.color_primaries = 1  # BT.709, as sRGB
                stream.codec_context.color_trc = 1
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_S)
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode())
    return out.getvalue()


def _av() -> Any:
    try:
        import av  # pyright: ignore[reportMissingImports]
        import av.video.reformatter  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise CannotRun("an .mp4 needs PyAV: pip install -e '.[video]', or write a .gif") from None
    if "libx264" not in av.codecs_available:
        raise CannotRun("this PyAV was built without libx264: install its wheel, or write a .gif")
    return av
