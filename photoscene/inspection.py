"""What a run's steps read and made, with every file checked: the data of `photoscene inspect`."""

from __future__ import annotations

from typing import Any

from photoscene.run_folder import Run
from scene.keys import digest
from scene.store import Store, artifact_from_json

COLUMNS = ("stage", "object", "backend", "version", "key", "state", "seconds", "why")


def inspection(run: Run, store: Store) -> dict[str, Any]:
    """Per step: key, backend, version, settings, inputs, files with sha256 and state, cost, why."""
    steps = [_inspected(step, store) for step in run.record["steps"]]
    intact = all(f["intact"] for s in steps for f in s["files"].values())
    return {
        "run": str(run.folder),
        "photo": run.record["photo_name"],
        "profile": run.request.profile.name,
        "store": str(store.root),
        "seconds": run.record["seconds"],
        "intact": intact,
        "steps": steps,
    }


def inspection_table(found: dict[str, Any]) -> str:
    """The steps as text, one line each; what is damaged is said below."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    for s in found["steps"]:
        state = "failed" if s["failure"] else "computed" if s["computed"] else "stored"
        why = s["failure"] or s["why"]
        rows.append((s["stage"], s["name"], s["backend"], s["version"], s["key"][:12], state,
                     f"{s['seconds']:.2f}", why))  # fmt: skip
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(COLUMNS) - 1)]
    lines = [
        "  ".join([*(str(c).ljust(w) for c, w in zip(row, widths, strict=False)), str(row[-1])])
        for row in rows
    ]
    lines += [
        f"damaged or missing: {s['stage']} {s['name']} {name} ({f['path']}); run again to remake it"
        for s in found["steps"]
        for name, f in s["files"].items()
        if not f["intact"]
    ]
    return "\n".join(lines)


def _inspected(step: dict[str, Any], store: Store) -> dict[str, Any]:
    files = {}
    for name, value in step["outputs"].items():
        path = store.path(artifact_from_json(value))
        intact = path.exists() and digest(path.read_bytes()) == value["sha256"]
        files[name] = {"path": str(path), "sha256": value["sha256"], "kind": value["kind"],
                       "intact": intact}  # fmt: skip
    inputs = {name: value["sha256"] for name, value in step["inputs"].items()}
    rest = {k: v for k, v in step.items() if k not in ("inputs", "outputs")}
    return {**rest, "inputs": inputs, "files": files}
