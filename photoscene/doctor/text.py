"""The diagnosis as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from photoscene.doctor.device import TORCHVISION
from photoscene.doctor.libraries import EXTRAS

MIN_FREE_GB = 2.0


def diagnosis_table(found: Mapping[str, Any]) -> str:
    """The diagnosis as text: the machine, what is installed, and last what runs here."""
    parts = [
        [f"Python {found['python']} on {found['platform']}, {found['cpus']} cores"],
        _torch_lines(found["torch"]),
        ["", "libraries", *_library_lines(found["libraries"])],
        ["", "backends", *_backend_lines(found["backends"])],
        ["", "profiles"],
        *(_profile_lines(name, entry) for name, entry in found["profiles"].items()),
        ["", *_store_lines(found["store"])],
    ]
    return "\n".join(line for part in parts for line in part)


def _torch_lines(torch: Mapping[str, Any]) -> list[str]:
    if torch["version"] is None:
        if not torch["problem"]:
            return ["torch: not installed (profile lite needs none)"]
        return [f"torch: {torch['problem']}: {torch['remedy']}"]
    lines = [f"torch {torch['version']} ({torch['build']} build)"]
    for number, device in enumerate(torch["devices"]):
        free = "" if device["free_gb"] is None else f", {device['free_gb']:g} GB of it free"
        lines.append(f"  cuda:{number} {device['name']}, {device['total_gb']:g} GB{free}")
    if torch["problem"]:
        lines.append(f"  {torch['problem']}: {torch['remedy']}")
    elif not torch["devices"]:
        lines.append("  no CUDA device")
    return [*lines, f"  torchvision: {TORCHVISION[torch['torchvision']]}"]


def _library_lines(libraries: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, entry in libraries.items():
        missing = f"missing{' (optional)' if name in EXTRAS else ''}: {entry['remedy']}"
        lines.append(f"  {name:<24} {entry['version'] or missing}")
    return lines


def _backend_lines(backends: Mapping[str, Any]) -> list[str]:
    lines = []
    for stage, states in backends.items():
        ready = [name for name, state in states.items() if state["runs"]]
        lines.append(f"  {stage:<12} ready: {', '.join(ready) or 'none'}")
        for name, state in states.items():
            found = [*_gap_lines(state["lacks"]), *state["limits"]]
            lines += [f"    {name:<14} {line}" for line in found]
    return lines


def _gap_lines(gaps: Sequence[Mapping[str, str]]) -> list[str]:
    """One line per remedy: gaps that the same command mends stand together."""
    together: dict[str, list[str]] = {}
    for gap in gaps:
        together.setdefault(gap["remedy"], []).append(gap["what"])
    return [f"lacks {', '.join(gaps)}: {remedy}" for remedy, gaps in together.items()]


def _profile_lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    backends = ", ".join(entry["backends"].values())
    lines = [f"  {name:<24} {'runs here' if entry['runs'] else 'cannot run here'}"]
    lines += [f"    {backends}", *(f"    {line}" for line in _memory_lines(entry["memory"]))]
    return lines + [f"    {line}" for line in _gap_lines(entry["lacks"])]


def _memory_lines(memory: Mapping[str, Any]) -> list[str]:
    if not memory["needed_gb"]:
        return []
    stages = ", ".join(f"{s} {gb:g}" for s, gb in memory["by_stage_gb"].items())
    line = f"device memory: {memory['needed_gb']:g} GB at once (working: {stages})"
    if memory["device_gb"] is None:
        return [f"{line}; there is no device: on the CPU it takes hours"]
    fits = "fits into" if memory["fits"] else "does not fit into"
    return [f"{line}, {fits} {memory['device_gb']:g} GB"]


def _store_lines(store: Mapping[str, Any]) -> list[str]:
    state = "writable" if store["writable"] else "NOT writable; choose another --store"
    if store["free_gb"] is None:
        return [store.get("reason", f"store {store['root']}: {state}")]
    lines = [f"store {store['root']}: {store['free_gb']:.1f} GB free, {state}"]
    if store["free_gb"] < MIN_FREE_GB:
        lines.append("  little space: free some, or point PHOTOSCENE_STORE to another disk")
    return lines
