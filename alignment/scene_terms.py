"""All residuals of a scene: those of each object's points, and those of the terms that are on."""

from __future__ import annotations

from alignment.contacts import PairContact
from alignment.estimates import SingleObjectFit, norm
from alignment.evidence import MIN_SIGMA, SceneEvidence, gather_evidence
from alignment.joint import WORLD, Residual
from alignment.support import Ground
from alignment.terms import TERMS, TermWeights
from scene.types import Camera, Figure, Float64


def scene_residuals(
    objects: list[SingleObjectFit],
    pairs: list[PairContact],
    ground: Ground,
    camera: Camera,
    weights: TermWeights,
) -> tuple[SceneEvidence, list[Residual]]:
    """What is known of a scene, and the residuals to be minimised. pairs: by the objects' indices.

    Sums of floats depend on their order: the residuals are sorted by what they tie together, so
    that a term that is added leaves the order of the others.
    """
    scene = gather_evidence(objects, pairs, ground, camera, weights.contact > 0)
    at = {(p.front, p.back): index for index, p in enumerate(pairs)}
    added = [
        residual
        for term in TERMS
        if (weight := getattr(weights, term.name)) > 0
        for residual in term.residuals(scene, weight)
    ]
    added.sort(key=lambda r: (r.back == WORLD, at.get((r.front, r.back), len(at)), r.front))
    return scene, [*_points_residuals(scene), *added]


def supports(scene: SceneEvidence, residuals: list[Residual]) -> list[int | None]:
    """What each object rests on: another one's index, WORLD for the plane, or None for unknown."""
    held = {r.front for r in residuals if r.name == "plane"}
    return [
        WORLD if on is None and (scene.standing[k] or k in held) else on
        for k, on in enumerate(scene.stands_on)
    ]


def term_figures(
    scene: SceneEvidence, log_scales: Float64, weights: TermWeights
) -> list[tuple[Figure, ...]]:
    """Per object the figures of all terms that are on and report any."""
    found: list[list[Figure]] = [[] for _ in scene.objects]
    for term in TERMS:
        if term.figures is None or getattr(weights, term.name) == 0:
            continue
        for listed, figure in zip(found, term.figures(scene, log_scales), strict=True):
            listed += [figure] if figure else []
    return [tuple(figures) for figures in found]


def _points_residuals(scene: SceneEvidence) -> list[Residual]:
    """l_k = the robust fit to the object's own visible points."""
    return [
        Residual(
            "points", k, WORLD, o.log_scale,
            norm(MIN_SIGMA, o.scale_estimates.noise, scene.map_sigma, scene.shape_sigma[k] / 2),
        )
        for k, o in enumerate(scene.objects)
    ]  # fmt: skip
