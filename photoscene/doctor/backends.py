"""What does a backend lack on this machine, and what mends it?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.plan import STAGES
from photoscene.doctor.libraries import command, is_installed
from photoscene.models.listing import model_state
from photoscene.models.pull import with_companions
from scene.errors import BadInput
from stages.backends import AnyStage, backend_names, find_backend
from stages.model_table import known_model
from stages.settings import make_settings


def all_backends() -> dict[str, dict[str, Any]]:
    """By stage and name, with their default settings: what they need, and what lacks."""
    return {
        stage.name: {name: backend_state(stage, name, {}) for name in backend_names(stage)}
        for stage in STAGES.values()
    }


def backend_state(stage: AnyStage, name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Libraries and models of a backend with some settings; each gap with one remedy; and what it
    does not do where nothing lacks."""
    state: dict[str, Any] = {
        "runs": False, "libraries": [], "models": [], "lacks": [], "limits": [],
    }  # fmt: skip
    if name not in backend_names(stage):
        what = f"the {stage.name} backend {name}"
        gap = {"what": what, "remedy": "check the name in the profile"}
        return {**state, "lacks": [gap]}
    try:
        settings = make_settings(stage, name, values)
    except BadInput as error:
        gap = {"what": f"a setting: {error}", "remedy": "correct it in the profile"}
        return {**state, "lacks": [gap]}
    backend = find_backend(stage, name)
    libraries = backend.libraries
    models = [_model(m) for m in with_companions(backend.models_read(settings))]
    lacks = [
        {"what": f"the library {module}", "remedy": command(pip)}
        for module, pip in libraries.items()
        if not is_installed(module)
    ]
    lacks += [
        {"what": f"the weights {m['name']} ({m['gigabytes']:g} GB)", "remedy": m["remedy"]}
        for m in models
        if not m["here"]
    ]
    own = backend.weights_folder(settings)
    if own and not Path(own).expanduser().is_dir():
        lacks.append({"what": f"the folder {own}", "remedy": f"correct {stage.name}.weights"})
    return {
        "runs": not lacks,
        "libraries": list(libraries),
        "models": models,
        "lacks": lacks,
        "limits": list(backend.limits(settings)),
    }


def _model(name: str) -> dict[str, Any]:
    entry = known_model(name)
    state = model_state(entry)
    return {
        "name": name,
        "gigabytes": entry.gigabytes,
        "here": state.here,
        "folder": str(state.folder),
        "missing": list(state.missing),
        "remedy": "" if state.here else f"photoscene models pull {name}",
    }
