"""AP of COCO: hand-computed cases, and the published figures of a case with 100 images."""

import json
import math
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as run_lengths

from deformlab.errors import ConfigError
from deformlab.metrics import CocoAveragePrecision

SQUARE = (0, 0, 100, 100)
ELSEWHERE = (150, 0, 250, 100)


def near(value):
    """pycocotools adds an epsilon to the denominator of precision: a perfect AP is 1 - 2e-16."""
    return pytest.approx(value, abs=1e-12)


def computed(batches, num_classes=1, **options):
    metric = CocoAveragePrecision(num_classes, **options)
    for batch in batches:
        metric.update(*batch)
    return metric.compute()


@pytest.fixture
def evaluate(make_batch):
    """The result of a metric on images, one batch per image."""

    def run(images, num_classes=1, **options):
        return computed([make_batch([image]) for image in images], num_classes, **options)

    return run


def test_right_wrong_right_with_two_objects(evaluate, make_image):
    detections = [(SQUARE, 0.9, 0), ((0, 100, 50, 200), 0.8, 0), (ELSEWHERE, 0.7, 0)]
    result = evaluate([make_image("a", detections, [(SQUARE, 0), (ELSEWHERE, 0)])])
    # Precision 1 at the recall values 0 to 0.5, and 2/3 at the other 50 of 101.
    expected = (51 + 50 * 2 / 3) / 101
    assert result.ap == near(expected)
    assert result.ap50 == result.ap75 == result.ap70 == result.class_ap50[0]
    assert result.ar_1 == 0.5
    assert result.ar == 1


def test_each_ap_has_its_own_iou(evaluate, make_image):
    found = (0, 0, 100, 72)  # an IoU of 0.72
    result = evaluate([make_image("a", [(found, 0.9, 0)], [(SQUARE, 0)])])
    assert (result.ap50, result.ap70, result.ap75) == near((1, 1, 0))
    assert result.ap == near(0.5)  # 0.50 to 0.70 of ten thresholds


def test_objects_count_for_the_size_of_their_area(evaluate, make_image):
    small, medium = (0, 0, 31, 31), (100, 0, 190, 90)
    images = [make_image("a", [(medium, 0.9, 0)], [(small, 0), (medium, 0)])]
    result = evaluate(images)
    assert (result.ap_small, result.ap_medium, result.ar_small, result.ar_medium) == near((0, 1, 0, 1))
    assert math.isnan(result.ap_large)
    assert math.isnan(result.ar_large)
    assert evaluate(images, sizes=(30**2, 80**2)).ap_large == near(1)


def test_a_class_without_objects_is_undefined_and_left_out_of_the_mean(evaluate, make_image):
    detections = [(SQUARE, 0.9, 0), (SQUARE, 0.8, 2)]
    result = evaluate([make_image("a", detections, [(SQUARE, 0), (ELSEWHERE, 1)])], num_classes=3)
    assert result.class_ap[:2] == near((1, 0))
    assert math.isnan(result.class_ap[2])
    assert result.ap == near(0.5)
    assert result.class_objects == (1, 1, 0)


def test_without_detections_ap_is_zero_and_without_objects_undefined(evaluate, make_image):
    assert evaluate([make_image("a", [], [(SQUARE, 0)])]).ap == 0
    assert math.isnan(evaluate([make_image("a", [(SQUARE, 0.9, 0)])]).ap)
    assert math.isnan(evaluate([make_image("a")]).ap)


def test_a_detection_in_an_image_without_objects_is_wrong(evaluate, make_image):
    right = make_image("a", [(SQUARE, 0.8, 0)], [(SQUARE, 0)])
    assert evaluate([right, make_image("b", [(SQUARE, 0.9, 0)])]).ap == near(0.5)
    assert evaluate([right, make_image("b")]).ap == near(1)


@pytest.mark.parametrize("ignored", ["crowd", "difficult"])
def test_detections_of_ignored_objects_are_neither_right_nor_wrong(evaluate, make_image, ignored):
    detections = [(SQUARE, 0.9, 0), (SQUARE, 0.8, 0), (ELSEWHERE, 0.7, 0)]
    objects = [(SQUARE, 0), (ELSEWHERE, 0)]
    result = evaluate([make_image("a", detections, objects, **{ignored: [0]})])
    assert result.ap == near(1)
    assert result.class_objects == (1,)


def test_only_the_best_detections_of_an_image_count(evaluate, make_image):
    wrong = [((0, 100, 1 + i, 150), 0.9, 0) for i in range(11)]
    image = make_image("a", [*wrong, (SQUARE, 0.5, 0)], [(SQUARE, 0)])
    assert evaluate([image], max_detections=11).ap == 0
    assert evaluate([image], max_detections=12).ap == near(1 / 12)


@pytest.mark.parametrize("seed", [0, 1])
def test_batches_and_order_of_images_change_nothing(random_images, make_batch, seed):
    images = random_images(seed)
    results = [
        computed([make_batch(images)], 3),
        computed([make_batch([image]) for image in images], 3),
        computed([make_batch(images[i::5]) for i in (3, 1, 4, 0, 2)], 3),
    ]
    assert results[0] == results[1] == results[2]
    assert 0.1 < results[0].ap < 0.9


def test_reset_discards_everything(make_image, make_batch):
    metric = CocoAveragePrecision(1)
    metric.update(*make_batch([make_image("a", [], [(SQUARE, 0)])]))
    metric.reset()
    metric.update(*make_batch([make_image("a", [(SQUARE, 0.9, 0)], [(SQUARE, 0)])]))
    assert metric.compute().ap == near(1)


def test_an_image_that_is_evaluated_twice_is_refused(evaluate, make_image):
    image = make_image("street", [], [(SQUARE, 0)])
    with pytest.raises(ValueError, match="image street was evaluated 2 times"):
        evaluate([image, image])


def test_nothing_is_printed(evaluate, make_image, capfd):
    evaluate([make_image("a", [(SQUARE, 0.9, 0)], [(SQUARE, 0)])])
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes must be >= 1"),
        ({"max_detections": 10}, "max_detections must be > 10"),
        ({"sizes": (100, 50)}, "sizes must be two areas"),
        ({"kind": "points"}, "kind must be one of boxes, masks"),
        ({"backend": "mine"}, "backend must be one of pycocotools"),
    ],
)
def test_illegal_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        CocoAveragePrecision(**{"num_classes": 2, **options})


@pytest.mark.parametrize(
    ("backend", "module"),
    [("pycocotools", "pycocotools.coco"), ("faster-coco-eval", "faster_coco_eval"), ("hotcoco", "hotcoco")],
)
def test_a_missing_package_is_named(monkeypatch, backend, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=f"pip install {backend}"):
        CocoAveragePrecision(1, backend=backend)


@pytest.mark.parametrize("kind", ["boxes", "masks"])
@pytest.mark.parametrize(
    ("backend", "module"), [("faster-coco-eval", "faster_coco_eval"), ("hotcoco", "hotcoco")]
)
def test_the_faster_packages_agree_with_pycocotools(random_images, make_batch, backend, module, kind):
    pytest.importorskip(module)
    images = [_with_masks(image) for image in random_images(2)]
    options = {"num_classes": 3, "kind": kind, "sizes": (30**2, 60**2)}
    expected = computed([make_batch(images)], **options)
    result = computed([make_batch(images)], **options, backend=backend)
    np.testing.assert_allclose(result[:13], expected[:13], rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.class_ap, expected.class_ap, rtol=0, atol=1e-12)
    blank = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), []
    nothing_found = [(type(found)(*blank), target) for found, target in images]
    assert computed([make_batch(nothing_found)], **options, backend=backend).ap == 0


def _filled(box, size=(200, 300)):
    """Run lengths of a box."""
    mask = np.zeros(size, dtype=np.uint8)
    left, top, right, bottom = (round(value) for value in box)
    mask[max(top, 0) : bottom, max(left, 0) : right] = 1
    return run_lengths.encode(np.asfortranarray(mask))


def _with_masks(image):
    found, target = image
    masks = [_filled(box) for box in target["boxes"].tolist()]
    return found._replace(masks=[_filled(box) for box in found.boxes.tolist()]), {**target, "masks": masks}


def test_ap_of_masks_compares_masks(evaluate, make_image):
    half = _filled((0, 0, 100, 60))
    image = make_image("a", [(SQUARE, 0.9, 0)], [(SQUARE, 0)], masks=([half], [_filled(SQUARE)]))
    result = evaluate([image], kind="masks")
    assert (result.ap50, result.ap70) == near((1, 0))
    assert result.ap == near(0.3)  # 0.50, 0.55 and 0.60 of ten thresholds
    assert evaluate([image]).ap == near(1)


def test_ap_of_masks_of_several_images(random_images, make_batch):
    images = [_with_masks(image) for image in random_images(3)]
    of_masks = computed([make_batch(images[i::4]) for i in (2, 0, 3, 1)], 3, kind="masks")
    assert of_masks == computed([make_batch(images)], 3, kind="masks")
    # Masks that fill their boxes differ from them by the rounding of the boxes only.
    assert of_masks.ap == pytest.approx(computed([make_batch(images)], 3).ap, abs=0.1)


def test_masks_that_are_missing_or_of_another_size_are_refused(evaluate, make_image):
    detection, thing = [(SQUARE, 0.9, 0)], [(SQUARE, 0)]
    mask, other = [_filled(SQUARE)], [_filled(SQUARE, (100, 100))]
    cases = {
        "image a: the detections have no masks": (None, mask),
        "image a: the objects have no masks": (mask, None),
        "image a: 1 boxes but 2 masks of detections": (mask * 2, mask),
        re.escape("image a: a mask of the objects has the size [100, 100], but the image has [200, 300]"): (
            mask,
            other,
        ),
    }
    for message, masks in cases.items():
        with pytest.raises(ValueError, match=message):
            evaluate([make_image("a", detection, thing, masks=masks)], kind="masks")


def test_the_published_figures_come_out_to_the_last_digit(make_batch, make_found):
    root = os.environ.get("DEFORMLAB_SHARED_DATA")
    folder = Path(root or "") / "coco_eval_case"
    if not root or not folder.is_dir():
        pytest.skip("DEFORMLAB_SHARED_DATA does not name a folder with coco_eval_case")
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    label = {number: i for i, number in enumerate(sorted(entry["id"] for entry in truth["categories"]))}

    def columns(entries):
        boxes = torch.tensor([entry["bbox"] for entry in entries], dtype=torch.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = [label[entry["category_id"]] for entry in entries]
        return boxes.float(), torch.tensor(labels, dtype=torch.int64)

    metric = CocoAveragePrecision(len(label))
    for image in truth["images"]:
        things, found = (
            [entry for entry in entries if entry["image_id"] == image["id"]]
            for entries in (truth["annotations"], results)
        )
        (boxes, labels), (found_boxes, found_labels) = columns(things), columns(found)
        target = {
            "boxes": boxes,
            "labels": labels,
            "difficult": torch.zeros(len(things), dtype=torch.bool),
            "crowd": torch.tensor([bool(entry["iscrowd"]) for entry in things]).reshape(-1),
            "area": torch.tensor([entry["area"] for entry in things], dtype=torch.float64),
            "name": image["file_name"],
            "image_id": image["id"],
            "original_size": (image["height"], image["width"]),
        }
        scores = torch.tensor([entry["score"] for entry in found])
        metric.update(*make_batch([(make_found(found_boxes, scores, found_labels), target)]))
    result = metric.compute()
    assert (result.ap, result.ap50, result.ap75) == (
        0.5045806987249628,
        0.6969727247299577,
        0.5729816669904824,
    )
    assert (result.ap_small, result.ap_medium, result.ap_large) == (
        0.5856257209410443,
        0.5193996948036719,
        0.5013978986347466,
    )
    assert (result.ar_1, result.ar_10, result.ar) == (
        0.38681277964578054,
        0.5936795762842003,
        0.595352982877607,
    )
    assert (result.ar_small, result.ar_medium, result.ar_large) == (
        0.6398109626113442,
        0.5664205978994309,
        0.5642905982905982,
    )
