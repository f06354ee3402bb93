"""Decodes HEIC in a process of its own, since damaged bytes can crash the decoder.

`python -m scene.heif MAX_PIXELS` reads a file from standard input and writes a line of JSON, then
the pixels. pi-heif 1.4 ends with a segmentation fault on tests/data/crash.heic.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import NamedTuple

from PIL import Image

from scene import child
from scene.errors import BadInput

BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
CARRIED = ("exif", "icc_profile", "xmp")
MAX_REASON_LENGTH = 120


class Heif(NamedTuple):
    """A decoded file: width and height, and the picture unless it has too many pixels."""

    size: tuple[int, int]
    image: Image.Image | None


def is_heif(data: bytes) -> bool:
    """Whether bytes begin like HEIC (ISO 23008-12); AVIF, its sibling, is read by Pillow."""
    return data[4:8] == b"ftyp" and data[8:12] in BRANDS and b"avif" not in data[8:64]


def decode_heif(data: bytes, max_pixels: int) -> Heif:
    """Decode HEIC, with `exif`, `icc_profile` and `pictures` (their number) in the image's info.

    Raises BadInput with the reason for bytes that cannot be decoded.
    """
    command = child.python("scene.heif", str(max_pixels))
    done = subprocess.run(command, input=data, capture_output=True, env=child.environment())
    header, _, pixels = done.stdout.partition(b"\n")
    if done.returncode != 0 or not header:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        why = "".join(last).rpartition("Error: ")[2][:MAX_REASON_LENGTH]
        if "cannot identify" in why:
            why = "its header cannot be read"
        raise BadInput(why or "its decoder broke down")
    told = json.loads(header)
    size = (told["size"][0], told["size"][1])
    if not pixels:
        return Heif(size, None)
    image = Image.frombytes(told["mode"], size, pixels)
    image.info = {name: bytes.fromhex(told[name]) for name in CARRIED}
    image.info["pictures"] = told["pictures"]
    return Heif(size, image)


def _hand_over(max_pixels: int) -> None:
    import pi_heif

    pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    image = Image.open(sys.stdin.buffer, formats=["HEIF"])
    told = {"mode": image.mode, "size": image.size, "pictures": getattr(image, "n_frames", 1)}
    told |= {name: (image.info.get(name) or b"").hex() for name in CARRIED}
    pixels = image.tobytes() if image.width * image.height <= max_pixels else b""
    sys.stdout.buffer.write(json.dumps(told).encode() + b"\n" + pixels)


if __name__ == "__main__":
    _hand_over(int(sys.argv[1]))
