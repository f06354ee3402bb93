"""`photoscene brief`: writes the one-page hand-off of a run, as Markdown and JSON."""

from __future__ import annotations

from pathlib import Path

from photoscene.cli.errors import store_root
from photoscene.cli.output import DONE, print_result, print_warnings
from photoscene.export.formats import exporters_named
from photoscene.export.source import read_source
from photoscene.provenance.brief import Purpose, brief_page, brief_to_json, make_brief
from photoscene.quality.kept import kept_quality
from photoscene.runs.folder import read_asset, read_run, read_scene
from photoscene.runs.writing import write_page
from scene.errors import BadInput
from scene.files import encode_json
from scene.store import open_store

PAGE, VALUES = "brief.md", "brief.json"


def write_brief(folder: Path, purpose: Purpose, store_path: str | None, as_json: bool) -> int:
    """Write brief.md and brief.json into the run's folder; returns the exit status."""
    if purpose.format:
        exporters_named([purpose.format])
    for option, value in (("--faces", purpose.faces), ("--textures", purpose.texture_px)):
        if value is not None and value < 1:
            raise BadInput(f"{option} {value}: expected a number above 0")
    run, scene = read_run(folder), read_scene(folder)
    asset = read_asset(folder)
    if asset is None:
        raise BadInput(
            f"{folder}/scene.json has no asset record, an older version wrote it: repeat the run"
        )
    store = open_store(store_root(store_path or run.record.store))
    source = read_source(folder, store)[1]
    print_warnings(source.notes)
    brief = make_brief(
        run.record.photo_name, purpose, scene, source.placed, source.lost, source.metric, asset,
        kept_quality(folder, scene),
    )  # fmt: skip
    value = brief_to_json(brief)
    warnings = write_page(run, PAGE, brief_page(brief).encode())
    warnings += write_page(read_run(folder), VALUES, encode_json(value))
    print_warnings(warnings)
    print_result(value, f"{folder / PAGE}\n{folder / VALUES}", as_json)
    return DONE
