"""The commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from photoscene.cli import models
from photoscene.cli.errors import OneLineUsage

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

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and every library's log.")]
StorePath = Annotated[
    str | None,
    typer.Option(
        "--store", help="The content store.  [default: PHOTOSCENE_STORE, else ~/.cache/photoscene]"
    ),
]
Refresh = Annotated[
    list[str] | None, typer.Option("--refresh", metavar="STAGE", help="Compute a stage again.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="STAGE.NAME=VALUE", help="Change one setting of the profile."),
]
PhotoFile = Annotated[Path, typer.Argument(help="The photo: JPEG, PNG, WebP, HEIC, TIFF ...")]
Texts = Annotated[list[str] | None, typer.Option("--text", help="All that these words mean.")]
Points = Annotated[
    list[str] | None, typer.Option("--point", metavar="X,Y", help="A click on an object.")
]
Boxes = Annotated[
    list[str] | None, typer.Option("--box", metavar="X0,Y0,X1,Y1", help="A box around one.")
]
Masks = Annotated[list[Path] | None, typer.Option("--mask", help="A mask picture of one object.")]
LabelMap = Annotated[
    Path | None, typer.Option("--label-map", help="A picture with a label per object.")
]
Annotations = Annotated[
    Path | None, typer.Option("--annotations", help="Objects' outlines: COCO, labelme or CVAT.")
]
Prompts = Annotated[Path | None, typer.Option("--prompts", help="A JSON file of prompts.")]
Interactive = Annotated[
    bool, typer.Option("--interactive", "-i", help="Choose the objects at a prompt.")
]
Browser = Annotated[
    bool, typer.Option("--browser", help="Choose the objects in a page on this machine.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the choice in the run folder.")]
Device = Annotated[
    str, typer.Option(metavar="auto|cpu|cuda", help="Where the networks run; auto: cuda if there.")
]
ProfileName = Annotated[str, typer.Option("--profile", help="A shipped profile or a YAML file.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="The run folder.  [default: runs/PHOTO]")
]


@app.command()
def run(
    photo: PhotoFile,
    text: Texts = None,
    point: Points = None,
    box: Boxes = None,
    mask: Masks = None,
    label_map: LabelMap = None,
    annotations: Annotations = None,
    prompts: Prompts = None,
    interactive: Interactive = False,
    browser: Browser = False,
    resume: Resume = False,
    profile: ProfileName = "lite",
    settings: Settings = None,
    fov: Annotated[
        float | None, typer.Option(metavar="DEG", help="Horizontal field of view.")
    ] = None,
    camera: Annotated[Path | None, typer.Option(help="JSON with K, width, height.")] = None,
    pointmap: Annotated[
        Path | None, typer.Option(help="Depth or points: NPY, NPZ, EXR, PNG16, TIFF, PFM.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Device = "auto",
    until: Annotated[str, typer.Option(metavar="STAGE", help="Stop after a stage.")] = "compose",
    refresh: Refresh = None,
    output: Output = None,
    store: StorePath = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Reconstruct one photo; objects are found by themselves unless prompts or masks are given."""
    from photoscene.cli.errors import reported

    with reported(debug):
        from photoscene.cli.choose import Choosing
        from photoscene.cli.commands import Where, run_photo
        from photoscene.inputs.request import Arguments
        from photoscene.runs.folder import default_folder

        arguments = Arguments(
            photo=photo,
            texts=text or (),
            points=point or (),
            boxes=box or (),
            masks=mask or (),
            label_map=label_map,
            annotations=annotations,
            prompts=prompts,
            profile=profile,
            settings=settings or (),
            fov_x_deg=fov,
            camera=camera,
            point_map=pointmap,
            seed=seed,
            until=until,
        )
        folder = output or default_folder(photo)
        choosing = Choosing(interactive, browser, resume)
        where = Where(store, device)
        raise typer.Exit(run_photo(arguments, folder, where, refresh or (), choosing, json))


@app.command("object")
def one_object(
    cutout: Annotated[
        Path | None, typer.Argument(help="A picture of one object on transparency: PNG, WebP ...")
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
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 42,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.  [default: 12]")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Strength of guidance.  [default: 7.5]")
    ] = None,
    fov: Annotated[
        float, typer.Option(metavar="DEG", help="Field of view of the framed cut-out.")
    ] = 49.13,
    low_vram: Annotated[
        bool, typer.Option("--low-vram", help="One network at a time on the device.")
    ] = False,
    device: Device = "auto",
    backend: Annotated[str, typer.Option(help="The generate backend.")] = "pixal3d",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="generate.NAME=VALUE", help="Change one setting."),
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Generate again.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write over an output that is not of the store.")
    ] = False,
    store: StorePath = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Generate one object from its cut-out, or from several posed views, as a GLB."""
    from photoscene.cli.errors import reported

    with reported(debug):
        from photoscene.cli.make_object import ObjectOptions, generate_object

        given = {
            "resolution": resolution,
            "steps": steps,
            "guidance": guidance,
            "weights": None if weights is None else str(weights),
            "memory": "one_at_a_time" if low_vram else None,
        }
        options = ObjectOptions(
            cutout, view, output, backend, given, settings or (), fov, seed, device, force
        )
        raise typer.Exit(generate_object(options, store, refresh, json))


@app.command()
def segment(
    photo: PhotoFile,
    text: Texts = None,
    point: Points = None,
    box: Boxes = None,
    mask: Masks = None,
    label_map: LabelMap = None,
    annotations: Annotations = None,
    prompts: Prompts = None,
    interactive: Interactive = False,
    browser: Browser = False,
    resume: Resume = False,
    profile: ProfileName = "lite",
    settings: Settings = None,
    device: Device = "auto",
    output: Output = None,
    store: StorePath = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Find or choose the objects' masks only; `run --prompts` goes on from the prompt file."""
    from photoscene.cli.errors import reported

    with reported(debug):
        from photoscene.cli.choose import Choosing
        from photoscene.cli.commands import Where, run_photo
        from photoscene.inputs.request import Arguments
        from photoscene.runs.folder import default_folder

        arguments = Arguments(
            photo=photo,
            texts=text or (),
            points=point or (),
            boxes=box or (),
            masks=mask or (),
            label_map=label_map,
            annotations=annotations,
            prompts=prompts,
            profile=profile,
            settings=settings or (),
            until="segment",
        )
        folder = output or default_folder(photo)
        choosing = Choosing(interactive, browser, resume)
        where = Where(store, device)
        raise typer.Exit(run_photo(arguments, folder, where, (), choosing, json))


@app.command()
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
    debug: Debug = False,
) -> None:
    """Compute objects again, then place and compose; what did not change stays cached.

    With --edited, masks, completions and meshes that were changed in RUN/objects/ are taken as they
    are, and only what follows from them is computed.
    """
    from photoscene.cli.errors import reported

    with reported(debug):
        from photoscene.cli.commands import Rerunning, Where, rerun_objects

        asked = Rerunning(object_, from_, settings or (), seed, edited)
        raise typer.Exit(rerun_objects(folder, asked, Where(store, device), json))


@app.command()
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
    debug: Debug = False,
) -> None:
    """Show what every step read, made and cost, and why it was computed."""
    from photoscene.cli.errors import reported

    with reported(debug):
        from photoscene.cli.commands import Inspecting, inspect_run

        asked = Inspecting(object_, stage, open_, html, diff)
        raise typer.Exit(inspect_run(folder, asked, store, json))


@app.command()
def check(
    photo: PhotoFile,
    mask: Masks = None,
    box: Boxes = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Judge a photo from 0 to 100 before it is reconstructed; status 1 where it is not ready."""
    from photoscene.cli.errors import reported

    with reported(debug):
        from photoscene.cli.check import check_readiness

        raise typer.Exit(check_readiness(photo, mask or (), box or (), json))


@app.command()
def doctor(store: StorePath = None, json: Json = False, debug: Debug = False) -> None:
    """Show what this machine can run, and the one command that mends each gap."""
    from photoscene.cli.errors import reported

    with reported(debug):
        from photoscene.cli.commands import show_doctor

        raise typer.Exit(show_doctor(store, json))
