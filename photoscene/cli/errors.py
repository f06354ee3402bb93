"""Turns errors into one line and an exit status: 2 for bad input, 3 for the environment, 4 for a
fault of photoscene itself, whose traceback is written to a file."""

from __future__ import annotations

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, cast
from urllib.parse import unquote

import typer
from typer.core import TyperGroup

from photoscene.cli.faults import write_fault
from photoscene.cli.streams import OutputFailed, ReaderGone, open_streams
from scene.errors import BadInput, CannotRun, ObjectError, is_device_error
from scene.object_blobs import SCHEMES
from scene.text import printable

BAD_INPUT, ENVIRONMENT, FAULT, INTERRUPTED = 2, 3, 4, 130
MAX_LINE_LENGTH = 1000
DEFAULT_STORE = "~/.cache/photoscene"
# typer does not export it, and its module has moved between versions.
UsageError = cast(type[typer.BadParameter], typer.BadParameter.__bases__[0])
REMEDIES = {
    errno.ENOSPC: "free some space, or point --store and -o to another disk",
    errno.EROFS: "choose a writable --store and -o",
    errno.ENOENT: "choose another --store or -o",
    errno.EACCES: "choose a writable --store and -o",
    errno.EPERM: "choose a writable --store and -o",
    errno.ENOTDIR: "a part of that path is a file; choose another --store or -o",
    errno.EEXIST: "that path is a file; choose another --store or -o",
    errno.EDQUOT: "free some space, or point --store and -o to another disk",
    errno.ENAMETOOLONG: "choose a shorter --store or -o",
    errno.ELOOP: "a part of that path is a link to itself; choose another --store or -o",
    errno.EMFILE: "close other programs, or raise the limit with `ulimit -n`",
    errno.EIO: "check the disk, or point --store and -o to another one",
}
OWN_PACKAGES = (
    "scene", "alignment", "pixal3d", "cupid", "direct3d_s2", "stages", "flows", "photoscene",
)  # fmt: skip


class OneLineUsage(TyperGroup):
    """Says in one line what is wrong with the words of a command, instead of in four."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run the command; ends the process as the base class does."""
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **extra)
        open_streams()
        try:
            status = super().main(*args, standalone_mode=False, **extra)
            sys.stdout.flush()
        except UsageError as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()  # `photoscene` alone is a question, not a mistake
            else:
                command = error.ctx.command_path if error.ctx else "photoscene"
                message = error.format_message().rstrip(".")
                hint = " (or ./NAME for a file)" if type(error).__name__ == "NoSuchOption" else ""
                _print_error(f"{message}{hint}: see `{command} --help`")
            sys.exit(BAD_INPUT)
        except typer.Abort:
            sys.exit(INTERRUPTED)
        except ReaderGone:
            sys.exit(0)
        except OutputFailed as error:
            _print_error(str(error))
            sys.exit(ENVIRONMENT)
        sys.exit(status if isinstance(status, int) else 0)


@contextmanager
def reported(debug: bool) -> Iterator[None]:
    """Report what goes wrong inside as one line on standard error and exit accordingly."""
    keep_quiet(debug)
    try:
        yield
    except (typer.Exit, ReaderGone):
        raise
    except KeyboardInterrupt as error:
        kept = "stopped; finished steps are kept: run the same command to go on"
        _stop(str(error) or kept, INTERRUPTED, debug)
    except (BadInput, ObjectError) as error:
        _stop(str(error), BAD_INPUT, debug)
    except Exception as error:  # the one place where a bug ends: it is reported as one
        wanting = environment_fault(error)
        if wanting:
            _stop(wanting, ENVIRONMENT, debug)
        _stop_at_fault(error, debug)


def environment_fault(error: BaseException) -> str:
    """What this machine lacks or could not do, in one line; "" where that is not what failed."""
    if isinstance(error, CannotRun):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None:
        remedy = REMEDIES.get(error.errno, "")
        where = f" ({error.filename})" if error.filename else ""
        text = f"{error.strerror or error}{where}"
        return f"{text}: {remedy}" if remedy else text
    named = f"{type(error).__name__}: {error}"
    if isinstance(error, ImportError):  # of a library, or a part of one that is not there
        own = (error.name or "").split(".")[0] in OWN_PACKAGES
        return "" if own else named
    passing = isinstance(error, (MemoryError, ConnectionError, TimeoutError))
    threads = isinstance(error, RuntimeError) and "can't start new thread" in str(error)
    return named if passing or threads or is_device_error(error) else ""


def keep_quiet(debug: bool = False) -> None:
    """Without debug, turn Prefect's log and all libraries' warnings off.

    Prefect must not be imported yet; a log level that a user set stays.
    """
    if debug:
        return
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")  # one of `flows.settings.OURS`


def _stop(message: str, status: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    _print_error(message)
    raise typer.Exit(status)


def _stop_at_fault(error: Exception, debug: bool) -> NoReturn:
    """Write the traceback down and say where; to standard error where no file can be written."""
    path = write_fault(error, faults_root(os.environ.get("PHOTOSCENE_STORE", "")))
    if debug or path is None:
        traceback.print_exception(error)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    file = "the traceback above" if path is None else path
    _print_error(f"a fault of photoscene itself ({what}): please report it with {file}")
    raise typer.Exit(FAULT)


def _print_error(message: str) -> None:
    line = printable(" ".join(message.split()))
    if len(line) > MAX_LINE_LENGTH:  # a value that was typed may be of any length
        line = f"{line[: MAX_LINE_LENGTH // 2]} ... {line[-MAX_LINE_LENGTH // 2 :]}"
    print(f"photoscene: {line}", file=sys.stderr)


def store_root(given: str | None, profile: str | None = None) -> str:
    """The store's absolute folder or its URL: --store, else PHOTOSCENE_STORE, else what a profile
    names, else ~/.cache/photoscene."""
    root = given if given is not None else os.environ.get("PHOTOSCENE_STORE", "")
    if not root and profile is not None:
        from flows.profile import store_of

        root = store_of(profile)
    scheme, marked, rest = root.partition("://")
    if scheme == "file" and rest.startswith("/"):
        root = unquote(rest)
    elif marked and (scheme not in SCHEMES or not rest):
        kinds = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise BadInput(f"store {root}: expected a folder, or a URL that begins with {kinds}")
    elif marked:
        return root.rstrip("/")
    return os.path.abspath(os.path.expanduser(root or DEFAULT_STORE))


def faults_root(store: str) -> str:
    """The folder below which faults are written down: the store, or the default one for a URL."""
    return store_root("" if "://" in store else store)
