"""The formats of `photoscene export`, a file each."""

from __future__ import annotations

from collections.abc import Sequence

from photoscene.export.formats import glb, mjcf, obj, urdf
from photoscene.export.model import Exporter
from scene.errors import BadInput

EXPORTERS: dict[str, Exporter] = {
    e.name: e for e in (glb.EXPORTER, obj.EXPORTER, mjcf.EXPORTER, urdf.EXPORTER)
}


def exporters_named(given: Sequence[str]) -> list[Exporter]:
    """The exporters of names as `glb,obj`, each once. BadInput lists what there is."""
    names = [name.strip().lower().lstrip(".") for part in given for name in part.split(",")]
    unknown = [name for name in names if name not in EXPORTERS]
    if unknown or not names:
        raise BadInput(f"--format {','.join(given)}: expected some of {', '.join(EXPORTERS)}")
    return [EXPORTERS[name] for name in dict.fromkeys(names)]
