import numpy as np
import pytest

from deformlab.records import ObjectMeasurement, PositionRecords, SizeRule, measurement_lines

RULE = SizeRule((100, 400))
CLASSES = ("road", "car", "pole")


def lines_of(records, positions=(), rule=RULE):
    lines = measurement_lines(ObjectMeasurement(records, tuple(positions)), rule, CLASSES)
    assert max(map(len, lines)) <= 80
    return lines


@pytest.fixture
def positions():
    """A filter on a small and one on a large car, at the same position in two images, and beside it."""
    return PositionRecords(
        layer="conv",
        images=np.array(["a", "b"]),
        map_size=np.full((2, 2), 9),
        image=np.array([0, 0, 1, 1]),
        position=np.array([40, 41, 40, 41]),
        dilation=np.array([1, 3, 4, 2], dtype=np.float32),
        object=np.array([1, 2, 2, 1]),
        label=np.ones(4, dtype=np.int64),
    )


def test_dilation_has_the_interior_first_and_all_filters_beside_it(records):
    assert "  conv   small           1.67  [1.50, 2.00]        3  1.67        3" in lines_of(records)
    assert "  conv   large           5.00             -        1  3.75        4" in lines_of(records)


def test_the_effect_at_the_same_position_is_beside_the_raw_difference(records, positions):
    lines = lines_of(records, [positions])
    assert "effective dilation on large minus on small objects, in cells" in lines
    assert any(line.split()[:2] == ["conv", "2.00"] for line in lines)


def test_scores_and_correlation(records):
    lines = lines_of(records)
    assert "bounding-box area in label-map pixels: small < 100, large > 400" in lines
    assert "  large             2    95.2  95.2  [88.9, 100.0]" in lines
    assert any("rank correlation" in line for line in lines)


def test_an_undefined_number_is_a_dash(make_records):
    # A network whose offsets have run away.
    rows = [{"image": image, "object": 1, "area": 9, "dilation": [np.nan]} for image in "ab"]
    assert "  conv   small         -         -        2    -        2" in lines_of(make_records(rows))


def test_without_objects_the_text_says_how_to_get_them(make_records):
    records = make_records([{"image": i, "pixels": 9, "hits": 8, "dilation": [2, 3]} for i in "ab"])
    text = " ".join(lines_of(records, rule=SizeRule("thirds")))
    assert "no objects in the labels: " in text
    assert "things.txt" in text


def test_without_any_label_nothing_was_measured(make_records):
    assert lines_of(make_records([])) == ["nothing was measured: every pixel of the labels is ignored"]
