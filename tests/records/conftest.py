"""Records made by hand, one row per object or background; the classes are road, car and pole."""

import numpy as np
import pytest

from deformlab.records import REGIONS, FilterSums, ObjectRecords

MARGIN = 2


def _make_records(rows, layers=("conv",), modulated=False, groups=1):
    """Records from dicts; columns that a row leaves out are 0.

    `dilation` lists the filters' effective dilations, `distance` their distances from the border, by default
    that of interior filters.
    """

    def column(name, default=0):
        return np.array([row.get(name, default) for row in rows])

    sums = {region: FilterSums.zeros(len(rows), len(layers), groups) for region in REGIONS}
    ring_filters, ring_total = np.zeros((2, len(rows), len(layers), MARGIN))
    for i, row in enumerate(rows):
        values = np.array(row.get("dilation", []), dtype=float)
        distance = np.array(row.get("distance", [MARGIN] * len(values)))
        _fill(sums["all"], i, values, modulated)
        _fill(sums["interior"], i, values[distance >= MARGIN], modulated)
        for ring in range(MARGIN):
            ring_filters[i, :, ring] = (distance == ring).sum()
            ring_total[i, :, ring] = values[distance == ring].sum()
    return ObjectRecords(
        layers=tuple(layers),
        groups=(groups,) * len(layers),
        modulated=(modulated,) * len(layers),
        margins=(MARGIN,) * len(layers),
        image=np.array([row["image"] for row in rows], dtype=np.str_),
        object=column("object"),
        label=column("label"),
        box_area=column("area").astype(float),
        mask_area=column("mask").astype(float),
        scale=column("scale", 1.0),
        pixels=column("pixels"),
        hits=column("hits"),
        false_positives=column("false"),
        sums=sums,
        ring_filters=ring_filters.astype(np.int64),
        ring_total=ring_total,
    )


def _fill(sums, row, values, modulated):
    """The sums of filters of these effective dilations; those of the groups lie around them."""
    groups = sums.group_total.shape[-1]
    split = np.arange(1, groups + 1) / (groups + 1) * 2  # with a mean of 1
    sums.filters[row] = len(values)
    sums.total[row], sums.squares[row] = values.sum(), (values**2).sum()
    if modulated:
        sums.weighted[row] = values.sum() / 2
    sums.group_total[row], sums.group_squares[row] = values.sum() * split, (values**2).sum() * split**2


@pytest.fixture
def make_records():
    return _make_records


@pytest.fixture
def records():
    """Two images with a small and a large car each, a pole in the first, and road around them.

    Of the road in image a one filter is interior, with 1 cell; of its large car none is.
    """
    car = {"object": 1, "label": 1}
    truck = {"object": 2, "label": 1}

    def at_border(dilation, distance):
        return {"dilation": dilation, "distance": distance}

    return _make_records(
        [
            {"image": "a", "pixels": 100, "hits": 90, "false": 10, **at_border([2, 2, 3, 1], [0, 0, 1, 2])},
            {"image": "a", "label": 1, "false": 30},
            {"image": "a", **car, "area": 50, "pixels": 40, "hits": 10, "false": 10, "dilation": [1, 2]},
            {
                "image": "a",
                **truck,
                "area": 500,
                "pixels": 450,
                "hits": 400,
                **at_border([3, 3, 4], [0, 1, 1]),
            },
            {"image": "a", "object": 3, "label": 2, "area": 20, "pixels": 20, "hits": 20},
            {"image": "b", "pixels": 300, "hits": 300, "false": 20, "dilation": [3]},
            {"image": "b", **car, "area": 60, "pixels": 60, "hits": 30, "dilation": [2]},
            {"image": "b", **truck, "area": 700, "pixels": 600, "hits": 600, "dilation": [5]},
        ]
    )
