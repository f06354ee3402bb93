"""Which libraries are installed, and what installs those that are not?"""

from __future__ import annotations

import importlib.util
import sys
from importlib import metadata
from typing import Any

LIBRARIES = {
    "numpy": "numpy", "scipy": "scipy", "Pillow": "PIL", "opencv-python-headless": "cv2",
    "trimesh": "trimesh", "embreex": "embreex", "onnxruntime": "onnxruntime", "OpenEXR": "OpenEXR",
    "prefect": "prefect",
}  # fmt: skip
EXTRAS = {"torch": ("torch", "pixal3d"), "safetensors": ("safetensors", "pixal3d"),
          "fast-simplification": ("fast_simplification", "pixal3d"),
          "numba": ("numba", "finish"), "xatlas": ("xatlas", "finish"),
          "transformers": ("transformers", "full"),
          "diffusers": ("diffusers", "full"), "accelerate": ("accelerate", "full"),
          "huggingface-hub": ("huggingface_hub", "models"), "spconv": ("spconv", "spconv"),
          "usd-core": ("pxr", "export"), "lib3mf": ("lib3mf", "export"),
          "coacd": ("coacd", "physics"), "mujoco": ("mujoco", "physics"),
          "obstore": ("obstore", "cluster"), "ray": ("ray", "ray")}  # fmt: skip


def installed_libraries(on_cuda: bool = False) -> dict[str, dict[str, Any]]:
    """By name: the version or None, and the command that installs it (for CUDA where that is)."""
    found = {name: _library(name, module, ".") for name, module in LIBRARIES.items()}
    found |= {
        name: _library(name, module, f".[{extra}]") for name, (module, extra) in EXTRAS.items()
    }
    if on_cuda and found["spconv"]["remedy"]:  # the extra names the package for CPUs
        found["spconv"]["remedy"] = command("pip install spconv-cuXXX  # XXX: the version of CUDA")
    return found


def is_installed(module: str) -> bool:
    """Whether a module could be imported; nothing is imported."""
    return importlib.util.find_spec(module) is not None


def command(pip: str) -> str:
    """A `pip ...` command for this very Python, and where it has to be given."""
    here = " in photoscene's folder" if "'.[" in pip or "'.'" in pip or " -r " in pip else ""
    return f"{sys.executable} -m {pip}{here}" if pip.startswith("pip ") else pip


def _library(name: str, module: str, package: str) -> dict[str, Any]:
    if not is_installed(module):
        return {"version": None, "remedy": command(f"pip install '{package}'")}
    return {"version": _version(name), "remedy": ""}


def _version(name: str) -> str:
    """The version of a package; one that is built for CUDA may have another name."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        builds = (d for d in metadata.distributions() if d.name.startswith(f"{name}-cu"))
        return next((f"{d.version} ({d.name})" for d in builds), "unknown")
