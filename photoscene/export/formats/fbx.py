"""fbx: Autodesk FBX, by a Blender that is installed; y up, centimetres as FBX counts.

Blender's library cannot be in our own environment, since its wheels need another numpy: it is a
process, and what it is given is the GLB. assimp is no substitute: of its files (5.2) neither
Blender nor assimp itself reads even a box.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from photoscene.export.formats import glb
from photoscene.export.model import Exporter, ExportScene, without_lists
from scene.errors import BadInput, CannotRun

SCRIPT = Path(__file__).with_name("fbx_in_blender.py")
REMEDY = (
    "install Blender, or its library by `python3.11 -m venv blender && blender/bin/pip install "
    "bpy==5.0.1` and give it as --blender blender/bin/python"
)


def exporter(blender: Path | None = None) -> Exporter:
    """The exporter that uses this Blender, or a Python with bpy; else what the search path has."""
    return Exporter(
        "fbx",
        partial(write, blender=blender),
        unit="cm",
        up="y",
        check=lambda: _check(blender),
    )


def write(scene: ExportScene, folder: Path, blender: Path | None = None) -> None:
    """NAME.fbx, textures inside."""
    target = folder / f"{scene.name}.fbx"
    objects = tuple(replace(o, metadata=without_lists(o.metadata)) for o in scene.objects)
    with tempfile.TemporaryDirectory() as parts:
        source, made = Path(parts) / f"{scene.name}.glb", Path(parts) / target.name
        glb.write(replace(scene, objects=objects), Path(parts))
        command = [*_program(blender), str(source), str(made)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode or not made.exists():
            lines = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
            errors = [line for line in lines if "Error" in line] or lines or ["nothing"]
            raise CannotRun(f"format fbx: {command[0]} failed and reported: {errors[-1].strip()}")
        shutil.move(made, target)


def _program(blender: Path | None) -> list[str]:
    """The command that converts, but for its two files."""
    program = str(blender or "blender")
    if _is_python(Path(program)):
        return [program, "-I", str(SCRIPT)]
    options = ["--background", "--factory-startup", "--python-exit-code", "1", "--python"]
    return [program, *options, str(SCRIPT), "--"]


def _is_python(program: Path) -> bool:
    return program.name.startswith("python")


def _check(blender: Path | None) -> None:
    """BadInput, or CannotRun, where no FBX can be written."""
    if blender is None:
        if shutil.which("blender") is None:
            raise CannotRun(f"format fbx needs Blender: {REMEDY}")
        return
    if shutil.which(blender) is None:
        raise BadInput(f"--blender {blender}: no such program: {REMEDY}")
    if _is_python(blender):
        asked = "import importlib.util, sys; sys.exit(importlib.util.find_spec('bpy') is None)"
        if subprocess.run([str(blender), "-I", "-c", asked], capture_output=True).returncode:
            raise BadInput(f"--blender {blender}: this Python has no bpy: {REMEDY}")


EXPORTER = exporter()
