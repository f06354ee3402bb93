"""The small images of a scene on the page of its batch."""

from __future__ import annotations

from pathlib import Path

from photoscene.batch.records import KEPT
from photoscene.report.flat_images import jpeg, shrunk
from scene.atomic import write_atomically
from scene.files import decode_png
from scene.store import Store
from scene.types import Artifact, Photo, Scene

SIDE_PX, QUALITY = 240, 78  # 8 to 14 kB an image: a thousand scenes stay below 30 MB
KINDS = ("photo", "overlay")


def image_path(name: str, kind: str) -> str:
    """Where an image of a scene lies, below the output folder."""
    return f"{KEPT}/images/{name}.{kind}.jpg"


def write_images(output: Path, name: str, scene: Scene, store: Store) -> None:
    """Write the photo and, where there is one, the overlay."""
    images = {"photo": store.load(scene.photo, Photo).rgb}
    if isinstance(scene.overlay, Artifact):
        images["overlay"] = decode_png(store.read(scene.overlay), "RGB")
    for kind, rgb in images.items():
        write_atomically(output / image_path(name, kind), jpeg(shrunk(rgb, SIDE_PX), QUALITY))
    if "overlay" not in images:
        (output / image_path(name, "overlay")).unlink(missing_ok=True)
