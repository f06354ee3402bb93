"""The maps of a material as PNG files, for formats that name textures beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from photoscene.export.model import ExportObject
from scene.png import encode_png
from scene.types import Uint8


@dataclass(frozen=True)
class TextureFiles:
    """Paths relative to the exported file, with slashes; "" for a map that there is not."""

    base_colour: str
    alpha: str = ""
    roughness: str = ""
    metallic: str = ""
    normal: str = ""


def write_textures(o: ExportObject, folder: Path, within: str) -> TextureFiles:
    """Write the maps of an object into folder/within; the colour has no alpha in it."""
    material, written = o.mesh.material, {}
    maps: dict[str, Uint8 | None] = {
        "base_colour": o.mesh.texture,
        "alpha": material.alpha,
        "normal": material.normal_map,
    }
    if material.metallic_roughness is not None:
        metallic, roughness = np.moveaxis(material.metallic_roughness, 2, 0)
        maps |= {"metallic": metallic, "roughness": roughness}
    (folder / within).mkdir(exist_ok=True)
    for name, pixels in maps.items():
        if pixels is not None:
            written[name] = f"{within}/{o.key}_{name}.png"
            (folder / written[name]).write_bytes(encode_png(np.ascontiguousarray(pixels)))
    return TextureFiles(**written)
