"""What this machine can run: libraries, devices, weights, profiles, and what mends each gap."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import Any

from flows.profile import profile_names
from photoscene.doctor.backends import all_backends
from photoscene.doctor.device import largest_device_gb, torch_state
from photoscene.doctor.libraries import LIBRARIES, installed_libraries
from photoscene.doctor.profiles import profile_states
from photoscene.doctor.text import diagnosis_table
from scene.errors import BadInput, CannotRun
from scene.store import open_store
from stages.weights import models_folder

__all__ = ["diagnose", "diagnosis_table"]


def diagnose(store: str) -> dict[str, Any]:
    """Everything that decides whether a profile runs here, as plain values."""
    torch = torch_state()
    libraries = installed_libraries(torch["cuda"])
    base = [
        {"what": f"the library {name}", "remedy": libraries[name]["remedy"]}
        for name in LIBRARIES
        if not libraries[name]["version"]
    ]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "torch": torch,
        "libraries": libraries,
        "backends": all_backends(),
        "profiles": profile_states(profile_names(), base, largest_device_gb(torch)),
        "models": str(models_folder()),
        "store": _store(store),
    }


def _store(address: str) -> dict[str, Any]:
    """Whether a store can be written, or why not; free_gb is None where nobody knows it."""
    if "://" in address:
        try:
            open_store(address).blobs.check()
        except (BadInput, CannotRun) as error:
            return {"root": address, "writable": False, "free_gb": None, "reason": str(error)}
        return {"root": address, "writable": True, "free_gb": None}
    root = Path(address)
    existing = next(p for p in (root, *root.parents) if p.exists())
    return {
        "root": str(root),
        "writable": os.access(existing, os.W_OK),
        "free_gb": round(shutil.disk_usage(existing).free / 1e9, 1),
    }
