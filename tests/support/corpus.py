"""The bad inputs: builds the files that tests/data/bad_inputs.yaml names, and the page about them.

`PYTHONPATH=tests python -m support.corpus docs/bad_inputs.md` writes the list between the
page's markers.
"""

from __future__ import annotations

import html
import io
import json
import os
import re
import shlex
import socket
import struct
import sys
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from benchmarks.narrow import narrow
from scene.types import Bool, Uint8
from support import DATA

BEGIN, END = "<!-- bad inputs: begin -->", "<!-- bad inputs: end -->"
SIZE = (180, 240)  # of the photo that the files belong to, as in small_photo.py
CAMERA = {"width": 240, "height": 180, "K": [[220, 0, 120], [0, 220, 90], [0, 0, 1]]}


@dataclass(frozen=True)
class Bad:
    """A bad input: what is typed after `photoscene`, the exit status, and the line that answers.

    In `line` and `told`, {names} stand for paths and "..." for what a library or a machine adds.
    """

    group: str
    name: str
    line: str
    told: str
    status: int

    def words(self, places: Mapping[str, object]) -> list[str]:
        """The words of the command line, with the paths filled in."""
        return [word.format(**places) for word in shlex.split(self.line)]

    def answers(self, line: str, places: Mapping[str, object]) -> bool:
        """Whether this is the line that was promised."""
        parts = [re.escape(part.format(**places)) for part in self.told.split("...")]
        return re.fullmatch("photoscene: " + ".*".join(parts), line) is not None


def bad_inputs(*groups: str) -> list[Bad]:
    """All bad inputs, or those of some groups."""
    listed = yaml.safe_load((DATA / "bad_inputs.yaml").read_text("utf-8"))
    return [
        Bad(group, name, entry[0], entry[1], entry[2] if len(entry) > 2 else 2)
        for group, entries in listed.items()
        for name, entry in entries.items()
        if not groups or group in groups
    ]


def encoded(pixels: Any, kind: str, **options: Any) -> bytes:
    """A picture's file as bytes."""
    out = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(out, kind, **options)
    return out.getvalue()


def flipped(data: bytes, begin: int, count: int) -> bytes:
    """The bytes with some of them inverted."""
    part = bytes(b ^ 0xFF for b in data[begin : begin + count])
    return data[:begin] + part + data[begin + count :]


def good_images(rgb: Uint8) -> dict[str, bytes]:
    """One small picture in every format that people have, by suffix."""
    formats = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "avif": "AVIF", "tif": "TIFF",
               "gif": "GIF", "bmp": "BMP"}  # fmt: skip
    options: dict[str, dict[str, Any]] = {"tif": {"compression": "tiff_adobe_deflate"}}
    made = {
        suffix: encoded(rgb, kind, **options.get(suffix, {})) for suffix, kind in formats.items()
    }
    return {**made, "heic": (DATA / "upright.heic").read_bytes()}


def build(folder: Path, rgb: Uint8, masks: Mapping[str, Bool]) -> dict[str, object]:
    """Write every file that the corpus names into a folder; returns what {names} stand for."""
    for files in (_photos(rgb), _masks(masks), _prompts(), _depths(), _cameras(), _profiles()):
        for name, data in files.items():
            (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    (folder / "folder").mkdir()
    (folder / "folder.yaml").mkdir()
    os.mkfifo(folder / "fifo.jpg")
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    here = os.getcwd()
    os.chdir(folder)  # a socket's path has at most 107 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.jpg")
    os.chdir(here)
    for name, text in _records().items():
        (folder / name).mkdir()
        (folder / name / "run.json").write_text(text)
    for name, data in _somebodys().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "linked").mkdir()
    (folder / "linked" / "objects").symlink_to(folder / "folder")
    hostile = folder / os.fsdecode(b"caf\xe9 \x1b[31m.jpg")
    hostile.write_bytes(b"text")
    return {"d": folder, "hostile": hostile, "long": "x" * 300, "nines": "9" * 400}


def _photos(rgb: Uint8) -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {}
    for suffix, data in good_images(rgb).items():
        files[f"cut.{suffix}"] = data[: len(data) // 2]
        files[f"head.{suffix}"] = flipped(data, 8, 16)
        files[f"middle.{suffix}"] = flipped(data, len(data) // 2, 64)
    grey = np.zeros(SIZE, np.uint8)
    varying = np.repeat(np.arange(240, dtype=np.uint8)[None], 180, 0)
    return files | {
        "empty.jpg": b"",
        "raw.raf": b"FUJIFILMCCD-RAW 0201",
        "panorama.jpg": encoded(rgb, "JPEG", xmp=b'<a GPano:ProjectionType="equirectangular"/>'),
        "crash.heic": (DATA / "crash.heic").read_bytes(),
        "text.jpg": "not a picture",
        "page.png": "<!DOCTYPE html><html><body>404</body></html>",
        "paper.jpg": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        "drawing.svg": '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        "archive.jpg": _zip({"photo.txt": b"x"}),
        "video.jpg": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2",
        "script.eps": "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "noise.jpg": np.random.default_rng(0).bytes(4096),
        "signature.png": b"\x89PNG\r\n\x1a\n",
        "1x1.png": encoded(rgb[:1, :1], "PNG"),
        "1x2000.png": encoded(np.zeros((2000, 1, 3), np.uint8), "PNG"),
        "15x15.png": encoded(rgb[:15, :15], "PNG"),
        "ribbon.png": encoded(np.zeros((16, 40000), np.uint8), "PNG"),
        "bomb.png": _png(20000, 20000, bits=1),
        "lying.png": _png(2**31 - 1, 2**31 - 1, bits=8),
        "lying_little.png": _png(9000, 9000, bits=8),
        "clear.png": encoded(np.dstack([rgb, grey]), "PNG"),
        "alpha.png": encoded(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(varying)]),
                             "PNG"),
    }  # fmt: skip


def _png(width: int, height: int, bits: int) -> bytes:
    """A PNG that claims a size and holds one row of grey at most."""
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    rows = zlib.compress(bytes(min(width, 20000)))
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _zip(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def _masks(masks: Mapping[str, Bool]) -> dict[str, bytes | str]:
    def drawn(mask: Bool) -> bytes:
        return encoded(mask.astype(np.uint8) * 255, "PNG")

    dot, border = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    dot[90, 120] = True
    border[72:122, 20:101] = ~masks["a"][72:122, 20:101]
    clear = np.zeros((*SIZE, 4), np.uint8)
    return {
        "a.png": drawn(masks["a"]),
        "blank.png": drawn(np.zeros(SIZE, bool)),
        "full.png": drawn(np.ones(SIZE, bool)),
        "dot.png": drawn(dot),
        "half.png": drawn(np.ones((90, 240), bool)),
        "top.png": drawn(_rows(masks["a"], 0, 97)),
        "bottom.png": drawn(_rows(masks["a"], 97, 180)),
        "blank_alpha.png": encoded(clear, "PNG"),
        "labels.png": encoded(masks["a"] + np.uint8(2) * masks["c"], "PNG"),
        "sideways.png": drawn(np.ascontiguousarray(masks["a"].T)),
        "other.json": json.dumps(
            {"images": [{"file_name": "a.jpg"}, {"file_name": "b.jpg"}], "annotations": []}
        ),
        "boxes.json": json.dumps({"annotations": [{"bbox": [1, 2, 3, 4]}], "images": [{}]}),
    }


def _rows(mask: Bool, first: int, last: int) -> Bool:
    part = np.zeros_like(mask)
    part[first:last] = mask[first:last]
    return part


def _prompts() -> dict[str, bytes | str]:
    def objects(*entries: str) -> str:
        return f'{{"objects": [{", ".join(entries)}]}}'

    many = objects(*['{"points": [[9, 9]]}'] * 1001)
    return {
        "broken.json": "{",
        "binary.json": bytes(range(256)),
        "list.json": '[{"points": [[9, 9]]}]',
        "number.json": "7",
        "objects_number.json": '{"objects": 7}',
        "no_objects.json": '{"things": []}',
        "empty_list.json": objects(),
        "entry_number.json": objects("7"),
        "entry_empty.json": objects("{}"),
        "unknown_key.json": objects('{"bbox": [1, 1, 9, 9]}'),
        "points_words.json": objects('{"points": "9, 9"}'),
        "points_numbers.json": objects('{"points": [9, 9]}'),
        "point_strings.json": objects('{"points": [["9", "9"]]}'),
        "point_label.json": objects('{"points": [[9, 9, 2]]}'),
        "point_alone.json": objects('{"points": [[9]]}'),
        "box_short.json": objects('{"box": [1, 1, 9]}'),
        "box_strings.json": objects('{"box": ["1", "1", "9", "9"]}'),
        "box_inverted.json": objects('{"box": [9, 9, 1, 1]}'),
        "box_infinite.json": objects('{"box": [1, 1, 1e400, 9]}'),
        "box_nan.json": objects('{"box": [1, 1, NaN, 9]}'),
        "label_number.json": objects('{"label": 7, "points": [[9, 9]]}'),
        "label_list.json": objects('{"label": ["cup"], "points": [[9, 9]]}'),
        "label_long.json": objects(json.dumps({"label": "x" * 1001, "points": [[9, 9]]})),
        "label_surrogate.json": objects('{"label": "\\ud800", "points": [[9, 9]]}'),
        "background.json": objects('{"label": "cup", "points": [[9, 9, 0]]}'),
        "second_outside.json": objects('{"points": [[9, 9]]}', '{"points": [[240, 9]]}'),
        "words_only.json": objects('{"text": "cup"}'),
        "nested.json": "[" * 100_000,
        "digits.json": "9" * 5000,
        "many.json": many,
        "large.json": many.ljust(10_000_001),
    }


def _npy(array: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def _npz(**arrays: np.ndarray) -> bytes:
    return _zip({f"{name}.npy": _npy(array) for name, array in arrays.items()})


def _header(shape: str, dtype: str = "'<f8'") -> bytes:
    """The head of an NPY file and no data."""
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def _exr(depth: np.ndarray) -> bytes:
    import tempfile

    import OpenEXR

    with tempfile.NamedTemporaryFile(suffix=".exr") as file:
        OpenEXR.File({"type": OpenEXR.scanlineimage}, {"Z": depth}).write(file.name)
        return Path(file.name).read_bytes()


def _depths() -> dict[str, bytes | str]:
    ones = np.ones(SIZE, np.float32)
    pickled = np.array([{"a": 1}], object)
    npy, npz, exr = _npy(ones), _npz(depth=ones), _exr(ones)
    png = encoded((ones * 1000).astype(np.uint16), "PNG")
    wrong_camera = np.array([[0, 0, 120], [0, 0, 90], [0, 0, 1.0]])
    return {
        "nan.npy": _npy(ones * np.nan),
        "infinite.npy": _npy(ones * np.inf),
        "zero.npy": _npy(ones * 0),
        "negative.npy": _npy(-ones),
        "wide.npy": _npy(ones[:90]),
        "turned.npy": _npy(np.ascontiguousarray(ones.T)),
        "flat.npy": _npy(ones[0]),
        "four.npy": _npy(np.ones((*SIZE, 4))),
        "scalar.npy": _npy(np.array(1.0)),
        "none.npy": _npy(np.ones((0, 240))),
        "complex.npy": _npy(ones.astype(np.complex64)),
        "strings.npy": _npy(np.full(SIZE, "1.0")),
        "dates.npy": _npy(np.full(SIZE, 1, "m8[s]")),
        "pickled.npy": _npy(pickled, allow_pickle=True),
        "named.npz": _npz(colour=ones),
        "pickled.npz": _zip({"depth.npy": _npy(pickled, allow_pickle=True)}),
        "bare.npz": _zip({}),
        "camera.npz": _npz(depth=ones, K=wrong_camera),
        "renamed.npz": npy,
        "renamed.npy": npz,
        "cut.npy": npy[: len(npy) // 2],
        "cut.npz": npz[: len(npz) // 2],
        "middle.npz": flipped(npz, 400, 64),
        "good.exr": exr,
        "cut.exr": exr[: len(exr) // 2],
        "head.exr": flipped(exr, 4, 60),
        "cut_depth.png": png[: len(png) // 2],
        "lying.npy": _header("(10000000, 10000000)") + bytes(64),
        "lying_little.npy": _header("(180, 240)") + bytes(64),
        "evil.npy": _header("(2, 2)", "'|O'") + b"cos\nsystem\n(S'touch /tmp/owned'\ntR.",
        "byte.png": encoded((ones * 100).astype(np.uint8), "PNG"),
        "colour.png": encoded(np.zeros((*SIZE, 3), np.uint8), "PNG"),
        "empty.npy": b"",
        "depth.txt": "1 2 3",
    }


def _cameras() -> dict[str, bytes | str]:
    def camera(**other: Any) -> str:
        return json.dumps({**CAMERA, **other})

    def matrix(*, fx: float = 220, fy: float = 220, cx: float = 120, skew: float = 0) -> Any:
        return [[fx, skew, cx], [0, fy, 90], [0, 0, 1]]

    return {
        "camera.json": camera(),
        "keys.json": '{"w": 240, "h": 180, "f": 220}',
        "K_short.json": camera(K=[220, 220]),
        "K_4x4.json": camera(K=np.eye(4).tolist()),
        "K_words.json": camera(K=[["f", 0, 0], [0, "f", 0], [0, 0, 1]]),
        "K_singular.json": camera(K=matrix(fx=0)),
        "K_negative.json": camera(K=matrix(fy=-220)),
        "K_nan.json": camera(K=matrix(fx=float("nan"))),
        "K_infinite.json": camera(K=matrix(fx=float("inf"))),
        "K_tiny.json": camera(K=matrix(fx=1e-9, fy=1e-9)),
        "K_huge.json": camera(K=matrix(fx=1e9, fy=1e9)),
        "K_normalized.json": camera(K=matrix(fx=0.9, fy=1.2, cx=0.5)),
        "K_far.json": camera(K=matrix(cx=99999)),
        "K_skew.json": camera(K=matrix(skew=9)),
        "K_transposed.json": camera(K=np.transpose(matrix()).tolist()),
        "other_size.json": camera(width=240, height=240),
        "width_zero.json": camera(width=0),
        "width_negative.json": camera(width=-240),
        "width_infinite.json": camera().replace('"width": 240', '"width": 1e400'),
        "width_words.json": camera(width="wide"),
    }


def _profiles() -> dict[str, bytes | str]:
    whole = (Path(__file__).parents[2] / "configs" / "lite.yaml").read_text("utf-8")
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [*{before}, *{before}, *{before}, *{before}, *{before}, *{before}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    return {
        "broken.yaml": "segment: [",
        "list.yaml": "- segment",
        "empty.yaml": "",
        "short.yaml": "segment:\n  backend: masks\n",
        "unknown_stage.yaml": whole + "\ngenerat:\n  backend: relief\n",
        "bomb.yaml": bomb,
        "python.yaml": "segment: !!python/object/apply:os.system ['touch /tmp/owned']\n",
        "deep.yaml": "[" * 5000,
        "binary.yaml": bytes(range(128, 256)),
        "no_backend.yaml": "segment:\n  working_size_px: 100\n",
        "unknown_setting.yaml": whole + "\ncompose:\n  backend: gltf\n  outline: 3\n",
    }


def _records() -> dict[str, str]:
    """Folders with a run.json that no command can use."""
    names = ("stage", "subject", "name", "key", "backend", "version", "settings", "weights", "seed",
             "outputs", "seconds", "computed", "failure", "why")  # fmt: skip
    step, whole = {**dict.fromkeys(names, ""), "outputs": {}}, {"format": "photoscene-run/1"}
    path = {"kind": "file", "sha256": "../../../etc/passwd", "suffix": ""}
    return {
        "broken_run": '{"format": "photoscene-run/1"}',
        "list_run": "[]",
        "text_run": "no JSON",
        "other_run": '{"format": "photoscene-run/99"}',
        "path_run": json.dumps({**whole, "steps": [{**step, "inputs": {"photo": path}}]}),
        "steps_run": '{"format": "photoscene-run/1", "steps": [{"stage": "photo"}]}',
    }


def _somebodys() -> dict[str, bytes]:
    """Files of a person or another program, under names that a run would write."""
    names = ("scene.glb", "point_map.npz", "objects/shoe/mask.png", "objects/shoe/work.blend")
    return {
        **{f"work/{name}": b"mine" for name in names},
        "album/photo.png": b"mine",
        "album/report.html": b"mine",
        "blend/objects/shoe.blend": b"mine",
        "drawn/masks.png": b"mine",
        "prefect/run.json": b'{"name": "another program"}',
    }


def catalogue(bad: list[Bad]) -> str:
    """A section per group with two lines per bad input: what it is, and the answer."""
    lines: list[str] = []
    for group in dict.fromkeys(b.group for b in bad):
        lines += ["", f"## {group.capitalize()}", ""]
        for b in (b for b in bad if b.group == group):
            status = f" (exit status {b.status})" if b.status != 2 else ""
            told = html.escape(b.told, quote=False)
            told = told.replace("{d}/", "").replace("{{", "{").replace("}}", "}")
            lines += [f"- **{b.name}**{status}:", narrow(f"  {told}")]
    return "\n".join([*lines, ""])


def with_catalogue(page: str) -> str:
    """The page with the present list between its markers."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{catalogue(bad_inputs())}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(with_catalogue(page.read_text("utf-8")), "utf-8")
