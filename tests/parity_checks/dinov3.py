"""Do tokens and projected features of an image equal the reference's?"""

from __future__ import annotations

import torch

from parity_checks.fixture import Fixture
from parity_checks.naf import naf_config
from pixal3d.camera import View, front_camera, grid_coords
from pixal3d.dinov3 import DinoV3, DinoV3Config, encode_image
from pixal3d.naf import Naf
from pixal3d.projection import condition, project_dense


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
        view, features = View(fov, front_camera(distance)), encode_image(dino, item)
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
    sizes = fixture.sidecar["dinov3_config"]
    full = fixture.sidecar.get("dinov3_config_full", {})
    config = DinoV3Config(
        channels=sizes["hidden_size"],
        layers=sizes["num_hidden_layers"],
        heads=sizes["num_attention_heads"],
        mlp_channels=sizes["intermediate_size"],
        patch_size=sizes["patch_size"],
        registers=sizes["num_register_tokens"],
        rope_theta=full.get("rope_theta", 100.0),
        norm_epsilon=full.get("layer_norm_eps", 1e-5),
    )
    of_naf = tuple(n for n in fixture.part("weights") if n.startswith("naf."))
    dino = DinoV3(config)
    fixture.load_into(dino, unused=of_naf)
    if not fixture.arguments["use_naf_upsample"]:
        assert not of_naf
        return dino, None
    naf = Naf(naf_config(fixture.sidecar["naf_kwargs"]))
    naf.load_state_dict({n.removeprefix("naf."): fixture.part("weights")[n] for n in of_naf})
    return dino, naf.eval()


CHECKS = {"DinoV3ProjFeatureExtractor": check_tokens}
