"""Does NAF equal the reference, over the whole map and at single pixels?"""

from __future__ import annotations

import torch

from pixal3d.networks import build_network
from sparse3d.naf import Naf, attend_at_pixels
from support.parity.fixture import Fixture


def check_naf(fixture: Fixture) -> None:
    naf = build_network(fixture.kind, fixture.arguments)
    assert isinstance(naf, Naf)
    fixture.load_into(naf)
    image, features = fixture.input("image"), fixture.input("features")
    batch, channels, height, width = fixture.output("hr").shape
    size, map_size = (height, width), (features.shape[-2], features.shape[-1])
    fixture.compare("hr", naf(image, features, size))

    guides = [naf.guide(item, size, map_size) for item in image]
    rows = torch.arange(height).repeat_interleave(width)
    columns = torch.arange(width).repeat(height)
    everywhere = torch.stack(
        [
            attend_at_pixels(guide, item, rows, columns)
            for guide, item in zip(guides, features, strict=True)
        ]
    )
    fixture.compare("hr", everywhere.mT.reshape(batch, channels, height, width))
    if "debug_queries_corner" in fixture.outputs:
        height, width = fixture.output("debug_queries_corner").shape[-2:]
        corner = torch.stack([guide.queries[:height, :width] for guide in guides])
        fixture.compare("debug_queries_corner", corner.permute(0, 3, 1, 2))


CHECKS = {"NAF": check_naf}
