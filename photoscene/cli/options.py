"""The options that several commands have, and how a function becomes a command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from scene.errors import BadInput

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and every library's log.")]
StorePath = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="The content store: a folder, or a URL as s3://bucket/path.  [default: "
        "PHOTOSCENE_STORE, else ~/.cache/photoscene]",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="STAGE.NAME=VALUE", help="Change one setting of the profile."),
]
PhotoFile = Annotated[Path, typer.Argument(help="The photo: JPEG, PNG, WebP, HEIC, TIFF ...")]
Boxes = Annotated[
    list[str] | None, typer.Option("--box", metavar="X0,Y0,X1,Y1", help="A box around one.")
]
Masks = Annotated[list[Path] | None, typer.Option("--mask", help="A mask picture of one object.")]
Device = Annotated[
    str, typer.Option(metavar="auto|cpu|cuda", help="Where the networks run; auto: cuda if there.")
]
ProfileName = Annotated[str, typer.Option("--profile", help="A shipped profile or a YAML file.")]
FieldOfView = Annotated[
    float | None, typer.Option("--fov", metavar="DEG", help="Horizontal field of view.")
]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="The run folder.  [default: runs/PHOTO]")
]
Licence = Annotated[
    str, typer.Option(metavar="WORDS", help="The photo's licence, as CC-BY-4.0; files carry it.")
]
MaxFaces = Annotated[int | None, typer.Option(help="At most so many in an object.")]
MaxTexture = Annotated[
    int | None, typer.Option(metavar="PX", help="Textures of at most this size.")
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


@dataclass(frozen=True)
class ObjectsGiven:
    """How the objects of a photo are given: by prompts, or by their masks."""

    texts: Annotated[
        list[str] | None, typer.Option("--text", help="All that these words mean.")
    ] = None
    points: Annotated[
        list[str] | None, typer.Option("--point", metavar="X,Y", help="A click on an object.")
    ] = None
    boxes: Boxes = None
    masks: Masks = None
    label_map: Annotated[
        Path | None, typer.Option("--label-map", help="A picture with a label per object.")
    ] = None
    annotations: Annotated[
        Path | None,
        typer.Option("--annotations", help="Objects' outlines: COCO, labelme or CVAT."),
    ] = None
    prompts: Annotated[Path | None, typer.Option("--prompts", help="A JSON file of prompts.")] = (
        None
    )


@dataclass(frozen=True)
class ScenesGiven:
    """Which scenes of a folder or a manifest a batch is to make."""

    root: Annotated[Path | None, typer.Option(help="What a manifest's paths are relative to.")] = (
        None
    )
    include: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only photos with such a name.")
    ] = None
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="No photos with such a name.")
    ] = None
    limit: Annotated[int | None, typer.Option(help="At most so many scenes.")] = None
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only part I of N, for arrays of jobs.")
    ] = None


@dataclass(frozen=True)
class Choosing:
    """How objects are chosen by hand: at a prompt, or in a local page; anew or resumed."""

    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", help="Choose the objects at a prompt.")
    ] = False
    browser: Annotated[
        bool, typer.Option("--browser", help="Choose the objects in a page on this machine.")
    ] = False
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the choice in the run folder.")
    ] = False

    @property
    def by_hand(self) -> bool:
        """Whether a person is asked at all."""
        return self.interactive or self.browser

    def check(self) -> None:
        """Raise BadInput where the options contradict each other."""
        if self.resume and not self.by_hand:
            raise BadInput("--resume goes on with a choice: add --interactive or --browser")


@dataclass(frozen=True)
class Rendering:
    """What of a run is drawn, how, and into which files."""

    views: Annotated[
        list[str] | None,
        typer.Option(
            "--view",
            metavar="NAME|AZIMUTH,ELEVATION",
            help="camera, front, left, right, back, top, three-quarter, or angles in degrees.",
        ),
    ] = None
    object: Annotated[
        str | None,
        typer.Option("--object", metavar="N", help="One object by number, name or id; else all."),
    ] = None
    size: Annotated[
        str, typer.Option(metavar="PX|WxH", help="The longer side, or width and height.")
    ] = "960"
    background: Annotated[
        str, typer.Option(help="light, white, dark, transparent, or a colour as #ffcc00.")
    ] = "light"
    turntable: Annotated[
        Path | None, typer.Option(metavar="FILE", help="One turn as .gif, .png or .mp4.")
    ] = None
    frames: Annotated[
        int | None, typer.Option(help="Of the turntable; 20 are a second.  [default: 60]")
    ] = None
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Of views: a .png, or a folder.  [default: RUN/views]"),
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False


@dataclass(frozen=True)
class Exporting:
    """In which formats a run is exported, in what axes and unit, and within which budget."""

    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="NAMES",
            help="Of glb,obj,ply,usd,usdz,stl,3mf,fbx,mjcf,urdf.  [default: glb]",
        ),
    ] = None
    per_object: Annotated[
        bool, typer.Option("--per-object", help="A file for every object instead of the scene.")
    ] = False
    frame: Annotated[
        str | None,
        typer.Option(metavar="world|camera", help="Upright, or as the photo's camera has it."),
    ] = None
    origin: Annotated[
        str | None,
        typer.Option(metavar="floor|camera|object", help="What is at zero; object: its base."),
    ] = None
    unit: Annotated[str | None, typer.Option(metavar="m|cm|mm", help="Of lengths.")] = None
    up: Annotated[str | None, typer.Option(metavar="y|z", help="The axis that is up.")] = None
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="OBJECT=LENGTH", help="As cup=0.12m: scales everything by it."),
    ] = None
    faces: MaxFaces = None
    textures: MaxTexture = None
    blender: Annotated[
        Path | None, typer.Option(help="Writes FBX: a Blender, or a Python that has bpy.")
    ] = None
    colliders: Annotated[
        bool, typer.Option("--colliders", help="Convex parts for simulators, by CoACD.")
    ] = False
    density: Annotated[
        float, typer.Option(metavar="KG/M3", help="Of the bodies in mjcf, urdf and USD.")
    ] = 1000.0


def command(app: typer.Typer, name: str | None = None) -> Callable[[Callable[..., int]], Any]:
    """Make a function that returns an exit status a command of the app.

    A parameter whose type is a dataclass of options stands for all of them. Every command has
    --debug besides; what goes wrong is reported in one line (`cli/errors.py`).
    """

    def register(function: Callable[..., int]) -> Callable[..., int]:
        """The decorator; the function itself stays as it is."""
        hints = get_type_hints(function, include_extras=True)
        groups = {k: h for k, h in hints.items() if isinstance(h, type) and is_dataclass(h)}

        @functools.wraps(function)
        def run(debug: bool = False, **values: Any) -> None:
            """The command: the function with its groups of options put together."""
            from photoscene.cli.errors import reported

            with reported(debug):
                for key, group in groups.items():
                    values[key] = group(**{f.name: values.pop(f.name) for f in fields(group)})
                if "debug" in hints:
                    values["debug"] = debug
                raise typer.Exit(function(**values))

        parameters = [p for p in _expanded(function, hints) if p.name != "debug"]
        parameters.append(_keyword("debug", Debug, False))
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        app.command(name)(run)
        return function

    return register


def _expanded(function: Callable[..., int], hints: dict[str, Any]) -> Iterator[Parameter]:
    """A function's parameters, the fields of option groups in place of these."""
    for key, parameter in inspect.signature(function).parameters.items():
        if is_dataclass(hints[key]):
            types = get_type_hints(hints[key], include_extras=True)
            yield from (_keyword(f.name, types[f.name], f.default) for f in fields(hints[key]))
        else:
            yield _keyword(key, hints[key], parameter.default)


def _keyword(name: str, annotation: Any, default: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
