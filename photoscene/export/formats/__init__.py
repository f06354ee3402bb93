"""The formats of `photoscene export`, a file each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from photoscene.export.formats import fbx, glb, mjcf, obj, ply, stl, threemf, urdf, usd
from photoscene.export.model import Exporter
from scene.errors import BadInput

EXPORTERS: dict[str, Exporter] = {
    e.name: e
    for e in (
        glb.EXPORTER,
        obj.EXPORTER,
        ply.EXPORTER,
        usd.USD,
        usd.USDZ,
        stl.EXPORTER,
        threemf.EXPORTER,
        fbx.EXPORTER,
        mjcf.EXPORTER,
        urdf.EXPORTER,
    )
}


def exporters_named(given: Sequence[str], blender: Path | None = None) -> list[Exporter]:
    """The exporters of names as `glb,obj`, each once; blender: the program that writes FBX.
    BadInput lists what there is."""
    known = EXPORTERS | {"fbx": fbx.exporter(blender)}
    names = [name.strip().lower().lstrip(".") for part in given for name in part.split(",")]
    unknown = [name for name in names if name not in EXPORTERS]
    if unknown or not names:
        raise BadInput(f"--format {','.join(given)}: expected some of {', '.join(EXPORTERS)}")
    return [known[name] for name in dict.fromkeys(names)]
