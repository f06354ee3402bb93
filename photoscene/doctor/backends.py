"""What does a backend lack on this machine, and what mends it?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from photoscene.doctor.libraries import command, is_installed
from photoscene.models.listing import model_state
from photoscene.models.pull import with_companions
from scene.errors import BadInput
from stages.backends import backend_names, libraries_of, make_settings, models_of, weights_setting
from stages.model_table import known_model

STAGES = ("segment", "map_points", "complete", "generate", "place", "compose")


def all_backends() -> dict[str, dict[str, Any]]:
    """By stage and name, with their default settings: what they need, and what lacks."""
    return {
        stage: {name: backend_state(stage, name, {}) for name in backend_names(stage)}
        for stage in STAGES
    }


def backend_state(stage: str, name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Libraries and models of a backend with some settings; each gap with one remedy."""
    state: dict[str, Any] = {"runs": False, "libraries": [], "models": [], "lacks": []}
    if name not in backend_names(stage):
        gap = {"what": f"the {stage} backend {name}", "remedy": "check the name in the profile"}
        return {**state, "lacks": [gap]}
    try:
        settings = make_settings(stage, name, values)
    except BadInput as error:
        gap = {"what": f"a setting: {error}", "remedy": "correct it in the profile"}
        return {**state, "lacks": [gap]}
    libraries = libraries_of(stage, name)
    models = [_model(m) for m in with_companions(models_of(stage, name, settings))]
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
    own = weights_setting(settings)
    if own and not Path(own).expanduser().is_dir():
        lacks.append({"what": f"the folder {own}", "remedy": f"correct {stage}.weights"})
    return {"runs": not lacks, "libraries": list(libraries), "models": models, "lacks": lacks}


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
