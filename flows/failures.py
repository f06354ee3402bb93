"""What a failed call means: it is retried, this one object cannot be done, or the run ends."""

from __future__ import annotations

from flows.calls import WHOLE_SCENE, Outcome, StageCall
from scene.errors import BadInput, CannotRun, ObjectError, is_device_error
from stages.device_memory import is_out_of_memory
from stages.devices import OutOfDeviceMemory

RETRY_DELAYS_S = (2.0, 10.0)  # before the second and the third try of what may pass
PASSING_ERRORS = (ConnectionError, TimeoutError)  # may be gone at the next try


def can_pass(error: BaseException) -> bool:
    """Whether a failure may be gone at the next try: memory, device, connection; never a bug."""
    if isinstance(error, OutOfDeviceMemory):
        return False  # it was tried again already, with all memory freed
    return _passes(error)


def failed(call: StageCall, error: BaseException) -> Outcome:
    """What comes of a call that ended with an error.

    A failure, with its reason in one line, is what this input or this object makes impossible, and
    what may pass. All else ends the run: a bug, and what this machine lacks for every other step
    too (a full disk, a missing library, damaged weights).
    """
    wanting = _passes(error) or isinstance(error, OutOfDeviceMemory)
    if wanting and call.subject == WHOLE_SCENE:
        return Outcome(call, None, error=_without_scene(call.stage, error))
    if not (wanting or isinstance(error, (BadInput, ObjectError))):
        return Outcome(call, None, error=error)
    out_of_memory = isinstance(error, OutOfDeviceMemory) or is_out_of_memory(error)
    return Outcome(call, None, failure=reason(error), out_of_memory=out_of_memory)


def _passes(error: BaseException) -> bool:
    passing = isinstance(error, PASSING_ERRORS) or is_device_error(error)
    return passing or is_out_of_memory(error)


def _without_scene(stage: str, error: BaseException) -> Exception:
    """What this machine lacks for a step of the whole scene."""
    if isinstance(error, MemoryError):
        return MemoryError(f"{stage}: close other programs, or give a smaller photo")
    found = CannotRun(f"{stage}: {reason(error)}")
    found.__cause__ = error
    return found


def reason(error: BaseException) -> str:
    """One line for an exception: its message, led by its type where that says more."""
    text = " ".join(str(error).split())
    if isinstance(error, (BadInput, ObjectError, OutOfDeviceMemory)) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
