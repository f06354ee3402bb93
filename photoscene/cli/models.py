"""`photoscene models`: its commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from photoscene.cli.options import Debug, Json, command

app = typer.Typer(
    help="The weights: which there are, fetching them, checking them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Names = Annotated[
    list[str] | None, typer.Argument(metavar="NAME...", help="Models, as `models list` names them.")
]
Profile = Annotated[str | None, typer.Option("--profile", help="All models of a profile.")]


@command(app, "list")
def list_models(profile: Profile = None, json: Json = False) -> int:
    """Every model: what it is, its size, licence and commit, and whether it is here."""
    from photoscene.cli.manage_models import show_models

    return show_models(profile, json)


@command(app)
def pull(
    names: Names = None,
    profile: Profile = None,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Another folder of models, as a mirror to copy.  "
            "[default: PHOTOSCENE_MODELS, else ~/.cache/photoscene/models]",
        ),
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(metavar="S", help="Seconds for the hub's first answer.  [default: 1.2]"),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Fetch models from the hub; goes on where it stopped, fetches only what is not here whole."""
    from photoscene.cli.manage_models import pull_models

    return pull_models(names or (), profile, to, wait, json, debug)


@command(app)
def verify(names: Names = None, json: Json = False) -> int:
    """Read every byte of the models that are here, and say what is damaged and what mends it."""
    from photoscene.cli.manage_models import verify_models

    return verify_models(names or (), json)
