"""Where the networks run: what `--device` means on this machine."""

from __future__ import annotations

import errno

from flows.plan import STAGES
from flows.request import Profile
from scene.errors import BadInput
from stages.backends import find_backend

DEVICES = ("auto", "cpu", "cuda")


def check_device(name: str) -> None:
    """BadInput for a name that is no device's."""
    if name not in DEVICES and not name.startswith("cuda:"):
        raise BadInput(f"--device {name}: expected {', '.join(DEVICES)}")


def chosen_device(name: str) -> str:
    """The device asked for; imports torch unless it is "cpu".

    Raises BadInput for an unknown one, OSError where it is not there.
    """
    check_device(name)
    if name == "cpu":
        return name
    try:
        import torch
    except ImportError:
        if name == "auto":
            return "cpu"
        raise
    if torch.cuda.is_available():
        return "cuda" if name == "auto" else name
    if name == "auto":
        return "cpu"
    missing = f"--device {name}: torch finds no such device: use --device cpu"
    raise OSError(errno.ENODEV, missing)


def device_for(name: str, profile: Profile) -> str:
    """The device of a profile's networks; "auto" asks torch only where a backend runs on it.

    Raises as `chosen_device`.
    """
    chosen = (find_backend(STAGES[s], choice.backend) for s, choice in profile.stages.items())
    if name == "auto" and not any("torch" in backend.libraries for backend in chosen):
        return "cpu"
    return chosen_device(name)
