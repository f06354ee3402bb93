"""The command line. Each command's work is imported when it is called, so that --help is quick."""

import atexit
import gc

from photoscene.cli.main import app

# At its end Python would look through all objects once more: most of a second after a run.
atexit.register(gc.freeze)

__all__ = ["app"]
