import math

import numpy as np
import pytest

from deformlab.records import (
    SIZES,
    SizeRule,
    by_size,
    correlations,
    dilation_cells,
    draws,
    iou_difference,
    rings,
    score_cells,
)

RULE = SizeRule((100, 400))
CLASSES = ("road", "car", "pole")
ALL_CLASSES = len(CLASSES)
ROAD, CAR, POLE = range(3)


def cell(size, label=ALL_CLASSES):
    return SIZES.index(size), label


def dilation(records, region):
    return dilation_cells(records, 0, region, RULE, len(CLASSES), draws(len(records.images)))


def scores(records):
    return score_cells(records, RULE, len(CLASSES), draws(len(records.images)))


def test_dilation_by_size_and_class(records):
    cells = dilation(records, "all")
    at = cell("small", CAR)
    assert cells.mean[at] == pytest.approx(5 / 3)
    assert cells.std[at] == pytest.approx((2 / 9) ** 0.5)
    assert (cells.filters[at], cells.objects[at], cells.images[at]) == (3, 2, 2)
    assert (cells.low[at], cells.high[at]) == pytest.approx((1.5, 2))
    assert cells.objects[cell("background", ROAD)] == 0
    # Without filters there is no mean.
    assert cells.filters[cell("small", POLE)] == 0
    assert math.isnan(cells.mean[cell("small", POLE)])


def test_the_interior_has_its_own_numbers(records):
    everywhere, interior = dilation(records, "all"), dilation(records, "interior")
    road = cell("background", ROAD)
    assert (everywhere.mean[road], everywhere.filters[road]) == (pytest.approx(11 / 5), 5)
    assert (interior.mean[road], interior.std[road], interior.filters[road]) == (2, 1, 2)
    assert (interior.low[road], interior.high[road], interior.images[road]) == (1, 3, 2)
    large = cell("large", CAR)
    assert (everywhere.filters[large], everywhere.objects[large]) == (4, 2)
    assert (interior.filters[large], interior.objects[large], interior.mean[large]) == (1, 1, 5)
    # One image has no interval.
    assert math.isnan(interior.low[large])


def test_by_size_is_the_papers_table(records):
    rows = by_size(records, "all", RULE)
    assert [(row.layer, row.size, row.region) for row in rows] == [("conv", size, "all") for size in SIZES]
    assert [row.count for row in rows] == [3, 0, 4, 5]
    assert rows[0].mean == pytest.approx(5 / 3)
    assert math.isnan(rows[1].mean)
    assert [row.count for row in by_size(records, "interior", RULE)] == [3, 0, 1, 2]


def test_groups_and_modulation_where_there_are_any(make_records):
    rows = [{"image": image, "object": 1, "area": 9, "dilation": [2, 4]} for image in "ab"]
    cells = dilation(make_records(rows, modulated=True, groups=3), "all")
    at = cell("small")
    assert (cells.weighted[at], cells.weighted_low[at], cells.weighted_high[at]) == (1.5, 1.5, 1.5)
    assert cells.group_mean[(slice(None), *at)].tolist() == [1.5, 3, 4.5]
    assert cells.group_std[(2, *at)] == pytest.approx(1.5)
    cells = dilation(make_records(rows), "all")
    assert math.isnan(cells.weighted[at])
    assert len(cells.group_mean) == 1


def test_an_objects_iou_counts_false_positives_of_its_region(records):
    cells = scores(records)
    small = cell("small", CAR)
    assert cells.recall[small] == pytest.approx(40 / 100)
    assert cells.iou[small] == pytest.approx(40 / 110)
    assert (cells.objects[small], cells.pixels[small]) == (2, 100)
    assert cells.iou[cell("large", CAR)] == pytest.approx(1000 / 1050)
    # The mean over classes: cars and the pole.
    assert cells.iou[cell("small")] == pytest.approx((40 / 110 + 1) / 2)


def test_a_class_without_objects_has_its_ordinary_iou_under_background(records):
    cells = scores(records)
    assert cells.iou[cell("background", ROAD)] == pytest.approx(390 / 430)
    assert cells.iou[cell("background")] == pytest.approx(390 / 430)
    # 30 false cars in the whole image are not the background's score.
    assert math.isnan(cells.iou[cell("background", CAR)])


def test_a_score_in_one_image_has_no_interval(records):
    cells = scores(records)
    assert cells.iou[cell("small", POLE)] == 1
    assert math.isnan(cells.iou_low[cell("small", POLE)])


def test_a_network_does_not_differ_from_itself(records):
    cells = scores(records)
    value, bounds = iou_difference(cells, cells, draws(2))
    assert value[cell("small", CAR)] == 0
    assert bounds[(slice(None), *cell("small", CAR))].tolist() == [0, 0]


def test_correlation_of_size_and_dilation(records):
    everything, *classes = correlations(records, 0, "all", RULE, CLASSES, draws(2))
    # Areas 50, 60, 500, 700 with means 1.5, 2, 10/3, 5; the pole has no filter.
    assert everything.label == "all"
    assert everything.spearman.value == pytest.approx(1)
    assert (everything.objects, everything.images) == (4, 2)
    assert [row.label for row in classes] == ["car"]
    assert classes[0].spearman == everything.spearman


def test_the_interiors_correlation_is_of_its_filters(make_records):
    # Larger objects look further only with the filters at the border.
    rows = [
        {"image": image, "object": number, "area": area, "dilation": [interior, edge], "distance": [2, 0]}
        for image in "ab"
        for number, area, interior, edge in ((1, 10, 2, 2), (2, 20, 3, 5), (3, 30, 1, 9))
    ]
    records = make_records(rows)
    everywhere, interior = (
        correlations(records, 0, region, RULE, CLASSES, draws(2))[0] for region in ("all", "interior")
    )
    assert everywhere.spearman.value == pytest.approx(1)
    # Ranks 1, 2, 3 of size against 2, 3, 1 of effective dilation.
    assert interior.spearman.value == pytest.approx(-0.5)
    assert (interior.objects, interior.images) == (6, 2)


def test_rings_near_the_border_and_the_interior(records):
    found = rings(records, 0, draws(2))
    assert [(ring.distance, ring.interior, ring.filters, ring.images) for ring in found] == [
        (0, False, 3, 1),
        (1, False, 3, 1),
        (2, True, 6, 2),
    ]
    # Outermost 2, 2 of the road and 3 of a car; then 3 and 3, 4; interior 1, of cars 1, 2 and b's 3, 2, 5.
    assert [ring.dilation.value for ring in found] == pytest.approx([7 / 3, 10 / 3, 14 / 6])
    assert found[0].dilation[1:] == (None, None)
    assert found[2].dilation[1:] == pytest.approx((4 / 3, 10 / 3))
    assert sum(ring.filters for ring in found) == records.sums["all"].filters.sum()


def test_without_recorded_distances_there_are_no_rings(records):
    assert rings(records._replace(margins=()), 0, draws(2)) == []


def test_equal_input_gives_equal_intervals(records):
    assert np.array_equal(dilation(records, "all").low, dilation(records, "all").low, equal_nan=True)
