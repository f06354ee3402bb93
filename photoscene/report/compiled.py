"""Compiled templates kept as Python keeps its compiled modules: in `__pycache__`, beside them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import marshal
import sys
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket, BytecodeCache

from scene.atomic import write_atomically


class KeptCode(BytecodeCache):
    """Keeps the code of a folder's templates; where that cannot be written, nothing is kept.

    A file counts for the Python and the Jinja that made it and for the template's very text, and
    only while it is whole. Jinja's own file has a pickle in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        """The template's own name."""
        return name

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give the bucket its code, if it is there."""
        with contextlib.suppress(OSError):
            head, _, code = self._file(bucket).read_bytes().partition(b"\n")
            if head == _head(bucket, code):
                bucket.code = marshal.loads(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a bucket's code, unless Python was told to keep none."""
        if sys.dont_write_bytecode or bucket.code is None:
            return
        code = marshal.dumps(bucket.code)
        with contextlib.suppress(OSError):
            file = self._file(bucket)
            file.parent.mkdir(exist_ok=True)
            write_atomically(file, _head(bucket, code) + b"\n" + code)

    def _file(self, bucket: Bucket) -> Path:
        return Path(importlib.util.cache_from_source(str(self._folder / bucket.key)))


def _head(bucket: Bucket, code: bytes) -> bytes:
    made_by = f"{sys.implementation.cache_tag} jinja {jinja2.__version__}"
    return f"{made_by} {bucket.checksum} {hashlib.sha256(code).hexdigest()}".encode()
