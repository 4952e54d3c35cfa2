"""Which objects were found: hand-computed cases, and the way to recall by size and the run folder."""

import numpy as np
import pytest
import torch

from deformlab.errors import ConfigError
from deformlab.metrics import (
    DetectionScores,
    EffectiveDilation,
    LayerGeometry,
    image_key,
    objects_from_boxes,
)
from deformlab.records import ObjectMeasurement, SizeRule, detection_cells, draws, join_scores
from deformlab.run_folder import read_objects, write_objects

SQUARE = (0, 0, 100, 100)
ELSEWHERE = (150, 0, 250, 100)


def objects_of(targets):
    return [
        objects_from_boxes(boxes, labels, name, size)
        for boxes, labels, name, size in zip(
            targets["boxes"], targets["labels"], targets["name"], targets["original_size"], strict=True
        )
    ]


@pytest.fixture
def record(make_batch):
    """The records of images, one batch per image."""

    def run(images, num_classes=1, **options):
        metric = DetectionScores(num_classes, **options)
        for image in images:
            detections, targets = make_batch([image])
            metric.update(objects_of(targets), detections, targets)
        return metric.compute()

    return run


def columns(records, *names):
    """The columns of the objects, without background."""
    return [getattr(records.detections, name)[records.is_object].tolist() for name in names]


def test_an_object_is_found_at_each_iou_of_its_own(record, make_image):
    found = (0, 0, 100, 60)  # an IoU of 0.6
    records = record([make_image("a", [(found, 0.9, 0)], [(SQUARE, 0), (ELSEWHERE, 0)])])
    assert columns(records, "counted", "found50", "found70") == [[1, 1], [1, 0], [0, 0]]
    best_iou, score50, score70 = columns(records, "best_iou", "score50", "score70")
    assert best_iou == pytest.approx([0.6, 0])
    assert score50 == pytest.approx([0.9, 0])
    assert score70 == [0, 0]
    assert records.detections.false70[~records.is_object].tolist() == [1]
    assert records.detections.false50[~records.is_object].tolist() == [0]
    assert records.box_area[records.is_object].tolist() == [10_000, 10_000]


def test_detections_below_the_threshold_do_not_count_but_leave_their_score(record, make_image):
    detections = [(SQUARE, 0.4, 0), (ELSEWHERE, 0.3, 0)]
    image = make_image("a", detections, [(SQUARE, 0)])
    records = record([image])
    assert columns(records, "found50", "best_iou") == [[0], [0]]
    assert columns(records, "score50") == [pytest.approx([0.4])]
    assert records.is_object.all()  # the second detection is no false positive
    assert columns(record([image], score_threshold=0.35), "found50") == [[1]]
    assert columns(record([image], score_threshold=0.4), "found50") == [[1]]  # 0.4 as float32 is more


def test_one_detection_finds_one_object(record, make_image):
    nearby = (0, 0, 100, 90)
    objects = [(SQUARE, 0), (nearby, 0)]
    records = record([make_image("a", [(SQUARE, 0.9, 0)], objects)])
    assert columns(records, "found50") == [[1, 0]]
    assert columns(records, "best_iou") == [pytest.approx([1, 0.9])]
    # The second detection prefers the first object, too, and turns to the other one.
    records = record([make_image("a", [(SQUARE, 0.9, 0), (SQUARE, 0.8, 0)], objects)])
    assert columns(records, "found50", "score50") == [[1, 1], pytest.approx([0.9, 0.8])]
    assert records.is_object.all()


def test_a_detection_of_another_class_finds_nothing(record, make_image):
    records = record([make_image("a", [(SQUARE, 0.9, 1)], [(SQUARE, 0)])], num_classes=3)
    assert columns(records, "found50", "best_iou") == [[0], [0]]
    background = ~records.is_object
    assert records.label[background].tolist() == [1]
    assert records.detections.false50[background].tolist() == [1]


@pytest.mark.parametrize("ignored", ["crowd", "difficult"])
def test_ignored_objects_are_not_counted_and_take_no_false_positives(record, make_image, ignored):
    inside, outside = (0, 0, 50, 50), (0, 70, 100, 170)
    detections = [(SQUARE, 0.9, 0), (SQUARE, 0.8, 0), (inside, 0.8, 0), (outside, 0.7, 0)]
    records = record([make_image("a", detections, [(SQUARE, 0)], **{ignored: [0]})])
    assert columns(records, "counted", "found50", "best_iou", "score50") == [[0], [0], [0], [0]]
    assert records.detections.false50[~records.is_object].tolist() == [1]


def test_without_objects_all_detections_are_false(record, make_image):
    records = record([make_image("a", [(SQUARE, 0.9, 0), (SQUARE, 0.8, 0)]), make_image("b")])
    assert records.detections.false50.tolist() == [2]
    assert not records.is_object.any()


def test_batches_and_order_of_images_change_nothing(random_images, make_batch):
    images = random_images(0)
    results = []
    for parts in ([images], [[image] for image in images[::-1]], [images[5:], images[:5]]):
        metric = DetectionScores(3)
        for part in parts:
            detections, targets = make_batch(part)
            metric.update(objects_of(targets), detections, targets)
        records = metric.compute()
        results.append([column.tolist() for column in (records.image, records.object, *records.detections)])
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("seed", range(3))
def test_recall_agrees_with_coco(record, random_images, make_batch, seed):
    """Average recall at one IoU is the share of objects found, whatever their score."""
    from pycocotools.cocoeval import COCOeval

    from deformlab.metrics import CocoAveragePrecision

    images = random_images(seed)
    records = record(images, num_classes=3, score_threshold=0)
    recall = []

    def accumulate(self):
        original(self)
        recall.append(self.eval["recall"])

    original = COCOeval.accumulate
    metric = CocoAveragePrecision(3)
    metric.update(*make_batch(images))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(COCOeval, "accumulate", accumulate)
        metric.compute()
    for at, column in ((0, records.detections.found50), (4, records.detections.found70)):
        for label in range(3):
            chosen = records.is_object & (records.label == label)
            ours = column[chosen].sum() / records.detections.counted[chosen].sum()
            assert ours == pytest.approx(recall[0][at, label, 0, -1], abs=1e-12)


def test_recall_by_size_and_effective_dilation_share_their_objects(record, make_image, make_batch, tmp_path):
    """The records of a detector with deformable layers, from the metrics to the file and back."""
    images = [
        make_image(
            "a, b",
            [(SQUARE, 0.9, 0), ((150, 0, 160, 10), 0.8, 1)],
            [(SQUARE, 0), ((150, 0, 160, 10), 1), ((200, 0, 210, 10), 1)],
        ),
        make_image("c", [(ELSEWHERE, 0.9, 0)], [(ELSEWHERE, 0), (SQUARE, 0)]),
        make_image("d", [(ELSEWHERE, 0.9, 0)]),
    ]
    detections, targets = make_batch(images)
    objects = objects_of(targets)
    dilation = EffectiveDilation(
        {"conv": LayerGeometry((3, 3), (2, 2), stride=10)}, thresholds=(400, 10_000), assignment="box"
    )
    offset = torch.randn(3, 18, 20, 30, generator=torch.Generator().manual_seed(0))
    dilation.update({"conv": offset}, objects)
    scores = DetectionScores(2)
    scores.update(objects, detections, targets)
    measurement = dilation.compute()
    records = join_scores(measurement.records, scores.compute())
    names = {str(image_key(name)): name for name in targets["name"]}
    whole = ObjectMeasurement(records, measurement.positions).named(names)
    write_objects(tmp_path, whole, ["cell", "platelet"])
    again = read_objects(tmp_path, ["cell", "platelet"])
    for ours, expected in zip(again.records.detections, whole.records.detections, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-11)
    assert not again.records.scored
    assert again.records.sums["all"].filters.sum() == 3 * 20 * 30
    of_objects = again.records.sums["all"].filters[again.records.is_object, 0]
    assert of_objects.tolist() == [100, 1, 1, 100, 100]
    rule = SizeRule((400, 9_999))
    cells = detection_cells(again.records, 50, rule, 2, draws(3))
    # Large cells: 2 of 3; small platelets: 1 of 2.
    assert cells.recall[2].tolist() == pytest.approx([2 / 3, np.nan, 2 / 3], nan_ok=True)
    assert cells.recall[0].tolist() == pytest.approx([np.nan, 1 / 2, 1 / 2], nan_ok=True)
    assert cells.precision.tolist() == pytest.approx([2 / 3, 1, 5 / 6])


def test_objects_of_other_images_are_refused(make_image, make_batch):
    image = make_image("a", [], [(SQUARE, 0)])
    detections, targets = make_batch([image])
    _, others = make_batch([make_image("a", [], [(SQUARE, 0), (SQUARE, 0)])])
    with pytest.raises(ValueError, match="image a: objects must be those of targets"):
        DetectionScores(1).update(objects_of(others), detections, targets)
    with pytest.raises(ValueError, match="objects has 0 images, but detections has 1"):
        DetectionScores(1).update([], detections, targets)


@pytest.mark.parametrize("options", [{"num_classes": 0}, {"score_threshold": 1.0}, {"score_threshold": -0.1}])
def test_illegal_options_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        DetectionScores(**{"num_classes": 1, **options})
