"""The commands and their options. What a command does is imported when it is called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from photoscene.cli import models
from photoscene.cli import store as store_commands
from photoscene.cli.errors import OneLineUsage
from photoscene.cli.options import (
    Boxes,
    Choosing,
    Device,
    Exporting,
    FieldOfView,
    Json,
    Licence,
    Masks,
    MaxFaces,
    MaxTexture,
    ObjectsGiven,
    Output,
    PhotoFile,
    ProfileName,
    Rendering,
    ScenesGiven,
    Seed,
    Settings,
    StorePath,
    command,
)

if TYPE_CHECKING:
    from photoscene.inputs.request import Arguments

app = typer.Typer(
    help="One photo in, an object-separated 3D scene out.",
    cls=OneLineUsage,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(models.app, name="models")
app.add_typer(store_commands.app, name="store")


@command(app)
def run(
    photo: PhotoFile,
    objects: ObjectsGiven,
    choosing: Choosing,
    profile: ProfileName = "lite",
    settings: Settings = None,
    fov: FieldOfView = None,
    camera: Annotated[Path | None, typer.Option(help="JSON with K, width, height.")] = None,
    pointmap: Annotated[
        Path | None, typer.Option(help="Depth or points: NPY, NPZ, EXR, PNG16, TIFF, PFM.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    licence: Licence = "",
    until: Annotated[str, typer.Option(metavar="STAGE", help="Stop after a stage.")] = "compose",
    refresh: Annotated[
        list[str] | None, typer.Option("--refresh", metavar="STAGE", help="Compute a stage again.")
    ] = None,
    output: Output = None,
    store: StorePath = None,
    json: Json = False,
) -> int:
    """Reconstruct one photo; objects are found by themselves unless prompts or masks are given."""
    from photoscene.cli.reconstruct import Where
    from photoscene.cli.run import run_photo

    arguments = replace(
        _arguments(photo, objects, profile, settings),
        fov_x_deg=fov,
        camera=camera,
        point_map=pointmap,
        seed=seed,
        until=until,
        licence=licence,
    )
    return run_photo(arguments, output, Where(store, device), refresh or (), choosing, json)


@command(app)
def batch(
    words: Annotated[
        list[str], typer.Argument(metavar="DIR_OR_MANIFEST", help="Photos; or: status OUT.")
    ],
    scenes: ScenesGiven,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder of all run folders.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes on a machine.")] = 1,
    pool: Annotated[
        str | None, typer.Option(metavar="NAME", help="The Prefect work pool that makes them.")
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="The Ray cluster that makes them.")
    ] = None,
    shard_size: Annotated[
        int, typer.Option("--shard-size", help="At most so many scenes in a shard of theirs.")
    ] = 32,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be made.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also scenes with failed objects.")
    ] = False,
    step_limit: Annotated[
        float | None,
        typer.Option(
            "--step-limit", metavar="SECONDS", help="A longer step hangs.  [default: by stage]"
        ),
    ] = None,
    recycle: Annotated[
        int, typer.Option(metavar="SHARDS", help="Replace a worker after so many; 0: never.")
    ] = 16,
    metrics: Annotated[
        str | None, typer.Option(metavar="PORT|FILE.prom", help="For Prometheus, while it works.")
    ] = None,
    profile: ProfileName = "lite",
    settings: Settings = None,
    fov: FieldOfView = None,
    seed: Seed = 0,
    licence: Licence = "",
    device: Device = "auto",
    store: StorePath = None,
    json: Json = False,
) -> int:
    """Reconstruct many photos: all of a folder, or a manifest's. Run again, it does what is
    missing or failed. `batch status OUT` and `batch cancel OUT` are for one that runs."""
    from photoscene.batch.supervisor import limits_from
    from photoscene.cli.batch import Asked, batch_photos
    from photoscene.cli.reconstruct import Where

    arguments = _arguments(Path(), ObjectsGiven(), profile, settings)
    arguments = replace(arguments, fov_x_deg=fov, seed=seed, licence=licence)
    limits = limits_from(step_limit, recycle)
    asked = Asked(output, workers, pool, ray, shard_size, dry_run, retry_failed, metrics, limits)
    return batch_photos(words, scenes, asked, arguments, Where(store, device), json)


@command(app, "object")
def one_object(
    cutout: Annotated[
        Path | None, typer.Argument(help="A picture of one object, cut out or not: PNG, JPEG ...")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="The GLB.")] = Path("object.glb"),
    view: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="transforms.json of posed views, instead of CUTOUT."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of Pixal3D's weights.")
    ] = None,
    resolution: Annotated[int | None, typer.Option(help="1024 or 1536.  [default: 1024]")] = None,
    seed: Seed = 42,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.  [default: 12]")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Strength of guidance.  [default: 7.5]")
    ] = None,
    fov: Annotated[
        str,
        typer.Option(
            metavar="DEG|auto", help="Field of view of the framed cut-out; auto: by MoGe."
        ),
    ] = "49.13",
    low_vram: Annotated[
        bool, typer.Option("--low-vram", help="One network at a time on the device.")
    ] = False,
    device: Device = "auto",
    backend: Annotated[str, typer.Option(help="The generate backend.")] = "pixal3d",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="STAGE.NAME=VALUE", help="Of generate or finish."),
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Generate again.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write over an output that is not of the store.")
    ] = False,
    store: StorePath = None,
    json: Json = False,
) -> int:
    """Generate one object from its cut-out, or from several posed views, as a GLB."""
    from photoscene.cli.object import field_of_view, generate_object, object_choices
    from photoscene.single_object import ObjectArguments

    given = {
        "resolution": resolution,
        "steps": steps,
        "guidance": guidance,
        "weights": None if weights is None else str(weights),
        "memory": "one_at_a_time" if low_vram else None,
    }
    choice, finisher = object_choices(backend, given, settings or ())
    degrees = field_of_view(fov)
    arguments = ObjectArguments(
        cutout, view, output, choice, degrees, seed, device, force, finisher
    )
    return generate_object(arguments, store, refresh, json)


@command(app)
def segment(
    photo: PhotoFile,
    objects: ObjectsGiven,
    choosing: Choosing,
    profile: ProfileName = "lite",
    settings: Settings = None,
    device: Device = "auto",
    output: Output = None,
    store: StorePath = None,
    json: Json = False,
) -> int:
    """Find or choose the objects' masks only; `run --prompts` goes on from the prompt file."""
    from photoscene.cli.reconstruct import Where
    from photoscene.cli.run import run_photo

    arguments = replace(_arguments(photo, objects, profile, settings), until="segment")
    return run_photo(arguments, output, Where(store, device), (), choosing, json)


def _arguments(
    photo: Path, objects: ObjectsGiven, profile: str, settings: list[str] | None
) -> Arguments:
    from photoscene.inputs.request import Arguments

    return Arguments(
        photo=photo,
        texts=objects.texts or (),
        points=objects.points or (),
        boxes=objects.boxes or (),
        masks=objects.masks or (),
        label_map=objects.label_map,
        annotations=objects.annotations,
        prompts=objects.prompts,
        profile=profile,
        settings=settings or (),
    )


@command(app)
def rerun(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of an earlier run.")],
    edited: Annotated[
        bool, typer.Option("--edited", help="Go on from files changed by hand in RUN/objects/.")
    ] = False,
    object_: Annotated[
        str | None,
        typer.Option("--object", metavar="N", help="One object by number, name or id; else all."),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="STAGE", help="complete (the default) or generate."),
    ] = None,
    settings: Settings = None,
    seed: Annotated[int | None, typer.Option(help="Another seed for these objects.")] = None,
    device: Device = "auto",
    store: StorePath = None,
    json: Json = False,
) -> int:
    """Compute objects again, then place and compose; what did not change stays cached.

    With --edited, masks, completions and meshes that were changed in RUN/objects/ are taken as they
    are, and only what follows from them is computed.
    """
    from photoscene.cli.reconstruct import Where
    from photoscene.cli.rerun import Rerunning, rerun_objects

    asked = Rerunning(object_, from_, settings or (), seed, edited)
    return rerun_objects(folder, asked, Where(store, device), json)


@command(app)
def inspect(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    object_: Annotated[
        str | None, typer.Option("--object", metavar="N", help="One object only.")
    ] = None,
    stage: Annotated[str | None, typer.Option(help="One stage only.")] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Print the files' paths, one a line.")
    ] = False,
    html: Annotated[bool, typer.Option("--html", help="Write report.html again.")] = False,
    diff: Annotated[
        Path | None, typer.Option(metavar="RUN2", help="What differs in another run, and why.")
    ] = None,
    store: StorePath = None,
    json: Json = False,
) -> int:
    """Show what every step read, made and cost, and why it was computed."""
    from photoscene.cli.inspect import Inspecting, inspect_run

    asked = Inspecting(object_, stage, open_, html, diff)
    return inspect_run(folder, asked, store, json)


@command(app)
def brief(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    destination: Annotated[str, typer.Option(help="Where it goes, as a web viewer.")] = "",
    format_: Annotated[str, typer.Option("--format", help="The file format, as glb.")] = "",
    faces: MaxFaces = None,
    textures: MaxTexture = None,
    store: StorePath = None,
    json: Json = False,
) -> int:
    """Write the hand-off of a run on one page: RUN/brief.md and brief.json."""
    from photoscene.cli.brief import write_brief
    from photoscene.provenance.brief import Purpose

    return write_brief(folder, Purpose(destination, format_, faces, textures), store, json)


@command(app)
def render(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    rendering: Rendering,
    store: StorePath = None,
    json: Json = False,
) -> int:
    """Draw the scene or one object from any side: stills and turntables."""
    from photoscene.cli.render import render_run

    return render_run(folder, rendering, store, json)


@command(app)
def export(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    exporting: Exporting,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A folder.  [default: RUN/export]")
    ] = None,
    store: StorePath = None,
    json: Json = False,
) -> int:
    """Write the scene or its objects for other programs; status 1 where the run lost objects."""
    from photoscene.cli.export import export_scene

    return export_scene(folder, output, exporting, store, json)


@command(app)
def quality(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    all_: Annotated[bool, typer.Option("--all", help="Also the rows that pass.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep it in RUN/quality.json and show it in report.html.")
    ] = False,
    store: StorePath = None,
    json: Json = False,
) -> int:
    """Judge a run as a technical artist would: pass, check or fail; status 1 where a row fails."""
    from photoscene.cli.quality import show_quality

    return show_quality(folder, all_, keep, store, json)


@command(app)
def check(
    photo: PhotoFile,
    mask: Masks = None,
    box: Boxes = None,
    licence: Licence = "",
    json: Json = False,
) -> int:
    """Judge a photo from 0 to 100 before it is reconstructed; status 1 where it is not ready."""
    from photoscene.cli.check import check_readiness

    return check_readiness(photo, mask or (), box or (), licence, json)


@command(app)
def doctor(
    self_test: Annotated[
        bool,
        typer.Option("--self-test", help="Run tiny networks of the official classes instead."),
    ] = False,
    device: Device = "auto",
    store: StorePath = None,
    json: Json = False,
) -> int:
    """Show what this machine can run, and the one command that mends each gap.

    With --self-test every path of the official networks is tried on the device, with tiny random
    weights: status 3 where one cannot work.
    """
    from photoscene.cli.doctor import show_doctor, show_self_test

    return show_self_test(device, json) if self_test else show_doctor(store, json)
