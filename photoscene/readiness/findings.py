"""What is checked of a photo before it is reconstructed, what each finding costs, and the sum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

READY = 60  # a photo with a lower score is not ready
NOTABLE = 1.0  # a finding that costs at least this many points is reported


@dataclass(frozen=True)
class Kind:
    """One thing that is measured: its score is 1 at `good`, 0 at `bad`, straight between them.

    weight: points that it costs at worst; unit of the measured value; by_ratio: straight in the
    value's logarithm; advice: why it matters and what to do.
    """

    weight: float
    unit: str
    good: float
    bad: float
    advice: str
    by_ratio: bool = False


KINDS: Mapping[str, Kind] = {
    "objects": Kind(
        50, "objects found", 1, 0,
        "Nothing stands out, and there would be no object: choose one with --box or --mask.",
    ),
    "resolution": Kind(
        15, "px, root of the area", 900, 200,
        "Shapes and textures have no more detail than the photo: give the original file.", True,
    ),
    "object size": Kind(
        40, "px, side of an object's crop", 512, 64,
        "A generator sees each object at 512 to 1024 pixels, enlarged where there are fewer: go "
        "nearer, or give a larger photo.", True,
    ),
    "sharpness": Kind(
        45, "px of blur at the sharpest edges", 1.1, 2.8,
        "Blurred outlines make soft shapes: hold the camera still, focus on the objects.", True,
    ),
    "highlights": Kind(
        20, "% of the objects burnt out", 4, 35,
        "Where all is white neither shape nor colour is known: expose less, soften the light.",
    ),
    "shadows": Kind(
        20, "% of the objects black", 15, 70,
        "Where all is black neither shape nor colour is known: expose more, add light.",
    ),
    "contrast": Kind(
        20, "grey levels from dark to bright", 90, 20,
        "Outlines are hard to find in a flat picture: avoid haze and glare, expose well.",
    ),
    "noise": Kind(
        30, "grey levels of noise", 4, 18,
        "Noise becomes bumps and spotted textures: use more light, a lower ISO, or a denoiser.",
    ),
    "compression": Kind(
        20, "grey levels of steps between blocks", 1, 6,
        "Blocks of a strongly compressed file become texture: give the original file.",
    ),
    "cut off": Kind(
        20, "% of the outlines at the photo's border", 3, 30,
        "What lies beyond the border has to be guessed: take the photo with room around.",
    ),
    "clutter": Kind(
        15, "objects, and half for each that touches another", 10, 30,
        "What objects hide of each other has to be guessed, and each costs time: spread them out, "
        "or choose a few with --box or --mask.",
    ),
    "see-through": Kind(
        10, "hints of glass", 0, 1,
        "Possibly glass or clear plastic, which comes out opaque or full of holes: dust it with "
        "powder, or leave it out.",
    ),
    "overlay": Kind(
        15, "hints of text or a mark over the picture", 0, 1,
        "Possibly a watermark or a caption, which becomes texture: give the photo without it.",
    ),
    "focal length": Kind(
        3, "focal lengths in the EXIF data", 1, 0,
        "Without it the field of view is estimated: give --fov if you know it, or the camera's own "
        "file.",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that was measured. score 0 (bad) to 1 (good); penalty: points it costs; value in
    `unit`, None where the photo does not tell, which costs nothing; advice: why, and what to do."""

    name: str
    score: float
    penalty: float
    value: float | None
    unit: str
    advice: str


@dataclass(frozen=True)
class Readiness:
    """All findings, the costliest first, and what they leave of 100 points."""

    score: int
    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        """Whether it is worth a generator's time."""
        return self.score >= READY


def make_finding(name: str, value: float | None) -> Finding:
    """The finding for a measured value of a kind, None where it could not be measured."""
    kind = KINDS[name]
    score = 1.0 if value is None else ramp(value, kind.good, kind.bad, kind.by_ratio)
    shown = None if value is None else round(float(value), 3)
    penalty = round(kind.weight * (1 - score), 2)
    return Finding(name, round(score, 4), penalty, shown, kind.unit, kind.advice)


def summed(values: Mapping[str, float | None]) -> Readiness:
    """100 points less all penalties, never below 0."""
    findings = [make_finding(name, value) for name, value in values.items()]
    left = 100 - sum(finding.penalty for finding in findings)
    ranked = sorted(findings, key=lambda f: -f.penalty)
    return Readiness(max(0, round(left)), tuple(ranked))


def ramp(value: float, good: float, bad: float, by_ratio: bool = False) -> float:
    """1 at good and on its side of it, 0 at bad and beyond, straight between."""
    if by_ratio:
        value, good, bad = (math.log(max(v, 1e-9)) for v in (value, good, bad))
    return min(1.0, max(0.0, (value - bad) / (good - bad)))
