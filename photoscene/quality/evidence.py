"""What a run is judged by: its placed meshes, masks, depth and camera."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from photoscene.export.source import Source, read_source
from photoscene.runs.folder import Run, read_scene
from scene.bundles import numbered
from scene.placed import PlacedMesh
from scene.store import DamagedArtifact, Store
from scene.types import Artifact, Bool, Float32, Mask, PointMap


@dataclass(frozen=True, eq=False)
class ObjectEvidence:
    """A placed object with its visible mask (H, W), and the pixels (H, W) of nearer objects."""

    placed: PlacedMesh
    mask: Bool
    occluder: Bool


@dataclass(frozen=True, eq=False)
class Evidence:
    """A run's scene: what is exported, the objects with their masks, and the map's z (H, W)."""

    source: Source
    objects: tuple[ObjectEvidence, ...]
    depth: Float32

    @property
    def lost(self) -> Mapping[str, str]:
        """The objects that are not there, by name with why."""
        return self.source.lost


def read_evidence(folder: Path, store: Store) -> tuple[Run, Evidence]:
    """The evidence of a run folder. BadInput where it has nothing placed, DamagedArtifact where its
    masks are gone."""
    run, source = read_source(folder, store)
    scene = read_scene(folder)
    assert scene.points is not None  # `read_source` has refused the others
    crops = next((s.outputs for s in run.record.steps if s.stage == "crop"), {})
    placed = {o.id: o for o in source.placed}
    objects = []
    for index, o in enumerate(scene.objects):
        if o.id in placed:
            mask = store.load(o.mask, Mask).pixels
            occluder = _occluder(store, crops.get(numbered(index, "hidden_by")), mask)
            objects.append(ObjectEvidence(placed[o.id], mask, occluder))
    depth = store.load(scene.points, PointMap).depth
    return run, Evidence(source, tuple(objects), depth)


def _occluder(store: Store, artifact: Artifact | None, mask: Bool) -> Bool:
    """What may hide an object, as it was placed by; nothing where the run no longer has it."""
    if artifact is None:
        return np.zeros_like(mask)
    try:
        return store.load(artifact, Mask).pixels
    except DamagedArtifact:
        return np.zeros_like(mask)
