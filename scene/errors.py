"""What goes wrong without a fault of ours: the classes of error that are reported in one line.

Every other exception, a plain ValueError included, is a bug: it is never caught and reported as if
it were one of these.
"""

from __future__ import annotations

import traceback

# torch.OutOfMemoryError and torch.AcceleratorError; other errors of the device are RuntimeErrors.
DEVICE_ERROR_NAMES = ("OutOfMemoryError", "AcceleratorError")
DEVICE_WORDS = ("CUDA", "cuDNN", "CUBLAS")


class BadInput(ValueError):
    """What the user gave cannot be used: a file, an option, a setting, a word. Exit status 2."""


class ObjectError(ValueError):
    """One object cannot be done: its reason is kept in the scene, and the other objects go on."""


class CannotComplete(ObjectError):
    """What is hidden of an object cannot be drawn."""


class CannotGenerate(ObjectError):
    """No mesh can be made of an object."""


class CannotPlace(ObjectError):
    """Nothing measured shows where a mesh stands in the photo."""


class CannotRun(RuntimeError):
    """This machine cannot do it now: its memory, weights, server, store or hub. Exit status 3."""


class BadWeights(CannotRun):
    """Weights that are damaged, or not those of the network that they are for."""


def is_device_error(error: object) -> bool:
    """Whether an error is one that torch reports of its device, which may pass; torch need not be
    imported."""
    if type(error).__name__ in DEVICE_ERROR_NAMES:
        return True
    return isinstance(error, RuntimeError) and any(w in str(error) for w in DEVICE_WORDS)


def is_own_mistake(error: BaseException) -> bool:
    """Whether an error that a damaged file could have raised in a library is a bug of our own code.

    So it is where wrong types were handed on, and the innermost call was ours, no library's.
    """
    if not isinstance(error, (TypeError, AttributeError, AssertionError)):
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    package = frames[-1].f_globals.get("__name__", "").partition(".")[0]
    return package == __name__.partition(".")[0] or package in ("stages", "photoscene")
