import json

import numpy as np
import pytest

from deformlab.records import SizeRule, summarize, summary_lines
from deformlab.records.statistics import number

RULE = SizeRule((100, 400))
CLASSES = ("road", "car", "pole")


def summary(records, rule=RULE):
    return summarize(records, rule, CLASSES, "mask")


def dilation(found):
    return {(row["size"], row["class"]): row for row in found["dilation"]}


def scores(found):
    return {(row["size"], row["class"]): row for row in found["scores"]}


def test_dilation_by_size_and_class(records):
    rows = dilation(summary(records))
    assert list(rows) == [
        ("small", "all"),
        ("large", "all"),
        ("background", "all"),
        ("background", "road"),
        ("small", "car"),
        ("large", "car"),
    ]
    car = rows["small", "car"]
    assert car["mean"] == pytest.approx(5 / 3)
    assert car["std"] == pytest.approx((2 / 9) ** 0.5)
    assert (car["filters"], car["objects"], car["images"]) == (3, 2, 2)
    assert car["low"] == pytest.approx(1.5)
    assert car["high"] == pytest.approx(2)
    assert rows["background", "road"]["objects"] == 0


def test_groups_and_modulation_where_there_are_any(make_records):
    rows = [{"image": image, "object": 1, "area": 9, "dilation": [2, 4]} for image in "ab"]
    row = dilation(summary(make_records(rows, modulated=True, groups=3)))["small", "all"]
    assert row["weighted_mean"] == 1.5
    assert (row["weighted_low"], row["weighted_high"]) == (1.5, 1.5)
    assert [group["mean"] for group in row["groups"]] == [1.5, 3, 4.5]
    assert row["groups"][2]["std"] == pytest.approx(1.5)
    row = dilation(summary(make_records(rows)))["small", "all"]
    assert not {"groups", "weighted_mean"} & set(row)


def test_an_objects_iou_counts_false_positives_of_its_region(records):
    rows = scores(summary(records))
    small = rows["small", "car"]
    assert small["recall"] == pytest.approx(40 / 100)
    assert small["iou"] == pytest.approx(40 / 110)
    assert (small["objects"], small["pixels"]) == (2, 100)
    assert rows["large", "car"]["iou"] == pytest.approx(1000 / 1050)
    # The mean over classes: cars and the pole.
    assert rows["small", "all"]["iou"] == pytest.approx((40 / 110 + 1) / 2)


def test_a_class_without_objects_has_its_ordinary_iou_under_background(records):
    rows = scores(summary(records))
    assert rows["background", "road"]["iou"] == pytest.approx(390 / 430)
    assert rows["background", "all"]["iou"] == pytest.approx(390 / 430)
    # 30 false cars in the whole image are not the background's score.
    assert ("background", "car") not in rows


def test_what_is_in_one_image_has_no_interval(records):
    pole = scores(summary(records))["small", "pole"]
    assert (pole["iou"], pole["iou_low"], pole["iou_high"]) == (1, None, None)


def test_correlation_of_size_and_dilation(records):
    rows = {(row["layer"], row["class"]): row for row in summary(records)["correlation"]}
    # Areas 50, 60, 500, 700 with means 1.5, 2, 10/3, 5; the pole has no filter.
    assert rows["conv", "all"]["spearman"] == pytest.approx(1)
    assert (rows["conv", "all"]["objects"], rows["conv", "all"]["images"]) == (4, 2)
    assert rows["conv", "car"] == {**rows["conv", "all"], "class": "car"}
    assert ("conv", "pole") not in rows


def test_the_summary_is_json_without_nan(records):
    found = summary(records)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["version"] == 3
    assert found["rule"] == {
        "thresholds": [100, 400],
        "thirds": False,
        "area": "box",
        "pixels": "original",
        "region": "mask",
    }


def test_the_same_again_has_the_same_intervals(records):
    assert summary(records) == summary(records)


def test_without_objects_it_says_what_is_possible(make_records):
    records = make_records([{"image": i, "pixels": 9, "hits": 8, "dilation": [2, 3]} for i in "ab"])
    found = summary(records, SizeRule("thirds"))
    assert found["objects"] == 0
    assert found["rule"]["thresholds"] is None
    text = " ".join(summary_lines(found))
    assert "no objects: " in text
    assert "things.txt" in text


def test_without_predictions_there_are_no_scores(make_records):
    records = make_records([{"image": "a", "object": 1, "area": 4, "false": -1, "dilation": [2]}])
    assert summary(records)["scores"] == []


def test_the_terminals_lines_fit(records):
    lines = summary_lines(summary(records))
    assert max(map(len, lines)) <= 80
    assert "  conv   small       1.67 ± 0.47  [1.50, 2.00]        3        2" in lines


def test_what_is_undefined_is_a_dash_on_the_terminal(make_records):
    # A network whose offsets have run away.
    rows = [{"image": image, "object": 1, "area": 9, "dilation": [np.nan]} for image in "ab"]
    lines = summary_lines(summary(make_records(rows)))
    assert sum("- ± -" in line for line in lines) == 2


@pytest.mark.parametrize("undefined", [np.nan, np.inf])
def test_what_json_does_not_have_is_null(undefined):
    assert number(undefined) is None
