"""What is asked of an export, checked."""

from __future__ import annotations

from dataclasses import dataclass

from photoscene.export.frames import FRAMES, ORIGINS, UPS
from photoscene.export.model import METRES
from scene.errors import BadInput

FACES, TEXTURE_PX = (100, 2_000_000), (16, 8192)


@dataclass(frozen=True)
class ExportOptions:
    """How meshes are exported. frame, origin: None for what the run knows best; unit, up: None for
    each format's own; faces: at most so many in an
    object; texture_px: at most so many along a texture's side; size: `OBJECT=LENGTH`."""

    per_object: bool = False
    frame: str | None = None
    unit: str | None = None
    up: str | None = None
    origin: str | None = None
    faces: int | None = None
    texture_px: int | None = None
    size: str | None = None

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
        ):
            if value is not None and not low <= value <= high:
                raise BadInput(f"{option} {value}: expected {low} to {high}")
