"""What is asked of an export, checked."""

from __future__ import annotations

from dataclasses import dataclass

from photoscene.export.frames import FRAMES, ORIGINS, UPS
from photoscene.export.model import METRES
from photoscene.physics.mass import DENSITY
from scene.errors import BadInput

FACES, TEXTURE_PX = (100, 2_000_000), (16, 8192)
DENSITIES = (0.1, 50_000)  # kg / m^3: from aerogel to twice any metal


@dataclass(frozen=True)
class ExportOptions:
    """How meshes are exported. frame, origin: None for what the run knows best; unit, up: None for
    each format's own; faces: at most so many in an object; texture_px: at
    most so many along a texture's side; size: `OBJECT=LENGTH`; colliders: convex parts instead of
    one hull; density: of bodies, kg / m^3."""

    per_object: bool = False
    frame: str | None = None
    unit: str | None = None
    up: str | None = None
    origin: str | None = None
    faces: int | None = None
    texture_px: int | None = None
    size: str | None = None
    colliders: bool = False
    density: float = DENSITY

    def __post_init__(self) -> None:
        for option, value, known in (
            ("--frame", self.frame, FRAMES),
            ("--unit", self.unit, (*METRES,)),
            ("--up", self.up, UPS),
            ("--origin", self.origin, ORIGINS),
        ):
            if value is not None and value not in known:
                raise BadInput(f"{option} {value}: expected {' or '.join(known)}")
        for option, value, (low, high) in (
            ("--faces", self.faces, FACES),
            ("--textures", self.texture_px, TEXTURE_PX),
            ("--density", self.density, DENSITIES),
        ):
            if value is not None and not low <= value <= high:
                raise BadInput(f"{option} {value}: expected {low} to {high}")
