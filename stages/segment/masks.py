"""Segment backend `masks`: the user's own mask files, one per object."""

from __future__ import annotations

from scene.errors import BadInput
from scene.types import Mask, ObjectPrompt, Photo
from stages.segment import SegmentBackend
from stages.settings import NoSettings


class MaskFiles:
    """Hands the given masks on."""

    def segment(
        self, photo: Photo, prompts: tuple[ObjectPrompt, ...], files: tuple[Mask, ...]
    ) -> list[Mask]:
        """The files' masks in their order; points, boxes and words mean nothing here."""
        if prompts:
            raise BadInput(
                "backend masks takes mask files only: leave out --point, --box and --text"
            )
        if not files:
            raise BadInput("backend masks needs at least one --mask FILE")
        for index, mask in enumerate(files):
            if mask.pixels.all():
                raise BadInput(
                    f"mask {index + 1} ({mask.label}) covers the whole photo: is it inverted, or "
                    "saved without its transparency? The object is white, the rest black"
                )
        return list(files)


def load(settings: NoSettings, device: str) -> MaskFiles:
    """Nothing to load."""
    return MaskFiles()


BACKEND = SegmentBackend(version="2", settings=NoSettings, load=load)
