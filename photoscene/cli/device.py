"""Where the networks run: what `--device` means on this machine."""

from __future__ import annotations

import errno

DEVICES = ("auto", "cpu", "cuda")


def chosen_device(name: str) -> str:
    """The device asked for; ValueError for an unknown one, OSError where it is not there."""
    if name not in DEVICES and not name.startswith("cuda:"):
        raise ValueError(f"--device {name}: expected {', '.join(DEVICES)}")
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
