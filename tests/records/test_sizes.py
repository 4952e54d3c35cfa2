import pytest

from deformlab.errors import ConfigError
from deformlab.records import SIZES, SizeRule


@pytest.fixture
def objects(make_records):
    def make(areas, scale=1.0):
        rows = [
            {"image": "a", "object": i + 1, "area": area, "mask": area / 2, "scale": scale}
            for i, area in enumerate(areas)
        ]
        return make_records([{"image": "a"}, *rows])

    return make


def names(rule, records):
    return [SIZES[size] for size in rule.sizes(records)]


def test_the_thresholds_themselves_are_medium(objects):
    found = names(SizeRule((100, 400)), objects([99, 100, 400, 401]))
    assert found == ["background", "small", "medium", "medium", "large"]


def test_thirds_put_as_many_objects_into_each(objects):
    rule, records = SizeRule("thirds"), objects([7, 1, 5, 900, 30, 2, 4, 60, 3])
    found = names(rule, records)
    assert [found.count(size) for size in SIZES] == [3, 3, 3, 1]
    low, high = rule.thresholds_of(records)
    assert 3 < low < 4
    assert 7 < high < 30


def test_thirds_without_objects_are_undefined(make_records):
    records = make_records([{"image": "a"}])
    assert SizeRule("thirds").thresholds_of(records) is None
    assert names(SizeRule("thirds"), records) == ["background"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, "large"), ({"area": "mask"}, "medium"), ({"pixels": "network"}, "small")],
)
def test_area_and_pixels(objects, options, expected):
    assert names(SizeRule((100, 400), **options), objects([500], scale=0.1))[1] == expected


def test_a_rule_is_described_with_the_thresholds_that_were_used(objects):
    rule, records = SizeRule("thirds", area="mask"), objects([7, 1, 5, 900, 30, 2, 4, 60, 3])
    description = rule.describe(records, "box")
    assert description == {
        "thresholds": rule.thresholds_of(records),
        "thirds": True,
        "area": "mask",
        "pixels": "original",
        "assignment": "box",
    }
    again = SizeRule.from_description(description)
    assert names(again, records) == names(rule, records)


@pytest.mark.parametrize("areas", [[30], [30, 30, 30, 30]])
def test_thirds_of_objects_of_one_size_are_described_and_read_again(objects, areas):
    rule, records = SizeRule("thirds"), objects(areas)
    again = SizeRule.from_description(rule.describe(records, "mask"))
    assert again.thresholds == (30.0, 30.0)
    assert names(again, records) == names(rule, records) == ["background", *["medium"] * len(areas)]


def test_a_rule_without_objects_is_described_without_thresholds(make_records):
    description = SizeRule("thirds").describe(make_records([{"image": "a"}]), "mask")
    assert description["thresholds"] is None
    assert SizeRule.from_description(description).thresholds == SizeRule().thresholds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thresholds": (50, 40)}, r"object_sizes \(thresholds\) must be .*, or thirds, got \[50, 40\]"),
        ({"thresholds": "halves"}, r"object_sizes \(thresholds\) must be .*, or thirds, got 'halves'"),
        ({"area": "hull"}, r"object_area \(area\) must be box or mask, got 'hull'"),
        ({"pixels": "cells"}, r"object_pixels \(pixels\) must be original or network, got 'cells'"),
    ],
)
def test_an_illegal_value_is_named_as_option_and_as_argument(options, message):
    with pytest.raises(ConfigError, match=message):
        SizeRule(**options)
