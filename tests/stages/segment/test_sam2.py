"""Segment backend `sam2` on a tiny checkpoint in the official layout: points, boxes, a grid."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import ROOT, TESTS

torch = pytest.importorskip("torch", reason="the segment models' extra")
pytest.importorskip("transformers", reason="the segment models' extra")

from test_sam3 import BOX, CLICK, REFINED, changed, photo, same  # noqa: E402

from photoscene.self_test.tiny_sam import save_sam2  # noqa: E402
from scene.errors import BadWeights  # noqa: E402
from scene.types import ObjectPrompt  # noqa: E402
from stages import segment  # noqa: E402
from stages.pretrained import load_strictly, prepare_torchvision  # noqa: E402
from stages.segment.sam2 import grid, stable, without_parts  # noqa: E402
from stages.segment.shared.instances import Instance  # noqa: E402
from stages.segment.shared.sam_clicks import Decoded, decode  # noqa: E402
from stages.segment.shared.sam_images import IMAGENET, network_image  # noqa: E402
from stages.settings import settings_to_json  # noqa: E402
from support.borrowing import loaded, settings_of  # noqa: E402
from support.small_photo import SmallPhoto, call  # noqa: E402

LENIENT = {"predicted_iou": 0.0, "stability": 0.0, "min_area_share": 0.0, "points_per_side": 9}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sam2(tmp_path_factory.mktemp("sam2"))


def backend(weights: Path, **settings: Any) -> Any:
    values = {"weights": str(weights), **LENIENT, **settings}
    return loaded("segment", "sam2", values)


@pytest.fixture(scope="module")
def sam2(weights: Path) -> Any:
    return backend(weights)


def test_a_photo_is_seen_once_whatever_is_asked(weights: Path) -> None:
    sam2 = backend(weights)
    passes: list[int] = []
    encoder = sam2.network.get().model.vision_encoder
    encoder.register_forward_hook(lambda *_: passes.append(1))
    first = sam2.segment(photo(), (CLICK, BOX), ())
    sam2.segment(photo(), (), ())
    sam2.segment(photo(), (REFINED,), ())
    same(sam2.segment(photo(), (CLICK, BOX), ()), first)
    assert len(passes) == 1
    sam2.segment(photo(1), (CLICK,), ())
    sam2.segment(photo(), (CLICK,), ())
    assert len(passes) == 2


def test_one_mask_for_each_prompt_in_its_order(sam2: Any) -> None:
    found = segment.run(sam2, photo(), (ObjectPrompt("a", points=CLICK.points), BOX), ())
    assert [m.label for m in found] == ["a", ""]
    assert not (found[0].pixels & found[1].pixels).any()
    once, more = (sam2.segment(photo(), (p,), ())[0] for p in (CLICK, REFINED))
    assert (once.pixels != more.pixels).any()


def test_words_are_refused_with_a_way_on(sam2: Any) -> None:
    with pytest.raises(ValueError) as caught:
        sam2.segment(photo(), (BOX, ObjectPrompt("mug", "red mug")), ())
    told = "prompt 2 (mug) has only the words 'red mug': sam2 understands points and boxes"
    assert str(caught.value).startswith(told)
    assert "--set segment.backend=sam3" in str(caught.value)


def test_words_are_refused_at_the_command_line(
    small_photo: SmallPhoto, weights: Path, tmp_path: Path
) -> None:
    done = call("segment", small_photo.photo, "--text", "cup", "--set", "segment.backend=sam2",
                "--set", f"segment.weights={weights}", "-o", tmp_path / "run",
                "--store", tmp_path / "store")  # fmt: skip
    assert done.exit_code == 2 and "does not know words" in done.stderr


def test_a_missing_and_a_surplus_tensor_are_one_clear_line(weights: Path, tmp_path: Path) -> None:
    def lose(tensors: dict[str, Any]) -> None:
        del tensors["mask_decoder.conv_s0.weight"]

    def add(tensors: dict[str, Any]) -> None:
        tensors["extra.weight"] = torch.zeros(3)

    for name, change, words in (("a", lose, "1 missing keys, as mask_decoder.conv_s0.weight"),
                                ("b", add, "1 unexpected keys, as extra.weight")):  # fmt: skip
        folder = changed(weights, tmp_path / name, change)
        with pytest.raises(BadWeights, match=words) as caught:
            backend(folder).segment(photo(), (CLICK,), ())
        assert "\n" not in str(caught.value)


def test_released_networks_are_gone_and_come_back(weights: Path) -> None:
    sam2 = backend(weights)
    before = sam2.segment(photo(), (CLICK,), ())
    network = sam2.network.get()
    gone = [weakref.ref(v) for v in (network, network.model, network.maps_of(photo().rgb)[0])]
    del network
    sam2.network.release()
    assert [r() for r in gone] == [None] * 3
    same(sam2.segment(photo(), (CLICK,), ()), before)


@pytest.mark.extra("torchvision")
def test_pictures_are_prepared_as_officially() -> None:
    prepare_torchvision()
    from transformers.models.sam2.image_processing_sam2 import Sam2ImageProcessor

    rgb = photo(2, 300, 170).rgb
    theirs = Sam2ImageProcessor(size={"height": 128, "width": 128})(rgb, return_tensors="pt")
    made = network_image(rgb, 128, IMAGENET)
    torch.testing.assert_close(made, theirs["pixel_values"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("several", [True, False])
def test_clicks_decode_as_in_the_official_model(weights: Path, sam2: Any, several: bool) -> None:
    from transformers.models.sam2.modeling_sam2 import Sam2Model

    model = load_strictly(Sam2Model, weights, torch.float32)
    places = [[p.x_px * 128 / 120 - 0.5, p.y_px * 128 / 90 - 0.5] for p in REFINED.points]
    with torch.no_grad():
        made = model(
            pixel_values=network_image(photo().rgb, 128, IMAGENET),
            input_points=torch.tensor([[places]]),
            input_labels=torch.tensor([[[1, 0]]]),
            multimask_output=several,
        )
        network = sam2.network.get()
        maps = network.maps_of(photo().rgb)
        decoded = decode(network.model, maps, [REFINED], photo(), several)
    torch.testing.assert_close(decoded.logits, made.pred_masks[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(decoded.iou, made.iou_scores[0], atol=1e-5, rtol=1e-4)


def test_a_click_takes_the_candidate_of_the_best_predicted_iou(sam2: Any) -> None:
    with torch.no_grad():
        network = sam2.network.get()
        maps = network.maps_of(photo().rgb)
        three = decode(network.model, maps, [CLICK], photo(), several=True).iou[0]
    assert sam2.segment(photo(), (CLICK,), ())[0].score == pytest.approx(float(three.max()))


def test_points_of_a_grid_are_decoded_together_as_alone(sam2: Any) -> None:
    points = grid(3, photo())
    assert [(p.points[0].x_px, p.points[0].y_px) for p in points[:2]] == [(20, 15), (60, 15)]
    with torch.no_grad():
        network = sam2.network.get()
        maps = network.maps_of(photo().rgb)
        together = decode(network.model, maps, points, photo(), several=True)
        for index, point in enumerate(points):
            alone = decode(network.model, maps, [point], photo(), several=True)
            torch.testing.assert_close(
                together.logits[index], alone.logits[0], atol=1e-4, rtol=1e-4
            )


def test_only_sure_and_stable_masks_of_an_allowed_size_count() -> None:
    """Hand-made logits: one good mask, and one that fails at each filter."""
    settings = settings_of("segment", "sam2", {"min_area_share": 0.01, "max_area_share": 0.5})
    y, x = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
    reach = torch.hypot(x - 20.0, y - 20.0)
    good = (10 - reach) * 50  # steep: its outline hardly moves with the threshold
    soft = (10 - reach) * 0.5
    logits = torch.stack([good, good, soft, (1 - reach) * 50, (30 - reach) * 50, good - 1e4])
    iou = torch.tensor([0.9, 0.79, 0.95, 0.95, 0.95, 0.95])
    found = stable(Decoded(logits.view(2, 3, 40, 40), iou.view(2, 3)), settings)
    assert [o.score for o in found] == [pytest.approx(0.9)]
    np.testing.assert_array_equal(found[0].pixels, (good > 0).numpy())


def test_a_part_goes_and_what_stands_in_front_stays() -> None:
    def window(x0: int, x1: int, score: float, hole: tuple[int, int] = (0, 0)) -> Instance:
        pixels = np.zeros((40, 40), bool)
        pixels[5:35, x0:x1] = True
        pixels[5:35, hole[0] : hole[1]] = False
        return Instance(pixels, pixels.astype(np.float32), score)

    cup, handle = window(5, 25, 0.9), window(5, 10, 0.95)
    again = window(5, 24, 0.85)
    tray, bowl = window(0, 40, 0.8, hole=(5, 35)), window(26, 34, 0.7)
    kept = without_parts([cup, handle, again, tray, bowl])
    assert [o.score for o in kept] == [0.9, 0.8, 0.7]


def test_everything_is_found_without_prompts(weights: Path, sam2: Any) -> None:
    found = segment.run(sam2, photo(), (), ())
    assert len(found) > 1
    assert np.sum([m.pixels for m in found], axis=0).max() == 1
    assert len(backend(weights, max_objects=1).segment(photo(), (), ())) == 1
    assert backend(weights, predicted_iou=1.0).segment(photo(), (), ()) == []


def test_where_weights_are_is_no_part_of_the_key(weights: Path) -> None:
    values = {"weights": str(weights), "model": "sam2.1-hiera-tiny"}
    told = settings_to_json(settings_of("segment", "sam2", values))
    assert not {"weights", "model", "memory"} & set(told) and told["points_per_side"] == 32
    with pytest.raises(ValueError, match="segment.model: expected"):
        settings_of("segment", "sam2", {"model": "sam2.1-hiera-huge"})


ABSENT = """
import sys
sys.modules["torchvision"] = None  # as if it were not installed
import numpy as np
from test_sam2 import BOX, CLICK, REFINED, backend, photo
sam2 = backend(sys.argv[1])
masks = [m.pixels for p in (CLICK, REFINED, BOX) for m in sam2.segment(photo(), (p,), ())]
np.save(sys.argv[2], np.stack(masks))
"""


@pytest.mark.slow
def test_it_works_the_same_without_torchvision(weights: Path, sam2: Any, tmp_path: Path) -> None:
    places = (TESTS, ROOT, Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    done = subprocess.run([sys.executable, "-c", ABSENT, weights, tmp_path / "out.npy"],
                          env=environment, capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    masks = [m.pixels for p in (CLICK, REFINED, BOX) for m in sam2.segment(photo(), (p,), ())]
    assert (np.load(tmp_path / "out.npy") != np.stack(masks)).mean() < 1e-3


def test_a_run_by_click_and_box(
    small_photo: SmallPhoto, weights: Path, inline_runs: None, tmp_path: Path
) -> None:
    options = ["--set", "segment.backend=sam2", "--set", f"segment.weights={weights}"]
    done = call("segment", small_photo.photo, "--box", "20,60,110,130", *options,
                "-o", tmp_path / "run", "--store", tmp_path / "store")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert len(list((tmp_path / "run" / "objects").glob("*/mask.png"))) == 1
