"""Segment backend `by_colour` of the tests: knows the words red, green and blue, in one file."""

from __future__ import annotations

import numpy as np

from scene.errors import BadInput
from scene.types import Mask, ObjectPrompt, Photo
from stages.segment import SegmentBackend
from stages.settings import NoSettings

CHANNELS = {"red": 0, "green": 1, "blue": 2}
CLEAR = 60  # a channel this far above both others


class ByColour:
    """Every pixel in which one channel stands out belongs to that colour."""

    def segment(
        self, photo: Photo, prompts: tuple[ObjectPrompt, ...], files: tuple[Mask, ...]
    ) -> list[Mask]:
        """One mask per prompt: by its words, else by the colour under its first point."""
        rgb = photo.rgb.astype(int)
        masks = []
        for prompt in prompts:
            channel = CHANNELS.get(prompt.text)
            if channel is None and prompt.points:
                x, y = int(prompt.points[0].x_px), int(prompt.points[0].y_px)
                channel = int(rgb[y, x].argmax())
            if channel is None:
                raise BadInput(f"nothing here is called {prompt.text!r}")
            others = np.delete(rgb, channel, axis=2).max(2)
            masks.append(Mask(rgb[..., channel] - others > CLEAR, prompt.label, 0.5))
        return masks


def load(settings: NoSettings, device: str) -> ByColour:
    """Nothing to load."""
    return ByColour()


BACKEND = SegmentBackend(version="1", settings=NoSettings, load=load, knows_words=True)
