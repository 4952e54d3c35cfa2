"""Effective dilation by distance from the border, on the records of two images."""

import pytest

from deformlab.records import SizeRule, border_rows, draws, summarize, summary_lines

RULE = SizeRule((100, 400))
CLASSES = ("road", "car", "pole")


def test_each_ring_of_the_margin_and_what_is_inside(records):
    rows = border_rows(records, 0, ["a", "b"], draws(2))
    assert [(row["distance"], row["inside"], row["filters"], row["images"]) for row in rows] == [
        (0, False, 3, 1),
        (1, False, 3, 1),
        (2, True, 6, 2),
    ]
    # Outermost 2, 2 of the road and 3 of a car; then 3 and 3, 4; inside 1, of cars 1, 2 and b's 3, 2, 5.
    assert [row["mean"] for row in rows] == pytest.approx([7 / 3, 10 / 3, 14 / 6])
    # One image says nothing about another.
    assert (rows[0]["low"], rows[0]["high"]) == (None, None)
    assert (rows[2]["low"], rows[2]["high"]) == pytest.approx((4 / 3, 10 / 3))


def test_rings_and_inside_are_all_filters(records):
    rows = border_rows(records, 0, ["a", "b"], draws(2))
    assert sum(row["filters"] for row in rows) == records.everywhere.filters.sum()
    assert sum(row["filters"] * row["mean"] for row in rows) == pytest.approx(records.everywhere.total.sum())


def test_without_recorded_distances_there_are_none(records):
    assert border_rows(records._replace(margins=()), 0, ["a", "b"], draws(2)) == []


def test_numbers_away_from_the_border_stand_beside_those_of_all_filters(records):
    rows = {(row["size"], row["class"]): row for row in summarize(records, RULE, CLASSES, "mask")["dilation"]}
    road = rows["background", "road"]
    assert (road["mean"], road["filters"]) == (pytest.approx(11 / 5), 5)
    inside = road["inside"]
    assert (inside["mean"], inside["std"], inside["filters"], inside["images"]) == (2, 1, 2, 2)
    assert (inside["low"], inside["high"]) == (1, 3)
    large = rows["large", "car"]
    assert (large["filters"], large["objects"]) == (4, 2)
    assert (large["inside"]["filters"], large["inside"]["objects"]) == (1, 1)
    assert (large["inside"]["mean"], large["inside"]["low"]) == (5, None)


def test_a_cell_that_is_at_the_border_altogether_has_nothing_inside(make_records):
    rows = [{"image": image, "object": 1, "area": 9, "dilation": [2], "distance": [0]} for image in "ab"]
    found = summarize(make_records(rows), RULE, CLASSES, "mask")
    assert [row["inside"] for row in found["dilation"]] == [None, None]
    assert "  no filter is: the map is too small for its dilation" in summary_lines(found)


def test_the_correlation_away_from_the_border_is_of_the_filters_there(make_records):
    # Larger objects look further only with the filters at the border.
    rows = [
        {"image": image, "object": number, "area": area, "dilation": [inside, edge], "distance": [2, 0]}
        for image in "ab"
        for number, area, inside, edge in ((1, 10, 2, 2), (2, 20, 3, 5), (3, 30, 1, 9))
    ]
    row, *_ = summarize(make_records(rows), RULE, CLASSES, "mask")["correlation"]
    assert row["spearman"] == pytest.approx(1)
    # Ranks 1, 2, 3 of size against 2, 3, 1 of effective dilation.
    assert row["inside"]["spearman"] == pytest.approx(-0.5)
    assert (row["inside"]["objects"], row["inside"]["images"]) == (6, 2)


def test_the_terminals_lines_have_them(records):
    lines = summary_lines(summarize(records, RULE, CLASSES, "mask"))
    assert "  conv   2 or more  2.33  [1.33, 3.33]        6" in lines
    assert "  conv   background  2.00 ± 1.00  [1.00, 3.00]        2        0" in lines
    assert max(map(len, lines)) <= 80
