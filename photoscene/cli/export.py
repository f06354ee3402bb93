"""`photoscene export`: writes a run in the formats of other programs and prints where."""

from __future__ import annotations

from pathlib import Path

from photoscene.cli.errors import store_root
from photoscene.cli.options import Exporting
from photoscene.cli.output import DONE, INCOMPLETE, print_result, print_warnings
from photoscene.export.formats import exporters_named
from photoscene.export.options import ExportOptions
from photoscene.export.run import DEFAULT_FOLDER, export_run
from photoscene.runs.folder import read_run
from scene.errors import BadInput
from scene.store import open_store


def export_scene(
    run: Path, output: Path | None, asked: Exporting, store_path: str | None, as_json: bool
) -> int:
    """Returns the exit status: 1 where objects were lost in the run."""
    sizes = asked.size or [None]
    if len(sizes) > 1:
        given = " ".join(f"--size {size}" for size in sizes)
        raise BadInput(f"{given}: one length sets the scale of the whole scene; give one")
    exporters = exporters_named(asked.formats or ["glb"], asked.blender)
    options = ExportOptions(
        per_object=asked.per_object,
        frame=asked.frame,
        unit=asked.unit,
        up=asked.up,
        origin=asked.origin,
        faces=asked.faces,
        texture_px=asked.textures,
        size=sizes[0],
        colliders=asked.colliders,
        density=asked.density,
    )
    store = open_store(store_root(store_path or read_run(run).record.store))
    made = export_run(run, output or run / DEFAULT_FOLDER, exporters, options, store)
    lost = [f"{name} is not exported, it was lost: {why}" for name, why in made.lost.items()]
    print_warnings([*made.notes, *lost])
    status = INCOMPLETE if made.lost else DONE
    summary = {
        "status": status,
        "folder": str(made.folder),
        "files": list(made.files),
        "notes": list(made.notes),
        "lost": made.lost,
    }
    print_result(summary, "\n".join(str(made.folder / f) for f in made.files), as_json)
    return status
