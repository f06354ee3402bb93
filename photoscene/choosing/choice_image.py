"""What a person sees while choosing: masks, clicks and boxes on the photo, with a ruler."""

from __future__ import annotations

import math

import cv2
import numpy as np

from photoscene.choosing.entries import Choice
from scene.drawing import draw_masks, mask_colour
from scene.types import Bool, ObjectPrompt, Photo, Uint8

LONG_SIDE_PX = 1280  # larger than a terminal shows, small enough to be drawn at once
TICK_SPACING_PX = 60  # at least this far apart, so that numbers do not touch
TICK_STEPS = (1, 2, 5, 10)
MARGIN_PX, TICK_PX = 34, 6
PAPER, INK = (250, 250, 250), (40, 40, 40)
FONT, FONT_SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.38


def draw_choice(photo: Photo, masks: list[Bool], choice: Choice, photo_width_px: int) -> Uint8:
    """(H, W, 3) image of a choice; masks (h, w) as the photo, prompts in photo_width_px units."""
    scale = min(1.0, LONG_SIDE_PX / max(photo.width, photo.height))
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    rgb = np.asarray(cv2.resize(photo.rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    small = [
        cv2.resize(m.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for m in masks
    ]
    image = draw_masks(rgb, small)
    shown_from_photo = size[0] / photo_width_px
    for index, prompt in enumerate(choice.objects):
        _draw_prompt(image, prompt, shown_from_photo, mask_colour(index))
    return with_ruler(image, shown_from_photo)


def with_ruler(image: Uint8, shown_from_photo: float) -> Uint8:
    """The image with a margin above and on the left that counts the photo's pixels."""
    height, width = image.shape[:2]
    framed = np.full((height + MARGIN_PX, width + MARGIN_PX, 3), PAPER, np.uint8)
    framed[MARGIN_PX:, MARGIN_PX:] = image
    step = tick_step(TICK_SPACING_PX / shown_from_photo)
    for value in range(0, math.ceil(width / shown_from_photo), step):
        x = MARGIN_PX + round(value * shown_from_photo)
        cv2.line(framed, (x, MARGIN_PX - TICK_PX), (x, MARGIN_PX - 1), INK, 1)
        _write(framed, str(value), (x - 3 * len(str(value)), MARGIN_PX - TICK_PX - 5))
    for value in range(0, math.ceil(height / shown_from_photo), step):
        y = MARGIN_PX + round(value * shown_from_photo)
        cv2.line(framed, (MARGIN_PX - TICK_PX, y), (MARGIN_PX - 1, y), INK, 1)
        if value:  # the corner's zero stands above already
            _write(framed, str(value), (1, y + 4))
    return framed


def tick_step(minimum: float) -> int:
    """The smallest round number, 1, 2 or 5 times a power of ten, that is at least this."""
    power = 10 ** math.floor(math.log10(max(minimum, 1)))
    return next(s * power for s in TICK_STEPS if s * power >= minimum)


def _draw_prompt(
    image: Uint8, prompt: ObjectPrompt, scale: float, colour: tuple[int, int, int]
) -> None:
    if prompt.box is not None:
        x0, y0, x1, y1 = (round(v * scale) for v in prompt.box)
        cv2.rectangle(image, (x0, y0), (x1, y1), (255, 255, 255), 3)
        cv2.rectangle(image, (x0, y0), (x1, y1), colour, 1)
    for point in prompt.points:
        centre = (round(point.x_px * scale), round(point.y_px * scale))
        fill = (30, 170, 60) if point.foreground else (210, 40, 40)
        cv2.circle(image, centre, 6, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(image, centre, 5, fill, -1, cv2.LINE_AA)
        x, y = centre
        cv2.line(image, (x - 3, y), (x + 3, y), (255, 255, 255), 1)
        if point.foreground:
            cv2.line(image, (x, y - 3), (x, y + 3), (255, 255, 255), 1)


def _write(image: Uint8, text: str, corner: tuple[int, int]) -> None:
    cv2.putText(image, text, corner, FONT, FONT_SIZE, INK, 1, cv2.LINE_AA)
