"""What this machine can run: libraries, profiles, the store, and what mends each gap."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from scene.profile import load_profile, profile_names
from stages.backends import backend_names, make_settings

MIN_FREE_GB = 2.0
LIBRARIES = {
    "numpy": "numpy", "scipy": "scipy", "Pillow": "PIL", "opencv-python-headless": "cv2",
    "trimesh": "trimesh", "embreex": "embreex", "onnxruntime": "onnxruntime", "OpenEXR": "OpenEXR",
    "prefect": "prefect",
}  # fmt: skip
EXTRAS = {"torch": ("torch", "pixal3d"), "safetensors": ("safetensors", "pixal3d"),
          "fast-simplification": ("fast_simplification", "pixal3d"),
          "xatlas": ("xatlas", "pixal3d"), "transformers": ("transformers", "full"),
          "diffusers": ("diffusers", "full"), "spconv": ("spconv", "spconv"),
          "prefect-dask": ("prefect_dask", "cluster"),
          "prefect-ray": ("prefect_ray", "cluster")}  # fmt: skip


def diagnose(store_root: Path) -> dict[str, Any]:
    """Everything that decides whether a profile runs here, as plain values."""
    libraries = {name: _library(name, module, ".") for name, module in LIBRARIES.items()}
    libraries |= {
        name: _library(name, module, f".[{extra}]") for name, (module, extra) in EXTRAS.items()
    }
    base_missing = [n for n in LIBRARIES if not libraries[n]["version"]]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "libraries": libraries,
        "profiles": {name: _profile(name, base_missing) for name in profile_names()},
        "store": _store(store_root),
    }


def diagnosis_table(found: dict[str, Any]) -> str:
    """The diagnosis as text."""
    lines = [
        f"Python {found['python']} on {found['platform']}, {found['cpus']} cores",
        "",
        "libraries",
    ]
    for name, entry in found["libraries"].items():
        missing = f"missing{' (optional)' if name in EXTRAS else ''}: {entry['remedy']}"
        lines.append(f"  {name:<24} {entry['version'] or missing}")
    lines += ["", "profiles"]
    for name, entry in found["profiles"].items():
        lines.append(f"  {name:<24} {'runs here' if entry['runs'] else 'cannot run here'}")
        lines += [f"    lacks {gap}" for gap in entry["lacks"]]
        lines += [f"    {stage:<12} {backend}" for stage, backend in entry["backends"].items()]
    store = found["store"]
    state = "writable" if store["writable"] else "NOT writable; choose another --store"
    lines += ["", f"store {store['root']}: {store['free_gb']:.1f} GB free, {state}"]
    if store["free_gb"] < MIN_FREE_GB:
        lines.append("  little space: free some, or point PHOTOSCENE_STORE to another disk")
    return "\n".join(lines)


def _library(name: str, module: str, package: str) -> dict[str, Any]:
    if importlib.util.find_spec(module) is None:
        remedy = f"{sys.executable} -m pip install '{package}' in photoscene's folder"
        return {"version": None, "remedy": remedy}
    try:
        return {"version": metadata.version(name), "remedy": ""}
    except metadata.PackageNotFoundError:
        return {"version": "unknown", "remedy": ""}


def _profile(name: str, missing: list[str]) -> dict[str, Any]:
    lacks = [f"the library {library}" for library in missing]
    profile = load_profile(name)
    for stage, choice in profile.stages.items():
        if choice.backend not in backend_names(stage):
            lacks.append(f"the {stage} backend {choice.backend}")
            continue
        try:
            make_settings(stage, choice.backend, choice.settings)
        except ValueError as error:
            lacks.append(str(error))
    backends = {stage: choice.backend for stage, choice in profile.stages.items()}
    return {"runs": not lacks, "lacks": lacks, "backends": backends}


def _store(root: Path) -> dict[str, Any]:
    existing = next(p for p in (root, *root.parents) if p.exists())
    return {
        "root": str(root),
        "writable": os.access(existing, os.W_OK),
        "free_gb": round(shutil.disk_usage(existing).free / 1e9, 1),
    }
