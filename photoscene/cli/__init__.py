"""The command line. Each command's work is imported when it is called, so that --help is quick."""

from photoscene.cli.main import app

__all__ = ["app"]
