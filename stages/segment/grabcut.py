"""Segment backend `grabcut`: classical, by points, by boxes, or all that stands out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scene.cores import side_by_side
from scene.errors import BadInput
from scene.types import Mask, ObjectPrompt, Photo
from stages.segment import SegmentBackend, name_of
from stages.segment.shared.analysed import Settings, analyse, propose
from stages.segment.shared.outline import enlarged
from stages.segment.shared.pointed import segment_prompt
from stages.segment.shared.saliency import WEIGHTS_FILE, WEIGHTS_SHA256, SaliencyMap, load_saliency


@dataclass(frozen=True, eq=False)
class GrabCut:
    """The classical backend: deterministic, on the CPU."""

    settings: Settings
    saliency_of: SaliencyMap

    def segment(
        self, photo: Photo, prompts: tuple[ObjectPrompt, ...], files: tuple[Mask, ...]
    ) -> list[Mask]:
        """One mask per prompt in order, or without prompts one per object found, largest first.

        Masks are (H, W) bool at the photo's size. `files` are another backend's business and are
        ignored. Raises BadInput where a prompt cannot be followed.
        """
        for index, prompt in enumerate(prompts):
            check_prompt(prompt, name_of(prompt, index))
        # A box brings its own closer look; without prompts every part of the photo gets one.
        clicks = [p for q in prompts if q.box is None for p in q.points if p.foreground]
        analysed = analyse(photo, self.saliency_of, self.settings, clicks if prompts else None)
        if prompts:
            masks = side_by_side(
                lambda index: segment_prompt(analysed, self.saliency_of, prompts, index),
                range(len(prompts)),
            )
        else:
            masks = propose(analysed, self.settings)
        return side_by_side(lambda m: replace(m, pixels=enlarged(m.pixels, photo.rgb)), masks)


def load(settings: Settings, device: str) -> GrabCut:
    """Read the saliency weights; every device means the CPU here."""
    return GrabCut(settings, load_saliency())


def check_prompt(prompt: ObjectPrompt, name: str) -> None:
    """Raise BadInput where a prompt has nothing to point at."""
    if prompt.box is None and not any(p.foreground for p in prompt.points):
        words = f"only the words {prompt.text!r}" if prompt.text else "no box and no point on it"
        raise BadInput(
            f"{name} has {words}: grabcut understands points and boxes, not words; "
            "give --point or --box, or choose a backend that knows words"
        )


BACKEND = SegmentBackend(
    version="5",
    settings=Settings,
    load=load,
    loading=(),
    weights_sha256=WEIGHTS_SHA256,
    bundled=(WEIGHTS_FILE,),
)
