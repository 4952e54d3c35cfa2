import numpy as np
import pytest
import torch

from deformlab.metrics.detection_images import box_iou, detection_images, share_inside

SQUARE = (0, 0, 10, 10)


def test_iou_and_share_by_hand():
    boxes = np.array([SQUARE, (5, 0, 15, 10), (20, 20, 20, 20)], dtype=float)
    np.testing.assert_allclose(box_iou(boxes[:1], boxes), [[1, 50 / 150, 0]])
    assert box_iou(boxes[2:], boxes[2:]) == 0  # no area at all
    np.testing.assert_allclose(share_inside(boxes, boxes[:1])[:, 0], [1, 0.5, 0])
    assert box_iou(boxes[:0], boxes).shape == (0, 3)


def test_objects_are_ignored_if_difficult_or_a_crowd(make_image, make_batch):
    objects = [(SQUARE, 0), (SQUARE, 1), (SQUARE, 0)]
    image = make_image("a", [(SQUARE, 0.5, 1)], objects, difficult=[0], crowd=[2], size=(20, 30))
    (converted,) = detection_images(*make_batch([image]), 2)
    assert converted.ignored.tolist() == [True, False, True]
    assert converted.size == (20, 30)
    assert converted.boxes.dtype == np.float64
    assert converted.area.tolist() == [100, 100, 100]


@pytest.mark.parametrize(
    ("box", "score", "label", "message"),
    [
        ((0, 0, float("nan"), 1), 0.5, 0, "image b: detection 1 has the box"),
        ((5, 0, 4, 1), 0.5, 0, "image b: detection 1 has the box"),
        (SQUARE, float("nan"), 0, "image b: scores of detections has the value nan at index 1"),
        (SQUARE, 0.5, 2, "image b: detection 1 has the label 2; legal are 0 to 1"),
        (SQUARE, 0.5, -1, "image b: detection 1 has the label -1; legal are 0 to 1"),
    ],
)
def test_an_illegal_detection_is_named(make_image, make_batch, box, score, label, message):
    images = [make_image("a"), make_image("b", [(SQUARE, 0.9, 0), (box, score, label)])]
    with pytest.raises(ValueError, match=message):
        detection_images(*make_batch(images), 2)


def test_an_illegal_object_is_named(make_image, make_batch):
    with pytest.raises(ValueError, match="image a: object 0 has the label 2"):
        detection_images(*make_batch([make_image("a", [], [(SQUARE, 2)])]), 2)


def test_shapes_that_do_not_fit_are_refused(make_image, make_batch):
    image = make_image("a", [(SQUARE, 0.9, 0)], [(SQUARE, 0)])
    found, target = image
    with pytest.raises(ValueError, match="targets lacks crowd"):
        detection_images([found], {key: [value] for key, value in target.items() if key != "crowd"}, 2)
    with pytest.raises(ValueError, match="detections has 2 images, but targets has 1"):
        detection_images([found, found], make_batch([image])[1], 2)
    with pytest.raises(ValueError, match=r"boxes and labels of detections must be \(n, 4\) and \(n,\)"):
        detection_images(*make_batch([(found._replace(boxes=torch.zeros(1, 5)), target)]), 2)
    with pytest.raises(ValueError, match="labels of detections must be of an integer type"):
        detection_images(*make_batch([(found._replace(labels=torch.zeros(1)), target)]), 2)
    with pytest.raises(ValueError, match=r"area must be \(1,\) like the boxes"):
        detection_images(*make_batch([(found, {**target, "area": torch.zeros(2)})]), 2)
