"""The roof: what a person touches. The command line, the run folder, inspection and the doctor."""

import os
import sys


def _leave_out_the_working_directory() -> None:
    """Let the command import nothing from where one works, unless photoscene itself lies there.

    `python -m`, and an empty entry of PYTHONPATH, put that folder before our own packages and
    Python's: a folder of images may hold a `scene` or a `socket.py`. `scene.child` does the same
    for the processes that we start.
    """
    try:
        here = os.path.realpath(os.getcwd())
    except FileNotFoundError:  # it was deleted
        return
    if here != os.path.realpath(f"{__path__[0]}/.."):
        sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != here]


# Who only imports us decides alone; "-m" stands there while Python looks for what it is to run.
if sys.argv[0] == "-m" or os.path.basename(sys.argv[0]).startswith("photoscene"):
    _leave_out_the_working_directory()

from scene.telemetry import refuse_telemetry  # noqa: E402  which `scene`, is decided above

refuse_telemetry()
