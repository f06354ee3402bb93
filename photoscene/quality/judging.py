"""Every row of the rubric for a scene: object by object, then files and scale."""

from __future__ import annotations

from pathlib import Path

from photoscene.quality.edges import mesh_edges
from photoscene.quality.evidence import Evidence, ObjectEvidence, read_evidence
from photoscene.quality.files import SCENE_FILE, export_rows, scene_file_row
from photoscene.quality.outline import silhouette_rows
from photoscene.quality.rubric import Quality, Row, measured
from photoscene.quality.stability import assumptions_of, stability_rows
from photoscene.quality.surface import completeness_rows
from photoscene.quality.texture import material_rows, uv_rows
from photoscene.quality.topology import topology_rows
from scene.store import Store


def judge_run(folder: Path, store: Store) -> Quality:
    """The rubric of a run folder and its scene.glb. BadInput where nothing in it is placed."""
    _, evidence = read_evidence(folder, store)
    return judge(evidence, folder / SCENE_FILE)


def judge(evidence: Evidence, scene_file: Path) -> Quality:
    """The rubric of a scene; scene_file: the GLB that is delivered with it."""
    source = evidence.source
    standing = stability_rows(source)
    rows: list[Row] = []
    for subject in evidence.objects:
        rows += [*object_rows(subject, evidence), *standing[subject.placed.id]]
    rows += [measured(name, "made", 1, why) for name, why in evidence.lost.items()]
    rows += [scene_file_row(source, scene_file), *export_rows(source)]
    return Quality(tuple(rows), (*assumptions_of(source), *source.notes))


def object_rows(subject: ObjectEvidence, evidence: Evidence) -> list[Row]:
    """All rows of one object but those of its stability."""
    camera = evidence.source.camera
    edges = mesh_edges(subject.placed.mesh)
    return [
        *silhouette_rows(subject, camera, evidence.depth),
        *completeness_rows(subject, edges, camera),
        *material_rows(subject, camera, edges),
        *topology_rows(subject, edges),
        *uv_rows(subject),
    ]
