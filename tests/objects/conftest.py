"""Records made by hand, one row per object or background; the classes are road, car and pole."""

import numpy as np
import pytest

from deformlab.objects import ObjectRecords


def _make_records(rows, layers=("conv",), modulated=False, groups=1):
    """Records from dicts; what a row leaves out is 0. `dilation` lists the filters' effective dilations."""

    def column(name, default=0):
        return np.array([row.get(name, default) for row in rows])

    filters, total, squares = np.zeros((3, len(rows), len(layers)))
    for i, row in enumerate(rows):
        values = np.array(row.get("dilation", []), dtype=float)
        filters[i], total[i], squares[i] = len(values), values.sum(), (values**2).sum()
    split = np.arange(1, groups + 1) / (groups + 1) * 2  # with a mean of 1
    return ObjectRecords(
        layers=tuple(layers),
        groups=(groups,) * len(layers),
        modulated=(modulated,) * len(layers),
        image=np.array([row["image"] for row in rows], dtype=np.str_),
        object=column("object"),
        label=column("label"),
        box_area=column("area").astype(float),
        mask_area=column("mask").astype(float),
        scale=column("scale", 1.0),
        pixels=column("pixels"),
        hits=column("hits"),
        false_positives=column("false"),
        filters=filters.astype(np.int64),
        total=total,
        squares=squares,
        weighted=total / 2 if modulated else np.full_like(total, np.nan),
        group_total=total[..., None] * split,
        group_squares=squares[..., None] * split**2,
    )


@pytest.fixture
def make_records():
    return _make_records


@pytest.fixture
def records():
    """Two images with a small and a large car each, a pole in the first, and road around them."""
    car = {"object": 1, "label": 1}
    truck = {"object": 2, "label": 1}
    return _make_records(
        [
            {"image": "a", "pixels": 100, "hits": 90, "false": 10, "dilation": [2, 2, 2, 2]},
            {"image": "a", "label": 1, "false": 30},
            {"image": "a", **car, "area": 50, "pixels": 40, "hits": 10, "false": 10, "dilation": [1, 2]},
            {"image": "a", **truck, "area": 500, "pixels": 450, "hits": 400, "dilation": [3, 3, 4]},
            {"image": "a", "object": 3, "label": 2, "area": 20, "pixels": 20, "hits": 20},
            {"image": "b", "pixels": 300, "hits": 300, "false": 20, "dilation": [3]},
            {"image": "b", **car, "area": 60, "pixels": 60, "hits": 30, "dilation": [2]},
            {"image": "b", **truck, "area": 700, "pixels": 600, "hits": 600, "dilation": [5]},
        ]
    )
