import numpy as np
import pytest

from deformlab.callbacks.detections import draw_boxes

PALETTE = np.array([(250, 0, 0), (0, 250, 0)], dtype=np.uint8)
CLASSES = ("cat", "dog")


@pytest.fixture
def grey():
    return np.full((60, 80, 3), 128, dtype=np.uint8)


def test_a_box_is_outlined_in_the_colour_of_its_class(grey):
    drawn = draw_boxes(grey, np.array([[10.0, 20.0, 70.0, 50.0]]), np.array([1]), CLASSES, PALETTE)
    green = (drawn == PALETTE[1]).all(-1)
    rows, columns = np.nonzero(green)
    # Edges are continuous: the box covers the pixels 10 to 69 and 20 to 49.
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (10, 69, 20, 49)
    assert green[20, 10:70].all()
    assert green[49, 10:70].all()
    assert not (drawn == PALETTE[0]).all(-1).any()


def test_the_image_itself_is_not_changed(grey):
    draw_boxes(grey, np.array([[10.0, 20.0, 70.0, 50.0]]), np.array([0]), CLASSES, PALETTE, np.array([0.5]))
    assert (grey == 128).all()


def test_the_first_of_overlapping_detections_is_on_top(grey):
    boxes = np.array([[10.0, 10.0, 50.0, 50.0], [10.0, 10.0, 50.0, 50.0]])
    drawn = draw_boxes(grey, boxes, np.array([0, 1]), CLASSES, PALETTE, np.array([0.9, 0.8]))
    assert drawn[49, 30].tolist() == [250, 0, 0]


def test_an_image_without_boxes_stays_as_it_is(grey):
    nothing = np.zeros((0, 4)), np.zeros(0, dtype=np.int64)
    assert np.array_equal(draw_boxes(grey, *nothing, CLASSES, PALETTE), grey)


def test_boxes_outside_the_image_and_without_area_do_no_harm(grey):
    boxes = np.array([[-30.0, -20.0, -10.0, -5.0], [5.0, 5.0, 5.0, 5.0], [70.0, 50.0, 200.0, 90.0]])
    drawn = draw_boxes(grey, boxes, np.array([0, 0, 1]), CLASSES, PALETTE)
    assert drawn.shape == grey.shape
