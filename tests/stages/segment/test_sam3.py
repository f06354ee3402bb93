"""Segment backend `sam3` on a tiny checkpoint in the official layout: one look, many questions."""

from __future__ import annotations

import gc
import json
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

from photoscene.self_test.tiny_sam import save_sam2, save_sam3  # noqa: E402
from scene.errors import BadWeights  # noqa: E402
from scene.types import Mask, ObjectPrompt, Photo, Point  # noqa: E402
from stages import segment  # noqa: E402
from stages.devices import ModelPool  # noqa: E402
from stages.pretrained import load_strictly, prepare_torchvision  # noqa: E402
from stages.segment.sam3 import best_fitting  # noqa: E402
from stages.segment.shared.instances import Instance, cleaned  # noqa: E402
from stages.segment.shared.sam_clicks import decode  # noqa: E402
from stages.segment.shared.sam_images import (  # noqa: E402
    STANDARD,
    network_image,
    normalization_of,
    roi_align,
)
from support.borrowing import borrowed, loaded, settings_of  # noqa: E402
from support.small_photo import SmallPhoto, call  # noqa: E402

WORDS = ObjectPrompt(text="cup")
CLICK = ObjectPrompt("thing", points=(Point(50, 40),))
REFINED = ObjectPrompt("thing", points=(Point(50, 40), Point(30, 70, False)))
BOX = ObjectPrompt(box=(20, 20, 80, 70))
EXEMPLAR = (20.0, 20.0, 80.0, 70.0)
TWENTY = tuple(f"{colour} {thing}" for colour in ("red", "old", "big", "a") for thing in
               ("cup", "chair", "pot", "pan", "cat"))  # fmt: skip


def photo(seed: int = 0, width: int = 120, height: int = 90) -> Photo:
    """Blurred coloured noise: a random network sees something else everywhere."""
    import cv2

    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    return Photo(np.asarray(cv2.resize(coarse, (width, height)), np.uint8))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sam3(tmp_path_factory.mktemp("sam3"))


def backend(weights: Path, **settings: Any) -> Any:
    values = {"weights": str(weights), "threshold": 0.0, "min_area_share": 0.0, **settings}
    return loaded("segment", "sam3", values)


@pytest.fixture(scope="module")
def sam3(weights: Path) -> Any:
    return backend(weights)


def same(found: list[Mask], expected: list[Mask]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)
        assert (a.label, a.score) == (b.label, pytest.approx(b.score, abs=1e-5))


def looks(sam3: Any) -> list[int]:
    """A list that grows with every pass of the image encoder."""
    passes: list[int] = []
    encoder = sam3.networks.get().detector.vision_encoder.backbone
    encoder.register_forward_hook(lambda *_: passes.append(1))
    return passes


def test_a_photo_is_seen_once_whatever_is_asked(weights: Path) -> None:
    sam3 = backend(weights)
    passes = looks(sam3)
    first = sam3.segment(photo(), (CLICK, BOX), ())
    sam3.segment(photo(), tuple(ObjectPrompt(text=words) for words in TWENTY), ())
    sam3.segment(photo(), (), ())
    sam3.segment(photo(), (REFINED,), ())
    same(sam3.segment(photo(), (CLICK, BOX), ()), first)
    assert len(passes) == 1
    sam3.segment(photo(1), (WORDS,), ())
    sam3.segment(photo(), (WORDS,), ())
    assert len(passes) == 2


def test_twenty_words_need_one_look(weights: Path) -> None:
    sam3 = backend(weights, words=list(TWENTY))
    passes = looks(sam3)
    found = sam3.segment(photo(), (), ())
    assert len(passes) == 1 and found
    assert {m.label for m in found} <= set(TWENTY)


def test_one_backbone_serves_both_networks(weights: Path, sam3: Any) -> None:
    from transformers.models.sam3_tracker.modeling_sam3_tracker import Sam3TrackerModel

    networks = sam3.networks.get()
    shared = networks.detector.vision_encoder.backbone
    assert networks.tracker.vision_encoder.backbone is shared
    own = load_strictly(Sam3TrackerModel, weights, torch.float32).vision_encoder.backbone
    for name, value in own.state_dict().items():
        assert torch.equal(value, shared.state_dict()[name]), name


def changed(weights: Path, folder: Path, change: Any) -> Path:
    """A copy of a checkpoint with other tensors."""
    from safetensors.torch import load_file, save_file

    folder.mkdir()
    for file in weights.iterdir():
        if file.suffix == ".json":
            (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(weights / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "detector_model.text_projection.weight",
        "tracker_neck.fpn_layers.0.proj1.weight",
        "tracker_model.no_memory_embedding",
    ],
)
def test_a_missing_tensor_is_one_clear_line(
    weights: Path, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = changed(weights, tmp_path / "sam3", lambda tensors: tensors.pop(name))
    with pytest.raises(BadWeights, match="1 missing keys, as .*; download them again") as caught:
        backend(folder).segment(photo(), (CLICK,), ())
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "name", ["detector_model.extra", "tracker_model.extra", "tracker_neck.extra", "extra"]
)
def test_a_tensor_too_many_is_one_clear_line(weights: Path, tmp_path: Path, name: str) -> None:
    def add(tensors: dict[str, Any]) -> None:
        tensors[name] = torch.zeros(3)

    folder = changed(weights, tmp_path / "sam3", add)
    with pytest.raises(BadWeights, match="1 unexpected keys, as .*extra; download them again"):
        backend(folder).segment(photo(), (CLICK,), ())


def test_a_tensor_of_another_shape_is_one_clear_line(weights: Path, tmp_path: Path) -> None:
    def cut(tensors: dict[str, Any]) -> None:
        name = "detector_model.text_projection.bias"
        tensors[name] = tensors[name][:-1].clone()

    folder = changed(weights, tmp_path / "sam3", cut)
    with pytest.raises(BadWeights, match="text_projection.bias|cannot be read") as caught:
        backend(folder).segment(photo(), (CLICK,), ())
    assert "\n" not in str(caught.value)


def test_released_networks_are_gone_and_come_back(weights: Path) -> None:
    sam3 = backend(weights)
    before = sam3.segment(photo(), (CLICK, BOX), ())
    networks = sam3.networks.get()
    gone = [weakref.ref(v) for v in (networks, networks.detector, networks.tracker,
                                     networks.encode(photo().rgb))]  # fmt: skip
    del networks
    sam3.networks.release()
    assert [r() for r in gone] == [None] * 4
    same(sam3.segment(photo(), (CLICK, BOX), ()), before)


def test_models_that_must_be_alone_are_never_together(
    weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = save_sam2(tmp_path_factory.mktemp("sam2"))
    pool = ModelPool()
    alone = {"memory": "one_at_a_time"}
    with borrowed(pool, "segment", "sam3", {"weights": str(weights), **alone}) as sam3:
        sam3.segment(photo(), (CLICK,), ())
        detector = weakref.ref(sam3.networks.get().detector)
    with borrowed(pool, "segment", "sam2", {"weights": str(other), **alone}) as sam2:
        assert detector() is None
        sam2.segment(photo(), (CLICK,), ())
        model = weakref.ref(sam2.network.get().model)
    assert model() is not None
    with borrowed(pool, "segment", "sam3", {"weights": str(weights), **alone}):
        gc.collect()
        assert model() is None


def test_a_pool_lets_go_of_everything(weights: Path) -> None:
    pool = ModelPool()
    with borrowed(pool, "segment", "sam3", {"weights": str(weights)}) as sam3:
        sam3.segment(photo(), (CLICK,), ())
        detector = weakref.ref(sam3.networks.get().detector)
    pool.release()
    assert detector() is None


# What the official classes say


@pytest.fixture(scope="module")
def official(weights: Path) -> Any:
    """transformers' own processor; it needs a torchvision that can be imported."""
    prepare_torchvision()
    from transformers.models.clip.tokenization_clip import CLIPTokenizer
    from transformers.models.sam3.image_processing_sam3 import Sam3ImageProcessor
    from transformers.models.sam3.processing_sam3 import Sam3Processor

    images = Sam3ImageProcessor(size={"height": 112, "width": 112})
    return Sam3Processor(images, CLIPTokenizer.from_pretrained(weights))


@pytest.mark.parametrize(("width", "height"), [(120, 90), (640, 200), (37, 300), (112, 112)])
@pytest.mark.extra("torchvision")
def test_pictures_are_prepared_as_officially(official: Any, width: int, height: int) -> None:
    rgb = photo(2, width, height).rgb
    expected = official(images=rgb, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(network_image(rgb, 112, STANDARD), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("exemplar", [None, EXEMPLAR])
@pytest.mark.extra("torchvision")
def test_words_find_what_the_official_model_finds(
    weights: Path, sam3: Any, official: Any, exemplar: Any
) -> None:
    from transformers.models.sam3.modeling_sam3 import Sam3Model

    boxes = {} if exemplar is None else {"input_boxes": [[list(exemplar)]]}
    asked = official(images=photo().rgb, text="cup", return_tensors="pt", **boxes)
    size = asked.pop("original_sizes").tolist()
    with torch.no_grad():
        made = load_strictly(Sam3Model, weights, torch.float32)(**asked)
        encoded = sam3.networks.get().encode(photo().rgb)
        ranked = [o.score for o in encoded.instances("cup", photo(), 0.0, exemplar)]
        middle = (ranked[4] + ranked[5]) / 2
        found = encoded.instances("cup", photo(), middle, exemplar)
    told = official.post_process_instance_segmentation(made, middle, target_sizes=size)[0]
    order = told["scores"].argsort(descending=True)
    assert len(found) == len(order) == 5
    scores = [o.score for o in found]
    np.testing.assert_allclose(scores, told["scores"][order].numpy(), atol=1e-5)
    for instance, mask in zip(found, told["masks"][order].numpy() > 0, strict=True):
        differing = cleaned(mask) != instance.pixels
        assert differing.sum() <= 2  # likelihoods of exactly one half


@pytest.mark.parametrize(
    "prompt", [CLICK, REFINED, BOX, ObjectPrompt(box=EXEMPLAR, points=REFINED.points)]
)
@pytest.mark.parametrize("several", [True, False])
def test_clicks_decode_as_in_the_official_tracker(
    weights: Path, sam3: Any, prompt: ObjectPrompt, several: bool
) -> None:
    from transformers.models.sam3_tracker.modeling_sam3_tracker import Sam3TrackerModel

    tracker = load_strictly(Sam3TrackerModel, weights, torch.float32)
    scale = np.array([112 / 120, 112 / 90])
    given: dict[str, Any] = {}
    # The official network adds half a pixel to what it takes for pixel indices.
    if prompt.points:
        places = np.array([[p.x_px, p.y_px] for p in prompt.points]) * scale - 0.5
        given["input_points"] = torch.tensor(places, dtype=torch.float32)[None, None]
        given["input_labels"] = torch.tensor([[[int(p.foreground) for p in prompt.points]]])
    if prompt.box:
        corners = (np.reshape(prompt.box, (2, 2)) * scale - 0.5).reshape(1, 1, 4)
        given["input_boxes"] = torch.tensor(corners, dtype=torch.float32)
    with torch.no_grad():
        maps = tracker.get_image_embeddings(network_image(photo().rgb, 112, STANDARD))
        plain = tracker(image_embeddings=maps, multimask_output=several, **given)
        # It leaves out what stands for "no earlier frame"; Meta's predictor adds it here.
        maps[-1] = maps[-1] + tracker.no_memory_embedding.view(1, -1, 1, 1)
        made = tracker(image_embeddings=maps, multimask_output=several, **given)
        encoded = sam3.networks.get().encode(photo().rgb)
        decoded = decode(encoded.tracker, encoded.for_clicks, [prompt], photo(), several)
    torch.testing.assert_close(decoded.logits, made.pred_masks[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(decoded.iou, made.iou_scores[0], atol=1e-5, rtol=1e-4)
    assert decoded.logits.shape[1] == (3 if several else 1)
    assert not torch.allclose(made.pred_masks, plain.pred_masks, atol=1e-2)


@pytest.mark.extra("torchvision")
def test_boxes_are_pooled_as_by_torchvision() -> None:
    prepare_torchvision()
    from torchvision.ops import roi_align as theirs

    random = torch.Generator().manual_seed(0)
    features = torch.randn((2, 5, 12, 17), generator=random)
    corners = torch.rand((2, 6, 4), generator=random) * torch.tensor([17, 12, 17, 12])
    boxes = [torch.cat([torch.minimum(c[:, :2], c[:, 2:]), torch.maximum(c[:, :2], c[:, 2:])], 1)
             for c in corners]  # fmt: skip
    boxes[0][0] = torch.tensor([0.0, 0.0, 17.0, 12.0])
    boxes[1][0] = torch.tensor([3.2, 4.1, 3.3, 4.2])
    with torch.compiler.set_stance("force_eager"):  # without its kernels it would compile first
        expected = [theirs(features, boxes, bins) for bins in (7, 3)]
    for bins, pooled in zip((7, 3), expected, strict=True):
        torch.testing.assert_close(roi_align(features, boxes, bins), pooled, atol=1e-5, rtol=1e-5)
    assert roi_align(features, [b[:0] for b in boxes], 7).shape == (0, 5, 7, 7)


ABSENT = """
import sys
sys.modules["torchvision"] = None  # as if it were not installed
import numpy as np, torch
from test_sam3 import BOX, CLICK, EXEMPLAR, REFINED, WORDS, backend, photo
sam3 = backend(sys.argv[1])
masks = [m.pixels for m in sam3.segment(photo(), (CLICK, BOX, WORDS), ())]
masks += [m.pixels for m in sam3.segment(photo(), (REFINED,), ())]
masks += [m.pixels for m in sam3.segment(photo(), (), ())]
with torch.no_grad():
    shown = sam3.networks.get().encode(photo().rgb).instances("cup", photo(), 0.0, EXEMPLAR)
masks += [o.pixels for o in shown]
np.savez(sys.argv[2], masks=np.stack(masks), scores=np.array([o.score for o in shown]))
"""


@pytest.mark.slow
def test_it_works_the_same_without_torchvision(weights: Path, sam3: Any, tmp_path: Path) -> None:
    places = (TESTS, ROOT, Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    done = subprocess.run([sys.executable, "-c", ABSENT, weights, tmp_path / "out.npz"],
                          env=environment, capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = np.load(tmp_path / "out.npz")
    masks = [m.pixels for m in sam3.segment(photo(), (CLICK, BOX, WORDS), ())]
    masks += [m.pixels for m in sam3.segment(photo(), (REFINED,), ())]
    masks += [m.pixels for m in sam3.segment(photo(), (), ())]
    with torch.no_grad():
        shown = sam3.networks.get().encode(photo().rgb).instances("cup", photo(), 0.0, EXEMPLAR)
    masks += [o.pixels for o in shown]
    assert len(told["masks"]) == len(masks)
    assert (told["masks"] != np.stack(masks)).mean() < 1e-3
    np.testing.assert_allclose(told["scores"], [o.score for o in shown], atol=1e-4)


# What prompts mean


def test_words_alone_find_every_instance_best_first(sam3: Any) -> None:
    found = segment.run(sam3, photo(), (CLICK, WORDS), ())
    assert len(found) > 3
    assert [m.label for m in found] == ["thing"] + ["cup"] * (len(found) - 1)
    scores = [m.score for m in found[1:]]
    assert scores == sorted(scores, reverse=True)
    assert np.sum([m.pixels for m in found], axis=0).max() == 1
    named = sam3.segment(photo(), (ObjectPrompt("my cup", "cup"),), ())
    assert {m.label for m in named} == {"my cup"}


def test_words_that_mean_nothing_here_give_nothing(
    weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    strict = backend(weights, threshold=0.9)
    assert [m.label for m in strict.segment(photo(), (WORDS, CLICK), ())] == ["thing"]
    assert "nothing here looks like 'cup' (segment.threshold 0.9)" in caplog.text
    assert strict.segment(photo(), (), ()) == []
    with pytest.raises(ValueError, match="prompt 1: nothing there looks like 'cup'") as caught:
        strict.segment(photo(), (ObjectPrompt(text="cup", box=EXEMPLAR),), ())
    assert "lower segment.threshold (0.9)" in str(caught.value)


def square(x: int, y: int, size: int, score: float) -> Instance:
    pixels = np.zeros((90, 120), bool)
    pixels[y : y + size, x : x + size] = True
    return Instance(pixels, pixels.astype(np.float32), score)


def test_a_box_or_points_choose_among_the_instances_of_words() -> None:
    left, right, large = square(10, 10, 20, 0.9), square(60, 10, 20, 0.8), square(50, 5, 40, 0.7)
    cups = [left, right, large]

    def chosen(box: Any = None, *points: Point) -> Instance | None:
        return best_fitting(cups, ObjectPrompt(text="cup", box=box, points=points))

    assert chosen((58, 8, 82, 34)) is right
    assert chosen((48, 4, 92, 48)) is large
    assert chosen((62, 12, 72, 24), Point(85, 40)) is None  # that one is far too large
    assert chosen(None, Point(65, 15)) is right
    assert chosen(None, Point(65, 15), Point(85, 40)) is large
    assert chosen(None, Point(65, 15), Point(62, 12, False)) is None
    assert chosen((0, 60, 30, 90)) is None and chosen(None, Point(5, 80)) is None


def test_two_prompts_never_share_an_instance(sam3: Any) -> None:
    with torch.no_grad():
        found = sam3.networks.get().encode(photo().rgb).instances("cup", photo(), 0.0)
    everywhere = ObjectPrompt(text="cup", box=(0, 0, 120, 90))
    masks = sam3.segment(photo(), (everywhere,) * 3, ())
    np.testing.assert_allclose([m.score for m in masks], [o.score for o in found[:3]], atol=1e-6)
    assert {m.label for m in masks} == {"cup"}


def test_words_and_points_mean_the_best_instance_that_agrees(sam3: Any) -> None:
    with torch.no_grad():
        found = sam3.networks.get().encode(photo().rgb).instances("cup", photo(), 0.0)
    wanted = found[-1].pixels & ~found[0].pixels
    y, x = np.argwhere(wanted)[len(np.argwhere(wanted)) // 2]
    fitting = next(o for o in found if o.pixels[y, x])
    asked = ObjectPrompt(text="cup", points=(Point(x + 0.5, y + 0.5),))
    one = sam3.segment(photo(), (asked,), ())
    assert len(one) == 1 and one[0].score == pytest.approx(fitting.score)
    np.testing.assert_array_equal(one[0].pixels, fitting.pixels)
    nowhere = ~np.any([o.pixels for o in found], axis=0)
    y, x = np.argwhere(nowhere)[0]
    with pytest.raises(ValueError, match="nothing there looks like 'cup'"):
        sam3.segment(photo(), (ObjectPrompt(text="cup", points=(Point(x, y),)),), ())


def test_points_correct_what_words_found_in_a_box(sam3: Any) -> None:
    with torch.no_grad():
        found = sam3.networks.get().encode(photo().rgb).instances("cup", photo(), 0.0)
    inside = np.argwhere(np.all([o.pixels for o in found[:1]], axis=0))
    (y0, x0), (y1, x1) = inside[0], inside[-1]
    points = (Point(float(x0), float(y0)), Point(float(x1), float(y1), False))
    asked = ObjectPrompt(text="cup", box=EXEMPLAR, points=points)
    if any(o.pixels[y0, x0] and not o.pixels[y1, x1] for o in found):
        pytest.fail("the points were meant to contradict every instance")
    plain = sam3.segment(photo(), (ObjectPrompt("cup", box=EXEMPLAR, points=points),), ())
    same(sam3.segment(photo(), (asked,), ()), plain)


def test_a_click_is_refined_by_more(sam3: Any) -> None:
    once, more = (sam3.segment(photo(), (p,), ())[0] for p in (CLICK, REFINED))
    assert (once.pixels != more.pixels).any()


def test_too_many_words_are_refused(sam3: Any) -> None:
    with pytest.raises(ValueError, match="too many for SAM 3: use a short noun phrase"):
        sam3.segment(photo(), (ObjectPrompt(text="a red cup " * 20),), ())


@pytest.mark.slow
def test_small_objects_and_backdrops_are_left_out(weights: Path, sam3: Any) -> None:
    everything = sam3.segment(photo(), (), ())
    areas = [m.pixels.mean() for m in segment.disjoint(everything, (90, 120))]
    least = float(np.median(areas))
    fewer = backend(weights, min_area_share=least).segment(photo(), (), ())
    kept = [m.pixels.mean() for m in segment.disjoint(fewer, (90, 120))]
    assert 0 < len(kept) < len(areas) and min(kept) >= least
    assert len(backend(weights, max_objects=2).segment(photo(), (), ())) <= 2
    small = backend(weights, max_area_share=0.1).segment(photo(), (), ())
    assert max(m.pixels.mean() for m in small) <= 0.1


def test_encoders_run_in_bfloat16_decoders_do_not(weights: Path, sam3: Any) -> None:
    half = backend(weights, precision="bfloat16")
    networks = half.networks.get()
    for part in (networks.detector.vision_encoder.backbone, networks.detector.text_encoder):
        assert {p.dtype for p in part.parameters()} == {torch.bfloat16}
    for part in (networks.tracker.mask_decoder, networks.detector.detr_decoder):
        assert {p.dtype for p in part.parameters()} == {torch.float32}
    a, b = (s.segment(photo(), (CLICK,), ())[0].pixels for s in (half, sam3))
    assert (a & b).sum() > 0.8 * (a | b).sum()
    assert half.segment(photo(), (WORDS,), ())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"words": []}, "segment.words: expected a list of words"),
        ({"words": ["cup", " "]}, "segment.words: expected a list of words"),
        ({"threshold": 1.5}, "segment.threshold: expected 0 to 1, got 1.5"),
        ({"max_objects": 0}, "segment.max_objects: expected 1 to 1000, got 0"),
    ],
)
def test_settings_are_checked(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        settings_of("segment", "sam3", values)
    assert words in str(caught.value)


def test_a_folder_says_how_its_pictures_were_normalized(tmp_path: Path) -> None:
    assert normalization_of(tmp_path, STANDARD) == STANDARD
    file = tmp_path / "preprocessor_config.json"
    file.write_text('{"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3]}')
    assert normalization_of(tmp_path, STANDARD).mean == (0.1, 0.2, 0.3)
    file.write_text('{"image_mean": [0.1, 0.2], "image_std": [1, 2, 3]}')
    with pytest.raises(BadWeights, match="preprocessor_config.json cannot be read"):
        normalization_of(tmp_path, STANDARD)


# At the command line


@pytest.fixture(scope="module")
def options(weights: Path) -> list[str]:
    settings = {"backend": "sam3", "weights": weights, "threshold": 0.05, "min_area_share": 0}
    return [part for n, v in settings.items() for part in ("--set", f"segment.{n}={v}")]


def test_every_instance_is_an_object_with_its_own_name(
    small_photo: SmallPhoto, options: list[str], inline_runs: None, tmp_path: Path
) -> None:
    where = ["--store", tmp_path / "store", "-o", tmp_path / "run", "--json"]
    done = call("segment", small_photo.photo, "--text", "cup", *options, *where)
    assert done.exit_code == 0, done.stderr
    names = [o["name"] for o in json.loads(done.stdout)["objects"]]
    assert len(names) > 1 and names == ["cup", *(f"cup_{n}" for n in range(2, len(names) + 1))]
    assert len(list((tmp_path / "run" / "objects").glob("*/mask.png"))) == len(names)
    assert (tmp_path / "run" / "masks.png").is_file()
    report = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert all(name in report for name in names)


def test_text_at_the_prompt_finds_them_all_and_replays(
    small_photo: SmallPhoto, options: list[str], inline_runs: None, tmp_path: Path
) -> None:
    where = ["--store", tmp_path / "store"]
    lines = "text cup\ntext cup\nlist\nundo\nredo\naccept\n"
    first = call("segment", small_photo.photo, "-i", "-o", tmp_path / "a", *options, *where,
                 lines=lines)  # fmt: skip
    assert first.exit_code == 0, first.stderr
    assert "objects found" in first.stdout
    assert "not done: nothing else here looks like 'cup'" in first.stdout
    saved = json.loads((tmp_path / "a" / "prompts.json").read_text("utf-8"))
    assert saved["entries"][0].startswith("found cup: ") and saved["entries"][1:] == [
        "undo",
        "redo",
    ]
    assert len(saved["objects"]) > 1
    assert all(o["text"] == o["label"] == "cup" and o["box"] for o in saved["objects"])
    replayed = call("segment", small_photo.photo, "--prompts", tmp_path / "a" / "prompts.json",
                    "-o", tmp_path / "b", *options, "--store", tmp_path / "other")  # fmt: skip
    assert replayed.exit_code == 0, replayed.stderr
    masks = sorted((tmp_path / "a" / "objects").glob("*/mask.png"))
    assert len(masks) == len(saved["objects"])
    for path in masks:
        assert (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes() == path.read_bytes()
    resumed = call("segment", small_photo.photo, "-i", "--resume", "-o", tmp_path / "a", *options,
                   *where, lines="accept\n")  # fmt: skip
    assert f"resumed with {len(masks)} objects" in resumed.stdout


def test_text_given_beforehand_is_chosen_from(
    small_photo: SmallPhoto, options: list[str], inline_runs: None, tmp_path: Path
) -> None:
    done = call("segment", small_photo.photo, "--text", "cup", "-i", "-o", tmp_path / "run",
                *options, "--store", tmp_path / "store", "--device", "cpu",
                lines="delete 1\naccept\n")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    saved = json.loads((tmp_path / "run" / "prompts.json").read_text("utf-8"))
    assert len(saved["start"]) == len(saved["objects"]) + 1 > 1
    assert all(o["box"] for o in saved["start"])


def test_gated_weights_name_the_page_and_the_way_on(
    small_photo: SmallPhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOTOSCENE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    done = call("segment", small_photo.photo, "--set", "segment.backend=sam3",
                "-o", tmp_path / "run", "--store", tmp_path / "store")  # fmt: skip
    assert done.exit_code == 3
    assert "ask for access at https://huggingface.co/facebook/sam3, then" in done.stderr
    assert "without access --set segment.backend=sam2" in done.stderr
    assert done.stderr.count("\n") == 1
