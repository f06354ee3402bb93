"""Do tokens and projected features of an image equal the reference's?"""

from __future__ import annotations

import torch

from pixal3d.camera import PosedCamera, front_camera, grid_coords
from pixal3d.dinov3 import DinoV3, encode_image
from pixal3d.networks import build_network
from pixal3d.projection import condition, project_dense
from sparse3d.naf import Naf
from support.parity.fixture import Fixture


def check_tokens(fixture: Fixture) -> None:
    dino, naf = _networks(fixture)
    image = fixture.input("image")
    fixture.compare("tokens", dino(image))
    grid_size = fixture.arguments["grid_resolution"]
    coords = grid_coords(grid_size, image)
    naf_size = fixture.arguments["naf_target_size"] if naf else None
    conditions, dense = [], []
    for item, fov, distance, scale in zip(
        image,
        *(fixture.input(n).tolist() for n in ("camera_angle_x", "distance", "mesh_scale")),
        strict=True,
    ):
        view, features = PosedCamera(fov, front_camera(distance)), encode_image(dino, item)
        conditions.append(condition([(view, features)], coords, grid_size, scale, naf, naf_size))
        upsampled = None
        if naf is not None and naf_size is not None:
            upsampled = naf(item[None], features.patch_map[None], (naf_size, naf_size))[0]
        dense.append(project_dense(view, features, grid_size, scale, upsampled))
    fixture.compare("global", torch.stack([one.context[0] for one in conditions]))
    fixture.compare("proj", torch.stack([one.projected for one in conditions]))
    fixture.compare("proj", torch.stack(dense))


def _networks(fixture: Fixture) -> tuple[DinoV3, Naf | None]:
    """Both networks with every weight of the file loaded strictly."""
    full = fixture.sidecar.get("dinov3_config_full", {})
    dino = build_network("DINOv3ViTModel", {**full, **fixture.sidecar["dinov3_config"]})
    assert isinstance(dino, DinoV3)
    of_naf = tuple(n for n in fixture.part("weights") if n.startswith("naf."))
    fixture.load_into(dino, unused=of_naf)
    if not fixture.arguments["use_naf_upsample"]:
        assert not of_naf
        return dino, None
    naf = build_network("NAF", fixture.sidecar["naf_kwargs"])
    assert isinstance(naf, Naf)
    naf.load_state_dict({n.removeprefix("naf."): fixture.part("weights")[n] for n in of_naf})
    return dino, naf.eval()


CHECKS = {"DinoV3ProjFeatureExtractor": check_tokens}
