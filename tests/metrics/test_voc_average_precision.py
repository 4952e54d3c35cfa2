"""AP of PASCAL VOC: hand-computed cases, and a plain implementation on random images."""

import math

import numpy as np
import pytest

from deformlab.errors import ConfigError
from deformlab.metrics import VocAveragePrecision, voc_ap

AREAS = ("11-point", "all-point")
RIGHT, WRONG, IGNORED = 1, 0, 2
SQUARE = (0, 0, 100, 100)
ELSEWHERE = (150, 0, 250, 100)


def computed(batches, num_classes=1, **options):
    metric = VocAveragePrecision(num_classes, **options)
    for batch in batches:
        metric.update(*batch)
    return metric.compute()


@pytest.fixture
def evaluate(make_batch):
    """The result of a metric on images, one batch per image."""

    def run(images, num_classes=1, **options):
        return computed([make_batch([image]) for image in images], num_classes, **options)

    return run


@pytest.mark.parametrize(
    ("outcomes", "objects", "eleven", "every"),
    [
        # Precision 1 up to recall 0.5, then 2/3: (6 + 5 · 2/3) / 11 and (1 + 2/3) / 2.
        ([RIGHT, WRONG, RIGHT], 2, 0.848485, 0.833333),
        ([RIGHT, IGNORED, WRONG, RIGHT], 2, 0.848485, 0.833333),
        ([RIGHT], 1, 1, 1),
        ([IGNORED, RIGHT], 1, 1, 1),
        # One of three found: the recall values 0 to 0.3 of eleven.
        ([RIGHT], 3, 4 / 11, 1 / 3),
        # In floating point, the authors' fourth recall value is more than 3/10.
        ([RIGHT] * 3, 10, 3 / 11, 0.3),
        ([WRONG, RIGHT], 1, 0.5, 0.5),
        ([WRONG], 1, 0, 0),
        ([], 1, 0, 0),
    ],
)
def test_area_under_the_curve_by_hand(outcomes, objects, eleven, every):
    assert voc_ap(outcomes, objects, "11-point") == pytest.approx(eleven, abs=1e-6)
    assert voc_ap(outcomes, objects, "all-point") == pytest.approx(every, abs=1e-6)


def test_right_wrong_right_with_two_objects(evaluate, make_image):
    detections = [(SQUARE, 0.9, 0), ((0, 100, 50, 200), 0.8, 0), (ELSEWHERE, 0.7, 0)]
    images = [make_image("a", detections, [(SQUARE, 0), (ELSEWHERE, 0)])]
    assert evaluate(images).ap50 == pytest.approx(0.848485, abs=1e-6)
    assert evaluate(images, area="all-point").ap70 == pytest.approx(0.833333, abs=1e-6)


def test_an_iou_must_exceed_the_threshold(evaluate, make_image):
    def found(bottom):
        return evaluate([make_image("a", [((0, 0, 100, bottom), 0.9, 0)], [(SQUARE, 0)])])

    assert (found(50).ap50, found(51).ap50) == (0, 1)
    assert (found(70).ap70, found(71).ap70) == (0, 1)
    assert found(71).ap50 == 1


def test_without_plus_one_boxes_are_a_pixel_smaller(evaluate, make_image):
    half = [make_image("a", [((0, 0, 5, 10), 0.9, 0)], [((0, 0, 10, 10), 0)])]
    six = [make_image("a", [((0, 0, 6, 10), 0.9, 0)], [((0, 0, 10, 10), 0)])]
    thin = [make_image("a", [((0, 0, 1, 10), 0.9, 0)], [((0, 0, 1, 10), 0)])]
    shifted = [make_image("a", [((1, 0, 5, 4), 0.9, 0)], [((0, 0, 4, 4), 0)])]
    # Of the object's 10 columns, 5 are found: an IoU of 5 / 10, and of 4 / 9 without +1.
    assert (evaluate(half).ap50, evaluate(half, plus_one=False).ap50) == (0, 0)
    # 6 / 10, and 5 / 9 without.
    assert (evaluate(six).ap50, evaluate(six, plus_one=False).ap50) == (1, 1)
    # 3 · 4 / (16 + 16 - 12) = 0.6; without, 2 · 3 / (9 + 9 - 6) = 0.5, which does not exceed 0.5.
    assert (evaluate(shifted).ap50, evaluate(shifted, plus_one=False).ap50) == (1, 0)
    # A box one pixel wide has no area without +1.
    assert (evaluate(thin).ap50, evaluate(thin, plus_one=False).ap50) == (1, 0)


def test_the_second_detection_of_an_object_is_wrong(evaluate, make_image):
    detections = [(SQUARE, 0.8, 0), (SQUARE, 0.9, 0)]
    images = [make_image("a", detections, [(SQUARE, 0), (ELSEWHERE, 0)])]
    # Recall 0.5 with a precision of 1, whatever comes later.
    assert evaluate(images, area="all-point").ap50 == 0.5


def test_a_detection_does_not_turn_to_its_second_best_object(evaluate, make_image):
    nearby = (0, 0, 100, 90)
    detections = [(SQUARE, 0.9, 0), ((0, 0, 100, 96), 0.8, 0)]
    images = [make_image("a", detections, [(SQUARE, 0), (nearby, 0)])]
    # The second has an IoU of 0.96 with the first object, and of 0.94 with the other, which is free.
    assert evaluate(images, area="all-point").ap50 == 0.5


@pytest.mark.parametrize("ignored", ["crowd", "difficult"])
def test_detections_of_ignored_objects_are_neither_right_nor_wrong(evaluate, make_image, ignored):
    detections = [(SQUARE, 0.9, 0), (SQUARE, 0.8, 0), (ELSEWHERE, 0.7, 0)]
    objects = [(SQUARE, 0), (ELSEWHERE, 0)]
    result = evaluate([make_image("a", detections, objects, **{ignored: [0]})])
    assert result.ap50 == 1
    assert result.class_objects == (1,)


def test_only_objects_of_the_same_class_match(evaluate, make_image):
    result = evaluate([make_image("a", [(SQUARE, 0.9, 1)], [(SQUARE, 0)])], num_classes=3)
    assert result.class_ap50[0] == 0
    assert all(math.isnan(value) for value in result.class_ap50[1:])
    assert result.ap50 == 0


def test_without_objects_ap_is_undefined(evaluate, make_image):
    assert math.isnan(evaluate([make_image("a", [(SQUARE, 0.9, 0)])]).ap50)
    assert evaluate([make_image("a", [], [(SQUARE, 0)])]).ap50 == 0


def plain_ap(images, label, threshold, area, plus_one):
    """The same rules once more, one detection and one recall value at a time."""
    ranked = []
    for found, target in images:
        detections = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
        for k, (box, score, other) in enumerate(detections):
            if other == label:
                ranked.append((-score, target["image_id"], k, box, target))
    ranked.sort(key=lambda row: row[:3])
    taken, right, wrong, points = set(), 0, 0, []
    count = sum(int(((t["labels"] == label) & ~t["difficult"]).sum()) for _, t in images)
    if not count:
        return math.nan
    for _, image_id, _, box, target in ranked:
        best, best_iou = None, -1.0
        for k, (other, thing) in enumerate(
            zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True)
        ):
            iou = plain_iou(box, other, plus_one)
            if thing == label and iou > best_iou:
                best, best_iou = k, iou
        if best is None or best_iou <= threshold:
            wrong += 1
        elif not target["difficult"][best]:
            right += (image_id, best) not in taken
            wrong += (image_id, best) in taken
            taken.add((image_id, best))
        if right + wrong:
            points.append((right / count, right / (right + wrong)))

    def precision_from(recall):
        return max((p for r, p in points if r >= recall), default=0.0)

    if area == "11-point":
        return sum(precision_from(i * 0.1) for i in range(11)) / 11
    levels = sorted({r for r, _ in points})
    return sum((r - before) * precision_from(r) for before, r in zip([0, *levels], levels, strict=False))


def plain_iou(box, other, plus_one):
    # Inclusive coordinates of pixels, and the width of one that covers x1 to x2.
    extra = 1 if plus_one else 0
    a, b = ([x1, y1, x2 - 1, y2 - 1] for x1, y1, x2, y2 in (box, other))
    width = min(a[2], b[2]) - max(a[0], b[0]) + extra
    height = min(a[3], b[3]) - max(a[1], b[1]) + extra
    if width <= 0 or height <= 0:
        return 0.0
    union = sum((c[2] - c[0] + extra) * (c[3] - c[1] + extra) for c in (a, b)) - width * height
    return width * height / union


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("area", AREAS)
@pytest.mark.parametrize("plus_one", [True, False])
def test_random_images_agree_with_a_plain_implementation(evaluate, random_images, seed, area, plus_one):
    images = random_images(seed)
    result = evaluate(images, num_classes=3, area=area, plus_one=plus_one)
    for threshold, ours in ((0.5, result.class_ap50), (0.7, result.class_ap70)):
        expected = [plain_ap(images, label, threshold, area, plus_one) for label in range(3)]
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
    assert 0.1 < result.ap70 < result.ap50 < 0.9
    assert result.ap50 == pytest.approx(np.nanmean(result.class_ap50))


def test_batches_and_order_of_images_change_nothing(random_images, make_batch):
    images = random_images(0)
    results = [
        computed([make_batch(images)], 3),
        computed([make_batch([image]) for image in images], 3),
        computed([make_batch(images[i::5]) for i in (3, 1, 4, 0, 2)], 3),
    ]
    assert results[0] == results[1] == results[2]


def test_an_image_that_is_evaluated_twice_is_refused(evaluate, make_image):
    image = make_image("street", [], [(SQUARE, 0)])
    with pytest.raises(ValueError, match="image street was evaluated 2 times"):
        evaluate([image, image])


def test_reset_discards_everything(make_image, make_batch):
    metric = VocAveragePrecision(1)
    metric.update(*make_batch([make_image("a", [], [(SQUARE, 0)])]))
    metric.reset()
    metric.update(*make_batch([make_image("a", [(SQUARE, 0.9, 0)], [(SQUARE, 0)])]))
    assert metric.compute().ap50 == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [({"num_classes": 0}, "num_classes must be >= 1"), ({"area": "12"}, "area must be")],
)
def test_illegal_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        VocAveragePrecision(**{"num_classes": 1, **options})
