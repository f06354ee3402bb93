"""The rubric: what is measured, from which figure on it is to be checked, and when it fails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PASS, CHECK, FAIL, UNKNOWN = "pass", "check", "fail", "not measured"
VERDICTS = (FAIL, CHECK, UNKNOWN, PASS)  # the worst first
SCENE = "scene"


@dataclass(frozen=True)
class Criterion:
    """One row of the rubric: up to `good` it passes, beyond `bad` it fails, between is to check.

    Figures grow as things get worse, or with good > bad, as they get better. unit: "%" for shares,
    "px", "x" for ratios, "" for counts; words: what figures 0, 1, 2 stand for. docs/quality.md says
    why the limits are where they are.
    """

    area: str
    name: str
    good: float
    bad: float
    unit: str
    meaning: str
    words: tuple[str, ...] = ()

    def verdict(self, figure: float) -> str:
        """Of a figure; one that is no number fails."""
        if math.isnan(figure):
            return FAIL
        sign = 1 if self.good <= self.bad else -1
        if sign * figure <= sign * self.good:
            return PASS
        return CHECK if sign * figure <= sign * self.bad else FAIL

    def shown(self, figure: float) -> str:
        """A figure as people read it."""
        if self.words:
            return self.words[int(figure)]
        if self.unit == "%":
            return f"{figure:.2%}" if abs(figure) < 0.1 else f"{figure:.0%}"
        text = f"{figure:.0f}" if self.unit == "" else f"{figure:.2f}"
        return f"{text} {self.unit}".rstrip()

    @property
    def limits(self) -> str:
        """What passes, in words."""
        if self.words:
            return f"expected {self.shown(self.good)}"
        return f"{'at most' if self.good <= self.bad else 'at least'} {self.shown(self.good)}"


CRITERIA = (
    Criterion("silhouette", "outline", 0.9, 0.5, "%",
              "IoU of the drawn outline and the visible mask, occluders set aside"),
    Criterion("silhouette", "boundary", 3, 12, "px",
              "mean distance between the two outlines, in a photo 1000 pixels long"),
    Criterion("silhouette", "depth", 0.05, 0.15, "%",
              "mean depth error of the visible pixels against the point map"),
    Criterion("completeness", "made", 0, 0, "", "whether there is a mesh", ("yes", "no")),
    Criterion("completeness", "closed", 0, 0.001, "%", "edges with one face"),
    Criterion("completeness", "floaters", 0.0005, 0.01, "%",
              "surface in pieces that hang apart from the largest one"),
    Criterion("completeness", "normals", 0.005, 0.05, "%",
              "first hits from all sides that show the inner side of a face"),
    Criterion("completeness", "seen", 0.2, 0.05, "%",
              "surface that the photo shows; the rest is guessed"),
    Criterion("material", "maps", 1, 0, "", "maps with content: colour, roughness, normals"),
    Criterion("material", "resolution", 0.5, 0.2, "x", "texels along a pixel of the photo"),
    Criterion("material", "seams", 24, 60, "levels",
              "colour step across the seams of the texture, the median"),
    Criterion("topology", "faces", 200_000, 1_000_000, "", "triangles"),
    Criterion("topology", "pieces", 8, 64, "", "parts of the surface that share no vertex"),
    Criterion("topology", "non-manifold", 0, 0.001, "%",
              "edges with more than two faces, and faces without area"),
    Criterion("topology", "slivers", 0.25, 0.75, "%", "faces more than 10 times as long as high"),
    Criterion("topology", "UV islands", 6, 2, "faces", "faces in an island of the texture"),
    Criterion("topology", "UV overlap", 0.01, 0.1, "%",
              "covered texels that two faces claim, or that lie outside the texture"),
    Criterion("topology", "UV stretch", 1.5, 3, "x",
              "mean stretch of the texture on the surface (L2), 1 for none"),
    Criterion("export", "read back", 0.001, 0.001, "%",
              "difference of the boxes of an exported file and of the scene"),
    Criterion("export", "origin", 0.001, 0.001, "%",
              "distance of an exported object's base from the origin, over its size"),
    Criterion("export", "scale", 0, 1, "", "what a unit of length is",
              ("metres", "relative", "implausible")),
    Criterion("stability", "colliders", 0.03, 0.03, "%",
              "farthest that the mesh stands out of its convex parts, over its size"),
    Criterion("stability", "stands", 0.01, 0.05, "%",
              "how far it moves in 2 s of simulation, over the object's size"),
)  # fmt: skip
BY_NAME = {c.name: c for c in CRITERIA}
AREAS = tuple(dict.fromkeys(c.area for c in CRITERIA))


@dataclass(frozen=True)
class Row:
    """A criterion applied to an object, or to the scene or a file of it.

    figure: None where it was not measured; note: what else there is to say.
    """

    subject: str
    area: str
    name: str
    verdict: str
    figure: float | None
    text: str
    limits: str
    note: str = ""


@dataclass(frozen=True)
class Quality:
    """The rows of a run, object by object, then those of the scene; assumptions: in words."""

    rows: tuple[Row, ...]
    assumptions: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """The worst of the rows that were measured."""
        found = {row.verdict for row in self.rows}
        return next((v for v in (FAIL, CHECK) if v in found), PASS)

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have which verdict."""
        return {v: sum(row.verdict == v for row in self.rows) for v in (PASS, CHECK, FAIL, UNKNOWN)}

    def of(self, subject: str, name: str) -> Row:
        """One row."""
        return next(r for r in self.rows if (r.subject, r.name) == (subject, name))


def measured(subject: str, name: str, figure: float, note: str = "") -> Row:
    """The row of a criterion with its figure."""
    c = BY_NAME[name]
    return Row(
        subject, c.area, name, c.verdict(figure), _finite(figure), c.shown(figure), c.limits, note
    )


def not_measured(subject: str, name: str, why: str) -> Row:
    """The row of a criterion that could not be applied; it fails nothing."""
    c = BY_NAME[name]
    return Row(subject, c.area, name, UNKNOWN, None, why, c.limits)


def sorted_rows(rows: Sequence[Row]) -> list[Row]:
    """The worst first, else in their order."""
    return sorted(rows, key=lambda row: VERDICTS.index(row.verdict))


def _finite(figure: float) -> float | None:
    return round(figure, 6) if math.isfinite(figure) else None
