"""The unit of a pixel, and the choice of units to look at."""

import numpy as np
import pytest

from deformlab.errors import ConfigError
from deformlab.inspection import Cells, Unit, choose_units, unit_at

CLASSES = ("Road", "Car")
SIZES = (100.0, 900.0)


def scene(*boxes, size=(64, 96)):
    """Instances and labels with one car per box (top, left, bottom, right)."""
    instance = np.zeros(size, dtype=np.int32)
    for number, (top, left, bottom, right) in enumerate(boxes, start=1):
        instance[top:bottom, left:right] = number
    return instance, (instance > 0).astype(np.uint8)


def cells(stride, size=(64, 96)):
    """A layer's map on an image that the network sees as it is."""
    return Cells((size[0] // stride, size[1] // stride), stride, size, size)


@pytest.mark.parametrize(
    ("pixel", "cell"), [((0, 0), (0, 0)), ((7, 9), (0, 1)), ((9, 23), (1, 1)), ((63, 95), (3, 5))]
)
def test_the_unit_of_a_pixel_is_the_one_whose_filter_is_centred_nearest(pixel, cell):
    assert unit_at(pixel, cells(16)).cell == cell


@pytest.mark.parametrize("pixel", [(-1, 0), (0, -1), (64, 0), (0, 96)])
def test_a_pixel_outside_the_image_says_where_the_image_is(pixel):
    with pytest.raises(ConfigError, match="y goes from 0 to 63 and x from 0 to 95"):
        unit_at(pixel, cells(16))


def test_background_a_small_and_a_large_object_are_chosen():
    instance, label = scene((2, 2, 10, 10), (24, 40, 62, 90))
    background, small, large = choose_units(instance, label, CLASSES, SIZES, cells(4))
    assert background.name == "background: Road"
    assert (small.name, instance[small.pixel]) == ("small object: Car", 1)
    assert (large.name, instance[large.pixel]) == ("large object: Car", 2)
    assert instance[background.pixel] == 0


def test_a_background_class_is_named_once():
    instance, label = scene()
    (unit,) = choose_units(instance, label, ("background", "car"), SIZES, cells(4))
    assert unit.name == "background"


def test_a_chosen_unit_lies_deep_inside_its_object():
    instance, label = scene((0, 0, 48, 48))
    unit = choose_units(instance, label, CLASSES, SIZES, cells(4))[-1]
    assert unit == Unit("large object: Car", (24, 24), (6, 6))


def test_thirds_are_those_of_the_image():
    instance, label = scene((2, 2, 10, 10), (2, 30, 18, 46), (24, 40, 62, 90))
    _, small, large = choose_units(instance, label, CLASSES, "thirds", cells(4))
    assert (small.name, instance[small.pixel]) == ("small object: Car", 1)
    assert (large.name, instance[large.pixel]) == ("large object: Car", 3)


def test_of_several_small_objects_the_one_with_the_most_pixels_is_chosen():
    instance, label = scene((2, 2, 6, 6), (20, 20, 29, 29))
    assert instance[choose_units(instance, label, CLASSES, SIZES, cells(4))[1].pixel] == 2


def test_an_image_of_medium_objects_gives_its_smallest_and_its_largest():
    instance, label = scene((0, 0, 12, 12), (30, 30, 50, 60), (30, 70, 45, 90))
    chosen = choose_units(instance, label, CLASSES, SIZES, cells(4))[1:]
    assert [instance[unit.pixel] for unit in chosen] == [1, 2]
    assert {unit.name for unit in chosen} == {"medium object: Car"}


def test_one_object_is_chosen_once():
    instance, label = scene((30, 30, 40, 40))
    assert len(choose_units(instance, label, CLASSES, SIZES, cells(4))) == 2


def test_ignored_pixels_do_not_count_as_background():
    instance, label = scene()
    label[:, :80] = 255
    (unit,) = choose_units(instance, label, CLASSES, SIZES, cells(4))
    assert unit.pixel[1] >= 80


def test_objects_without_a_cell_centre_are_not_chosen():
    instance, label = scene((1, 1, 2, 2))
    assert [unit.name for unit in choose_units(instance, label, CLASSES, SIZES, cells(16))] == [
        "background: Road"
    ]
