"""Effective dilation by place: what is the place's, what is the image's, and a run seen through."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deformlab.inspection import load_network

SCRIPT = Path(__file__).parents[1] / "scripts" / "dilation_by_place.py"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import dilation_by_place

    return dilation_by_place


def test_what_a_place_always_has_is_the_places(script):
    place = np.random.default_rng(0).normal(size=(1, 3, 4))
    values = np.broadcast_to(place, (5, 3, 4))
    assert np.allclose(script.relative_to_place(values), 0)
    assert script.share_explained(values.ravel(), np.tile(np.arange(12), 5)) == pytest.approx(1)


def test_what_differs_from_image_to_image_is_not(script):
    values = np.random.default_rng(0).normal(size=(400, 30))
    share = script.share_explained(values.ravel(), np.tile(np.arange(30), 400))
    assert share == pytest.approx(0, abs=0.01)
    # Against the mean of the *other* images: 3 of (3, 0, 0) stands 3 above, each 0 stands 1.5 below.
    assert np.allclose(script.relative_to_place(np.array([[3.0], [0.0], [0.0]])), [[3], [-1.5], [-1.5]])


def test_growth_with_size_by_place_alone_is_told_from_growth_by_content(script):
    # Large objects always stand in the second row, where filters look one cell further.
    size = np.tile(np.array([[0], [2]]), (6, 1, 2))
    item = np.arange(24).reshape(6, 2, 2)
    # Two classes in every image, of which one is always that of the large objects; one pixel has none.
    label = np.where(size == 2, 1, 0)
    label[0, 0, 0] = script.IGNORE_INDEX
    area = np.where(size == 2, 100.0, 1.0).ravel() + np.arange(24) / 100
    noise = np.random.default_rng(0).normal(scale=1e-3, size=(6, 2, 2))
    by_place = 1.0 + (size == 2) + noise

    def means(dilation):
        filters = script.Filters(dilation, size, label, item, area, np.ones((2, 2), dtype=bool))
        return {(row["of"], row["value"]): row["mean"] for row in script.table(filters)}

    found = means(by_place)
    assert found["large", "effective dilation"] - found["small", "effective dilation"] == pytest.approx(
        1, abs=0.01
    )
    assert found["large", "relative to the place"] == pytest.approx(0, abs=0.01)
    assert found["rank correlation", "effective dilation"] > 0.7
    assert abs(found["rank correlation", "relative to the place"]) < 0.5
    assert found["place", "share of variance"] > 0.99
    assert found["class", "share of variance"] > 0.99


def test_the_filters_of_a_run_are_those_of_its_table(run_on_larger_images, tmp_path):
    output = tmp_path / "place.csv"
    twice = [run_on_larger_images, run_on_larger_images]
    subprocess.run([sys.executable, SCRIPT, *twice, "--output", output], check=True, capture_output=True)
    found = list(csv.DictReader(output.open()))
    assert {row["network"] for row in found} == {load_network(run_on_larger_images).name}
    assert found[: len(found) // 2] == found[len(found) // 2 :]
    rows = {(row["layer"], row["of"], row["value"]): row for row in found}
    table = list(csv.DictReader((run_on_larger_images / "effective_dilation.csv").open()))
    inside = [row for row in table if int(row["inside_count"])]
    assert {row["size"] for row in inside} >= {"large", "background"}
    for row in inside:
        ours = rows[row["layer"], row["size"], "effective dilation"]
        assert ours["count"] == row["inside_count"]
        assert float(ours["mean"]) == pytest.approx(float(row["inside_mean"]), abs=1e-4)


def test_maps_that_are_all_border_give_one_line(trained_run):
    done = subprocess.run([sys.executable, SCRIPT, trained_run], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "maps of 4x4 cells have no filter away from the border; take larger images"
    )
