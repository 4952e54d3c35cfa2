"""Effective dilation when the image is shifted: does it follow the content or stay at the position?"""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deformlab.cli import main
from deformlab.errors import DatasetError
from deformlab.inspection import shift


@pytest.mark.parametrize("direction", ["vertical", "horizontal"])
def test_counterparts_have_the_same_pixels_or_the_same_position(direction):
    # Each pixel is a map's cell and says where in the large image it is.
    images = torch.arange(18 * 24.0).reshape(1, 1, 18, 24)
    before, after = shift.windows(images, direction, 1.5, 2)
    assert before.shape == after.shape == images.shape
    filters, content, position = shift.counterparts(before[:, 0], after[:, 0], direction, shift=2, margin=3)
    assert torch.equal(filters, content)
    moved = after[0, 0, 3, 3] - before[0, 0, 3, 3]
    assert moved > 0
    assert torch.allclose(filters - position, moved, atol=1e-3)
    assert filters.numel() == (
        (18 - 6 - 2) * (24 - 6) if direction == "vertical" else (18 - 6) * (24 - 6 - 2)
    )


def test_correlations_are_those_of_numpy_for_any_choice_of_images():
    generator = np.random.default_rng(0)
    first = generator.normal(5, 1, (6, 20))
    second = first + generator.normal(0, 1, (6, 20))
    drawn = np.array([[1, 1, 1, 1, 1, 1], [2, 0, 0, 3, 1, 0]])
    expected = [
        np.corrcoef(first.repeat(times, 0).ravel(), second.repeat(times, 0).ravel())[0, 1] for times in drawn
    ]
    assert shift.correlations(first, second, drawn) == pytest.approx(expected)


def run(*arguments):
    return main(["shift", *map(str, arguments)])


def test_the_table_of_a_run(run_on_larger_images, tmp_path, capsys):
    output = tmp_path / "shift.csv"
    assert run(run_on_larger_images, "--output", output) == 0
    rows = list(csv.DictReader(output.open()))
    assert {row["value"] for row in rows} == {"same content", "same position"}
    assert {row["direction"] for row in rows} == {"vertical", "horizontal"}
    for row in rows:
        assert -1 <= float(row["low"]) <= float(row["mean"]) <= float(row["high"]) <= 1
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--scale", 1), "--scale 1: must be above 1 and at most 16"),
        (("--scale", "nan"), "--scale nan: must be above 1"),
        (("--scale", "1e6"), "at most 16"),
        (("--shift", 0), "error: --shift 0: must be at least 1"),
        (("--shift", 500), "have no room for windows"),
        (("--shift", 3, "--scale", 2), "no filters that are interior in both windows"),
    ],
)
def test_impossible_windows_give_one_line(trained_run, arguments, message, capsys):
    assert run(trained_run, *arguments) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_missing_run_gives_one_line(tmp_path, capsys):
    assert run(tmp_path / "nowhere") == 2
    assert capsys.readouterr().err.endswith(": no such run folder or checkpoint\n")


def test_a_network_without_deformable_layers_gives_one_line(atrous_run, capsys):
    assert run(atrous_run) == 2
    assert "has no deformable layers" in capsys.readouterr().err


def test_missing_data_give_one_line(monkeypatch, capsys):
    def setup(stage):
        raise DatasetError("/data/camvid: there is no folder val")

    network = SimpleNamespace(data=SimpleNamespace(setup=setup))
    monkeypatch.setattr(shift, "load_network", lambda run: network)
    assert run("runs/mine") == 2
    assert capsys.readouterr().err.endswith("error: /data/camvid: there is no folder val\n")


def test_a_table_that_cannot_be_written_is_refused_before_measuring(trained_run, tmp_path, capsys):
    assert run(trained_run, "--output", tmp_path / "nowhere" / "table.csv") == 2
    assert f"the folder {tmp_path / 'nowhere'} does not exist" in capsys.readouterr().err
