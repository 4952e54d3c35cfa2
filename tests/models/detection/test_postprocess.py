"""From scores and boxes to detections: thresholds, NMS, averaging and scales, by hand."""

import pytest
import torch

from deformlab.errors import ConfigError
from deformlab.models.detection import DetectionPostprocessing, average_boxes, select_detections


def scores_of(*rows):
    """(R, C + 1) scores from those of the objects' classes."""
    objects = torch.tensor(rows)
    return torch.cat([1 - objects.sum(1, keepdim=True), objects], dim=1)


def boxes_of(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def select(scores, boxes, size=None, **options):
    return select_detections([scores], [boxes], DetectionPostprocessing(**options), size)


def test_classes_share_boxes_or_have_their_own():
    scores = scores_of([0.5, 0.4], [0.1, 0.8])
    shared = boxes_of([0, 0, 10, 10], [50, 0, 60, 10])
    found = select(scores, shared, score_threshold=0.3)
    assert found.labels.tolist() == [1, 0, 1]
    assert found.scores.tolist() == pytest.approx([0.8, 0.5, 0.4])
    assert found.boxes.tolist() == shared[[1, 0, 0]].tolist()
    assert found.masks is None
    own = torch.tensor([[0.0, 0, 10, 10, 20, 0, 30, 10], [50, 0, 60, 10, 70, 0, 80, 10]])
    found = select(scores, own, score_threshold=0.3)
    assert found.boxes[:, 0].tolist() == [70, 0, 20]


def test_a_score_must_exceed_the_threshold():
    boxes = boxes_of([0, 0, 10, 10], [20, 0, 30, 10])
    assert select(scores_of([0.5], [0.25]), boxes, score_threshold=0.25).scores.tolist() == [0.5]
    assert len(select(scores_of([0.002], [0.0005]), boxes).scores) == 1  # 0.001 by default


def test_nms_is_per_class_and_keeps_an_iou_of_the_threshold():
    scores = scores_of([0.6, 0.0], [0.5, 0.0], [0.0, 0.4])
    boxes = boxes_of([0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 10])
    assert select(scores, boxes, nms_threshold=0.5).labels.tolist() == [0, 0, 1]
    assert select(scores, boxes, nms_threshold=0.49).labels.tolist() == [0, 1]


def test_the_best_detections_of_all_classes_are_kept():
    scores = scores_of([0.6, 0.1], [0.1, 0.5], [0.4, 0.2])
    boxes = boxes_of([0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10])
    found = select(scores, boxes, max_detections=3)
    assert found.scores.tolist() == pytest.approx([0.6, 0.5, 0.4])
    assert found.labels.tolist() == [0, 1, 0]


def test_of_equal_scores_the_earlier_roi_and_the_lower_class_come_first():
    scores = scores_of([0.25, 0.25], [0.25, 0.25], [0.25, 0.5])
    boxes = boxes_of([0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10])
    found = select(scores, boxes)
    assert found.boxes[:, 0].tolist() == [40, 0, 0, 20, 20, 40]
    assert found.labels.tolist() == [1, 0, 1, 0, 1, 0]


def test_soft_nms_lowers_scores_instead():
    scores = scores_of([0.9], [0.8], [0.1])
    boxes = boxes_of([0, 0, 10, 10], [0, 0, 10, 5], [50, 0, 60, 10])
    found = select(scores, boxes, nms="soft_nms")
    assert found.scores.tolist() == pytest.approx([0.9, 0.527393, 0.1], abs=1e-6)
    linear = select(scores, boxes, nms="soft_nms", soft_nms_method="linear")
    assert linear.scores.tolist() == pytest.approx([0.9, 0.4, 0.1])
    # Classes do not lower each other's scores.
    other = select(scores_of([0.9, 0], [0, 0.8], [0.1, 0]), boxes, nms="soft_nms")
    assert other.scores.tolist() == pytest.approx([0.9, 0.8, 0.1])
    assert len(select(scores, boxes, nms="soft_nms", max_detections=2).scores) == 2


def test_scales_are_merged_before_one_suppression():
    first, second = boxes_of([0, 0, 10, 10], [20, 0, 30, 10]), boxes_of([0, 0, 10, 9])
    found = select_detections([scores_of([0.5], [0.3]), scores_of([0.7])], [first, second])
    assert found.scores.tolist() == pytest.approx([0.7, 0.3])
    assert found.boxes.tolist() == [[0, 0, 10, 9], [20, 0, 30, 10]]


def test_box_average_by_hand():
    scores, boxes = scores_of([0.9], [0.3]), boxes_of([0, 0, 10, 10], [0, 0, 12, 10])
    found = select(scores, boxes, box_average=True)
    assert found.boxes[0].tolist() == pytest.approx([0, 0, 10.5, 10])
    assert found.scores.tolist() == pytest.approx([0.9])
    # (2.4 · 10 + 1.8 · 12) / 4.2
    found = select(scores, boxes, box_average=True, box_average_weight="score+1.5")
    assert found.boxes[0, 2].item() == pytest.approx(45.6 / 4.2)
    # Their IoU is 10/12.
    found = select(scores, boxes, box_average=True, box_average_threshold=0.84)
    assert found.boxes.tolist() == [[0, 0, 10, 10]]


def test_candidates_of_other_classes_and_far_ones_do_not_contribute():
    scores = scores_of([0.9, 0.0], [0.0, 0.3], [0.3, 0.0])
    boxes = boxes_of([0, 0, 10, 10], [0, 0, 12, 10], [8, 0, 18, 10])
    found = select(scores, boxes, box_average=True)
    assert found.boxes.tolist() == boxes[[0, 1, 2]].tolist()


def test_averages_of_soft_nms_are_weighted_by_the_first_scores():
    scores, boxes = scores_of([0.9], [0.3]), boxes_of([0, 0, 10, 10], [0, 0, 12, 10])
    found = select(scores, boxes, box_average=True, nms="soft_nms")
    assert found.boxes[:, 2].tolist() == pytest.approx([10.5, 10.5])
    assert found.scores[1] < 0.3


def test_a_box_without_contributing_candidates_stays():
    labels = torch.tensor([0])
    box = boxes_of([0, 0, 10, 10])
    far = boxes_of([20, 0, 30, 10])
    assert average_boxes(box, labels, far, torch.tensor([0.9]), labels).tolist() == box.tolist()
    # Weights below 0 are 0.
    lowest = average_boxes(box, labels, box, torch.tensor([-2.0]), labels, weight="score+1.5")
    assert lowest.tolist() == box.tolist()


def test_averages_keep_their_digits_under_autocast():
    scores, boxes = scores_of([0.9], [0.3]), boxes_of([1000, 0, 1010, 10], [1000, 0, 1012, 10])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = select(scores, boxes, box_average=True)
    assert found.boxes[0].tolist() == pytest.approx([1000, 0, 1010.5, 10])


def test_boxes_are_clipped_to_the_image_and_empty_ones_left_out():
    scores = scores_of([0.9], [0.8], [0.7])
    boxes = boxes_of([-5, -5, 10, 10], [90, 40, 120, 70], [100, 0, 110, 10])
    found = select(scores, boxes, size=(50, 100))
    assert found.boxes.tolist() == [[0, 0, 10, 10], [90, 40, 100, 50]]
    assert len(select(scores, boxes).scores) == 3


def test_values_that_are_not_finite_are_left_out():
    scores = scores_of([0.9], [0.8], [float("nan")])
    boxes = boxes_of([0, 0, float("nan"), 10], [0, 0, 10, 10], [20, 0, 30, 10])
    found = select(scores, boxes, size=(50, 100))
    assert found.scores.tolist() == pytest.approx([0.8])


def test_half_precision_is_computed_in_single():
    scores, boxes = scores_of([0.9], [0.3]), boxes_of([1000, 0, 1010, 10], [20, 0, 30, 10])
    found = select(scores.bfloat16(), boxes)
    assert found.boxes.dtype == found.scores.dtype == torch.float32
    assert found.boxes[0, 2] == 1010


@pytest.mark.parametrize("options", [{}, {"nms": "soft_nms"}, {"box_average": True}])
def test_nothing_found(options):
    for rois in (0, 2):
        found = select(torch.zeros(rois, 3), torch.zeros(rois, 8), size=(50, 100), **options)
        assert [tuple(part.shape) for part in found[:3]] == [(0, 4), (0,), (0,)]
        assert found.labels.dtype == torch.int64


def test_no_gradient_flows():
    scores, boxes = scores_of([0.9]).requires_grad_(), boxes_of([0, 0, 10, 10]).requires_grad_()
    found = select(scores, boxes, box_average=True)
    assert not found.boxes.requires_grad
    assert not found.scores.requires_grad


def test_shapes_that_do_not_fit_are_refused():
    scores, boxes = torch.zeros(2, 4), torch.zeros(2, 4)
    for wrong in (torch.zeros(3, 4), torch.zeros(2, 8), torch.zeros(2, 16), torch.zeros(8)):
        with pytest.raises(ValueError, match=r"boxes must be \(2, 4\) or \(2, 12\)"):
            select_detections([scores], [wrong])
    with pytest.raises(ValueError, match=r"scores must be \(R, C \+ 1\)"):
        select_detections([torch.zeros(2, 1)], [boxes])
    with pytest.raises(ValueError, match="one tensor per scale, got 2 and 1"):
        select_detections([scores, scores], [boxes])
    with pytest.raises(ValueError, match="one tensor per scale, got 0 and 0"):
        select_detections([], [])
    with pytest.raises(ValueError, match=r"same classes at all scales, got \[4, 3\] columns"):
        select_detections([scores, torch.zeros(2, 3)], [boxes, boxes])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("score_threshold", 1.0),
        ("score_threshold", -0.1),
        ("score_threshold", float("nan")),
        ("nms", "hard"),
        ("nms_threshold", 1.1),
        ("soft_nms_method", "cubic"),
        ("soft_nms_sigma", 0.0),
        ("max_detections", 0),
        ("box_average_threshold", 0.0),
        ("box_average_weight", "one"),
    ],
)
def test_illegal_options_are_refused(option, value):
    with pytest.raises(ConfigError, match=f"{option} must be .*got"):
        DetectionPostprocessing(**{option: value})
