"""Effective dilation near the image's border: distances, and that the parts make up the whole table."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "dilation_near_border.py"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import dilation_near_border

    return dilation_near_border


def test_distance_is_counted_from_the_nearest_border(script):
    assert script.distance_from_border(3, 5).tolist() == [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]


def test_the_mean_is_over_filters_and_the_interval_over_images(script):
    # Two images of 3 and 1 filters: whichever are drawn, the mean lies between theirs.
    mean, low, high = script.mean_and_interval([(3.0, 3), (5.0, 1)])
    assert (mean, low, high) == (2.0, 1.0, 5.0)
    assert script.mean_and_interval([(0.0, 0)])[0] != script.mean_and_interval([(0.0, 0)])[0]


def test_rings_and_sizes_are_of_the_same_filters_as_the_table_of_the_run(trained_run, tmp_path):
    output = tmp_path / "border.csv"
    command = [sys.executable, SCRIPT, trained_run, "--margin", "0", "--output", output]
    subprocess.run(command, check=True, capture_output=True)
    rows = list(csv.DictReader(output.open()))
    table = list(csv.DictReader((trained_run / "effective_dilation.csv").open()))
    assert table
    for layer in {row["layer"] for row in rows}:
        of = {(row["where"], row["of"]): row for row in rows if row["layer"] == layer}
        for row in (row for row in table if row["layer"] == layer):
            for where in ("all", "inside"):
                assert of[where, row["size"]]["filters"] == row["count"]
                if int(row["count"]):
                    assert float(of[where, row["size"]]["mean"]) == pytest.approx(
                        float(row["mean"]), abs=1e-4
                    )
        rings = sum(int(row["filters"]) for (where, _), row in of.items() if where == "ring")
        assert rings >= sum(int(row["count"]) for row in table if row["layer"] == layer)
