"""How images, data and scripts are put inside one HTML file without breaking out of it."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template

MEDIA_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}


def data_uri(data: bytes, suffix: str) -> str:
    """An image's bytes as a data: URI; suffix as in `MEDIA_TYPES`."""
    return f"data:{MEDIA_TYPES[suffix]};base64,{base64.b64encode(data).decode('ascii')}"


@cache
def template(package: str, name: str) -> Template:
    """A Jinja template that lies in a package; compiled once, which takes a fifth of a second.

    What it is given is escaped, and what it is not given is an error.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    from photoscene.report.compiled import KeptCode

    environment = Environment(
        loader=FunctionLoader(partial(text_of, package)), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        bytecode_cache=KeptCode(Path(str(files(package)))),
    )  # fmt: skip
    return environment.get_template(name)


def text_of(package: str, name: str) -> str:
    """The text of a file that lies in a package."""
    return (files(package) / name).read_text("utf-8")


def json_for_script(value: Any) -> str:
    """JSON for the inside of a script element: no text in it can end the element.

    All that HTML gives a meaning (<, >, &) and the two line ends that JSON allows and JavaScript
    did not are written as \\u escapes, which JSON reads back as the same text.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def script_text(source: str) -> str:
    """JavaScript that may stand between script tags; its source map, which is absent, unnamed."""
    lines = [line for line in source.splitlines() if not line.startswith("//# sourceMappingURL=")]
    text = "\n".join(lines)
    # Inside a string, where alone these can occur, a backslash before / or ! changes nothing.
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def content_security_policy(scripts: list[str]) -> str:
    """A policy that runs these scripts only and lets nothing leave or reach the page.

    The viewer reads its model and textures from blob: URLs, styles its shadow tree by style
    elements, and starts its own WebAssembly mesh decoder when it is loaded.
    """
    hashes = " ".join(f"'sha256-{_sha256_base64(text)}'" for text in scripts)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {hashes} 'wasm-unsafe-eval'",
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
            "connect-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _sha256_base64(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
