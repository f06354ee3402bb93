"""Which camera took the photo, and where is up? The network's word, and the photo's own cues."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scene.cameras import camera_from_fov
from scene.types import Bool, Camera, Float64, Photo
from stages.map_points.shared.pitch import find_pitch

# Cues of the photo are drawn for cameras without roll that do not look straight down.
LARGEST_ROLL_DEG, LARGEST_PITCH_DEG = 5.0, 60.0
# Of the focal lengths of photos about the usual one, as a share.
USUAL_FOCAL_SPREAD = 0.35


@dataclass(frozen=True)
class Guess:
    """What the network says of the camera: up (3,) unit, camera frame, and its spread (rad); the
    focal length over the photo's longer side, and its spread as a share."""

    up: Float64
    up_spread_rad: float
    focal: float
    focal_spread: float


def settled_camera(
    photo: Photo, camera: Camera | None, guess: Guess, usual_fov_x_deg: float, unsure_focal: float
) -> tuple[Camera, list[str]]:
    """The camera as known; else with the usual field of view, weighed against the network's word
    as far as that is sure."""
    if camera is not None:
        return camera, []
    usual_rad = math.radians(usual_fov_x_deg)
    if guess.focal_spread > unsure_focal:
        return camera_from_fov(photo.width, photo.height, usual_rad), [
            f"horizontal field of view assumed: {usual_fov_x_deg:g} degrees; the photo does not "
            f"tell (focal length within {guess.focal_spread:.0%})"
        ]
    half_width = photo.width / max(photo.width, photo.height) / 2
    usual = half_width / math.tan(usual_rad / 2)
    # The spread of a Laplace distribution is its standard deviation over the root of 2.
    network_weight = 1 / (2 * guess.focal_spread**2)
    usual_weight = 1 / USUAL_FOCAL_SPREAD**2
    total = network_weight + usual_weight
    log_focal = (network_weight * math.log(guess.focal) + usual_weight * math.log(usual)) / total
    fov_x_rad = 2 * math.atan(half_width / math.exp(log_focal))
    return camera_from_fov(photo.width, photo.height, fov_x_rad), [
        f"horizontal field of view read from the photo: {math.degrees(fov_x_rad):.0f} degrees "
        f"(focal length within {1 / math.sqrt(total):.0%})"
    ]


def settled_up(
    photo: Photo,
    camera: Camera,
    masks: list[Bool],
    guess: Guess,
    usual_pitch_deg: float,
    unsure_up_deg: float,
) -> tuple[Float64, list[str]]:
    """Up (3,), unit, in the camera's frame: the network's, its pitch weighed against the cues."""
    pitch_deg, roll_deg = pitch_and_roll_deg(guess.up)
    spread_deg = math.degrees(guess.up_spread_rad)
    if spread_deg > unsure_up_deg:
        up = up_from(usual_pitch_deg, 0.0)
        return up, [f"pitch assumed: {usual_pitch_deg:g} degrees, no roll; the photo does not tell"]
    words = f"pitch {pitch_deg:.1f}, roll {roll_deg:.1f} degrees (within {spread_deg:.0f})"
    if abs(roll_deg) > LARGEST_ROLL_DEG or not 0 <= pitch_deg <= LARGEST_PITCH_DEG:
        return guess.up, [f"{words}, read from the photo"]
    weighed, source = find_pitch(photo, camera, masks, pitch_deg, spread_deg)
    if not source:
        return guess.up, [f"{words}, read from the photo"]
    return up_from(weighed, roll_deg), [
        f"{words}, read from the photo; pitch {weighed:.1f} {source} as well"
    ]


def pitch_and_roll_deg(up: Float64) -> tuple[float, float]:
    """How far the camera looks down, and how far it is turned about its axis."""
    x, y, z = up
    return math.degrees(math.asin(np.clip(-z, -1, 1))), math.degrees(math.atan2(x, -y))


def up_from(pitch_deg: float, roll_deg: float) -> Float64:
    """(3,) the inverse of `pitch_and_roll_deg`."""
    pitch, roll = math.radians(pitch_deg), math.radians(roll_deg)
    level = math.cos(pitch)
    return np.array([math.sin(roll) * level, -math.cos(roll) * level, -math.sin(pitch)])
