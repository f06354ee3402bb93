"""Annotation files of COCO, labelme and CVAT give the photo's objects, or the reason why not."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from scene.annotations import decode_annotations
from scene.errors import BadInput
from scene.shapes import coco_runs, polygon
from scene.types import Bool
from support.corpus import encoded

WIDTH, HEIGHT = 60, 40
BOX = np.zeros((HEIGHT, WIDTH), bool)
BOX[10:30, 20:45] = True
OUTLINE = [20, 10, 45, 10, 45, 30, 20, 30]
PAIRS = [[20, 10], [45, 10], [45, 30], [20, 30]]
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH] + 0.5
DISC = (COLUMNS - 30) ** 2 + (ROWS - 20) ** 2 <= 12**2
COCO_STRING = "Zi0d0d0" + "0" * 47 + "^b0"  # what pycocotools.mask.encode gives for BOX


def _counts(mask: Bool) -> list[int]:
    """Run lengths of the pixels by rows, background first."""
    pixels = np.concatenate([[False], mask.ravel(), [not mask.ravel()[-1]]])
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    return np.diff(np.concatenate([[0], changes])).tolist()


def _coco(*segmentations: Any, name: str = "photo.jpg", **more: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 7, "file_name": name, "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 3, "name": "cup"}, {"id": 5, "name": "plate"}],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": 3, "segmentation": s, **more}
            for i, s in enumerate(segmentations)
        ],
    }


def _labelme(*shapes: dict[str, Any]) -> dict[str, Any]:
    return {"version": "5.4", "shapes": list(shapes), "imagePath": "photo.jpg",
            "imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH}  # fmt: skip


def _shape(kind: str | None, points: Any, label: str = "cup", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, **more}


def _cvat(*elements: str, name: str = "photo.jpg") -> str:
    image = (
        f'<image id="0" name="{name}" width="{WIDTH}" height="{HEIGHT}">{"".join(elements)}</image>'
    )
    return f'<?xml version="1.0" encoding="utf-8"?><annotations>{image}</annotations>'


def _objects(value: Any, name: str = "photo.jpg") -> list[tuple[str, Bool]]:
    text = value if isinstance(value, str) else json.dumps(value)
    return list(decode_annotations(text.encode(), name).objects)


PART = base64.b64encode(encoded(BOX[10:30, 20:45], "PNG")).decode()
CVAT_RUNS = ", ".join(map(str, _counts(DISC[8:32, 18:42])))
SIZE = [HEIGHT, WIDTH]
OTHER = _coco(name="a.jpg")["images"][0] | {"id": 1}
ONE_CUP = {
    "COCO outline": (_coco([OUTLINE]), BOX),
    "COCO, two outlines": (_coco([[20, 10, 30, 10, 30, 30, 20, 30], OUTLINE]), BOX),
    "COCO runs": (_coco({"size": SIZE, "counts": _counts(DISC.T)}), DISC),
    "COCO string": (_coco({"size": SIZE, "counts": COCO_STRING}), BOX),
    "COCO crowd": (_coco({"size": SIZE, "counts": _counts(BOX.T)}, iscrowd=1), BOX),
    "SAM": ([{"segmentation": {"size": SIZE, "counts": _counts(BOX.T)}, "area": 9}], BOX),
    "labelme polygon": (_labelme(_shape("polygon", PAIRS)), BOX),
    "old labelme": (_labelme(_shape(None, PAIRS)), BOX),
    "labelme rectangle": (_labelme(_shape("rectangle", [[45, 30], [20, 10]])), BOX),
    "labelme rectangle of four": (_labelme(_shape("rectangle", PAIRS)), BOX),
    "labelme circle": (_labelme(_shape("circle", [[30, 20], [42, 20]])), DISC),
    "labelme mask": (_labelme(_shape("mask", [[20, 10], [44, 29]], mask=PART)), BOX),
    "labelme group": (_labelme(_shape("rectangle", [[20, 10], [30, 30]], group_id=1),
                               _shape("rectangle", [[30, 10], [45, 30]], group_id=1)), BOX),
    "CVAT polygon": (_cvat('<polygon label="cup" points="20,10;45.0,10;45,30;20,30"/>'), BOX),
    "CVAT mask": (_cvat(f'<mask label="cup" rle="{CVAT_RUNS}" left="18" top="8" width="24" '
                        'height="24"/>'), DISC),
    "CVAT box": (_cvat('<box label="cup" xtl="20" ytl="10" xbr="45" ybr="30"/>'), BOX),
    "CVAT turned box": (_cvat('<box label="cup" xtl="22.5" ytl="7.5" xbr="42.5" ybr="32.5" '
                              'rotation="90"/>'), BOX),
    "CVAT ellipse": (_cvat('<ellipse label="cup" cx="30" cy="20" rx="12" ry="12"/>'), DISC),
}  # fmt: skip


@pytest.mark.parametrize(("value", "mask"), [*ONE_CUP.values()], ids=[*ONE_CUP])
def test_every_kind_of_shape(value: Any, mask: Bool) -> None:
    ((label, pixels),) = _objects(value)
    assert label == ("object" if isinstance(value, list) else "cup")
    assert (pixels & mask).sum() / (pixels | mask).sum() > 0.985
    assert pixels.shape == mask.shape


def test_coco_strings_are_those_of_pycocotools() -> None:
    """By pycocotools 2.0.11, with negative differences."""
    assert coco_runs("11?1G3NL") == [1, 1, 15, 2, 6, 5, 4, 1]


def test_outlines_follow_the_even_odd_rule_and_may_leave_the_picture() -> None:
    star = np.array([(30, -9), (45, 45), (-5, 12), (65, 12), (15, 45)], float)
    inside = polygon(star, WIDTH, HEIGHT)
    assert inside[13, 5] and not inside[20, 30] and inside[1, 30]
    assert polygon(star[:2], WIDTH, HEIGHT).sum() == 0


def test_order_and_names_are_kept_and_one_photo_is_chosen() -> None:
    value = _coco([OUTLINE], [[1, 1, 9, 1, 9, 9]], name="sub/photo.png")
    value["annotations"][1]["category_id"] = 5
    value["images"].append(OTHER)
    value["annotations"].insert(1, {"image_id": 1, "category_id": 3, "segmentation": [OUTLINE]})
    assert [label for label, _ in _objects(value, "photo.jpg")] == ["cup", "plate"]
    value["annotations"][0]["category_id"] = 99
    assert [label for label, _ in _objects(value, "photo.png")] == ["99", "plate"]
    with pytest.raises(BadInput, match="has 2 images .sub/photo.png, a.jpg. and none is called b"):
        _objects(value, "b.jpg")


def test_what_is_left_out_is_said() -> None:
    value = _coco([OUTLINE], [])
    found = decode_annotations(json.dumps(value).encode(), "photo.jpg")
    assert len(list(found.objects)) == 1
    assert found.notes == ("shapes without an area left out: 1, 2 (cup: box)",)
    lines = _labelme(_shape("polygon", PAIRS), _shape("line", [[1, 1], [2, 2]], "rim"))
    found = decode_annotations(json.dumps(lines).encode(), "photo.jpg")
    assert found.notes == ("shapes without an area left out: 1, 2 (rim: line)",)
    crowd = _coco({"size": SIZE, "counts": _counts(BOX.T)}, iscrowd=1)
    (note,) = decode_annotations(json.dumps(crowd).encode(), "photo.jpg").notes
    assert note == "marked as crowds, each taken as one object: 1 (cup)"


WRONG_RUNS = {"size": SIZE, "counts": [5, 9]}
NESTED = "[" * 100_000


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nothing", "neither JSON nor XML"),
        (NESTED, "nested too deeply"),
        ("7", "export it as COCO"),
        ('{"objects": []}', "export it as COCO"),
        (_coco(), "no shape for the photo"),
        (_coco([]), "only shapes without an area"),
        (_coco([OUTLINE[:-1]]), "shape 1 .cup: outline. is not as"),
        (_coco([["a", "b", "c", "d"]]), "shape 1 .cup: outline. is not as"),
        (_coco([[float("nan")] * 6]), "corners that are no pixels"),
        (_coco(WRONG_RUNS), "runs of 14 pixels, not of 2400"),
        (_coco({"size": SIZE, "counts": [-5, 2405]}), "no numbers of pixels"),
        (_coco({"size": [10**9, 10**9], "counts": "04"}), "too large"),
        (_coco({"size": SIZE, "counts": "\x7f"}), "damaged run-length string"),
        (_coco({"size": SIZE, "counts": "P"}), "cut off"),
        ({**_coco([OUTLINE]), "images": [{"id": 7, "file_name": "photo.jpg"}]}, "width and height"),
        ({**_coco([OUTLINE]), "images": [{"width": 10**6, "height": 10**6}]}, "1000000 x 1000000"),
        ({**_coco([OUTLINE]), "categories": [3]}, "not a whole annotation file"),
        (_labelme(_shape("star", PAIRS)), "not known"),
        (_labelme(_shape("mask", [[20, 10]], mask="%%%")), "no picture|damaged|empty"),
        (_labelme({"points": PAIRS}), "not a whole annotation file"),
        (_cvat("<cuboid label='cup'/>"), "only shapes without an area, 1 .cup: cuboid."),
        (_cvat('<mask label="cup" rle="1" left="0" top="0" width="2" height="2"/>'), "runs of 1"),
        ("<annotations>", "damaged XML"),
        ("<annotations/>", "no images"),
    ],
)
def test_what_cannot_be_drawn_is_refused(value: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        _objects(value)
    assert "\n" not in str(caught.value)
