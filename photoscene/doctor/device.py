"""What can networks run on here: torch, its CUDA, the devices and their memory, torchvision."""

from __future__ import annotations

import shutil
from typing import Any

from photoscene.doctor.libraries import command, is_installed

TORCHVISION = {
    "native": "works",
    "schemas": "made for another torch; beside this one its operators are only declared",
    "absent": "not installed, and not needed",
}
REINSTALL = "pip install --force-reinstall torch torchvision"


def torch_state() -> dict[str, Any]:
    """torch's version, build and CUDA devices, and torchvision's state, as plain values.

    version is None where torch is not installed or cannot be imported; problem says why.
    """
    state: dict[str, Any] = {
        "version": None, "build": None, "cuda": False, "devices": [], "torchvision": None,
        "problem": "", "remedy": "",
    }  # fmt: skip
    if not is_installed("torch"):
        return state
    try:
        import torch

        from stages.pretrained import prepare_torchvision

        state["torchvision"] = prepare_torchvision()
    except (ImportError, OSError) as error:  # a library that it is linked to is not there
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        return {**state, "problem": f"it cannot be imported: {why}", "remedy": command(REINSTALL)}
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    state |= {"version": torch.__version__, "build": build, "cuda": torch.cuda.is_available()}
    if state["cuda"]:
        state["devices"] = [_device(torch, n) for n in range(torch.cuda.device_count())]
    elif shutil.which("nvidia-smi"):
        why = "does not see" if torch.version.cuda else "is a build without CUDA, and cannot use"
        remedy = "nvidia-smi  # says whether the driver works" if torch.version.cuda else ""
        state |= {
            "problem": f"it {why} the NVIDIA device of this machine",
            "remedy": remedy or command(REINSTALL),
        }
    return state


def largest_device_gb(state: dict[str, Any]) -> float | None:
    """GB of the device with most memory, None without any."""
    return max((device["total_gb"] for device in state["devices"]), default=None)


def _device(torch: Any, number: int) -> dict[str, Any]:
    """Name and memory of a CUDA device; a busy one may not tell how much is free."""
    about = torch.cuda.get_device_properties(number)
    try:
        free: float | None = round(torch.cuda.mem_get_info(number)[0] / 1e9, 1)
    except RuntimeError:
        free = None
    return {"name": about.name, "total_gb": round(about.total_memory / 1e9, 1), "free_gb": free}
