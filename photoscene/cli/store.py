"""`photoscene store`: its commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from photoscene.cli.options import Json, StorePath, command

app = typer.Typer(
    help="The content store: how large it is, whether it is whole, removing what is not needed.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@command(app)
def stats(store: StorePath = None, json: Json = False) -> int:
    """How many results and artifacts there are, how large, and how long unused."""
    from photoscene.cli.manage_store import show_stats

    return show_stats(store, json)


@command(app)
def verify(store: StorePath = None, json: Json = False) -> int:
    """Read every file and list the damaged ones; the next run remakes them. Status 1 if any is."""
    from photoscene.cli.manage_store import verify_store

    return verify_store(store, json)


@command(app)
def gc(
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Remove results unused for so long: 30d, 12h."),
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Remove only what no run folder below needs."),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Then the results unused for longest: 50G, 800M."),
    ] = None,
    grace: Annotated[
        str,
        typer.Option(
            metavar="AGE",
            help="What was used within this time stays. Less only where nothing else runs.",
        ),
    ] = "48h",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only report what would be removed.")
    ] = False,
    store: StorePath = None,
    json: Json = False,
) -> int:
    """Remove what no result names and, as the options say, results; batches may go on meanwhile."""
    from photoscene.cli.manage_store import Cleaning, clean_store

    asked = Cleaning(older_than, tuple(runs or ()), max_size, grace, dry_run)
    return clean_store(store, asked, json)
