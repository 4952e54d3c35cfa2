"""Effective dilation when the image is moved: what goes with the content, what stays with the place."""

import csv
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deformlab.errors import DatasetError

SCRIPT = Path(__file__).parents[1] / "scripts" / "dilation_by_shift.py"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import dilation_by_shift

    return dilation_by_shift


@pytest.mark.parametrize("direction", ["vertical", "horizontal"])
def test_counterparts_have_the_same_pixels_or_the_same_place(script, direction):
    # Each pixel is a map's cell and says where in the large image it is.
    images = torch.arange(18 * 24.0).reshape(1, 1, 18, 24)
    before, after = script.windows(images, direction, 1.5, 2)
    assert before.shape == after.shape == images.shape
    filters, content, place = script.counterparts(before[:, 0], after[:, 0], direction, shift=2, margin=3)
    assert torch.equal(filters, content)
    moved = after[0, 0, 3, 3] - before[0, 0, 3, 3]
    assert moved > 0
    assert torch.allclose(filters - place, moved, atol=1e-3)
    assert filters.numel() == (
        (18 - 6 - 2) * (24 - 6) if direction == "vertical" else (18 - 6) * (24 - 6 - 2)
    )


def test_correlations_are_those_of_numpy_for_any_choice_of_images(script):
    generator = np.random.default_rng(0)
    first = generator.normal(5, 1, (6, 20))
    second = first + generator.normal(0, 1, (6, 20))
    drawn = np.array([[1, 1, 1, 1, 1, 1], [2, 0, 0, 3, 1, 0]])
    expected = [
        np.corrcoef(first.repeat(times, 0).ravel(), second.repeat(times, 0).ravel())[0, 1] for times in drawn
    ]
    assert script.correlations(first, second, drawn) == pytest.approx(expected)


def run(*arguments):
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True)


def test_a_run_seen_through(run_on_larger_images, tmp_path):
    output = tmp_path / "shift.csv"
    done = run(run_on_larger_images, "--output", output)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(output.open()))
    assert {row["value"] for row in rows} == {"same content", "same place"}
    assert {row["direction"] for row in rows} == {"vertical", "horizontal"}
    for row in rows:
        assert -1 <= float(row["low"]) <= float(row["mean"]) <= float(row["high"]) <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--scale", 1), "--scale must be above 1"),
        (("--shift", 500), "have no room for windows"),
        (("--shift", 3, "--scale", 2), "no filter is away from the border"),
    ],
)
def test_windows_that_cannot_be_give_one_line(trained_run, arguments, message):
    done = run(trained_run, *arguments)
    assert done.returncode != 0
    assert message in done.stderr.splitlines()[-1]


def test_a_run_that_is_not_there_gives_one_line(tmp_path):
    done = run(tmp_path / "nowhere")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("there is no such run folder or checkpoint")


def test_data_that_have_gone_give_one_line(script, monkeypatch, capsys):
    import dilation_of_runs

    def setup(stage):
        raise DatasetError("/data/camvid: there is no folder val")

    network = SimpleNamespace(data=SimpleNamespace(setup=setup))
    monkeypatch.setattr(dilation_of_runs, "load_network", lambda run: network)
    monkeypatch.setattr(sys, "argv", ["dilation_by_shift.py", "runs/mine"])
    with pytest.raises(SystemExit) as end:
        script.main()
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith("error: /data/camvid: there is no folder val\n")


def test_a_table_that_cannot_be_written_is_refused_before_measuring(trained_run, tmp_path):
    done = run(trained_run, "--output", tmp_path / "nowhere" / "table.csv")
    assert done.returncode == 2
    assert f"there is no folder {tmp_path / 'nowhere'}" in done.stderr.splitlines()[-1]


def test_an_interrupt_ends_in_one_line(script):
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit, match=r"^interrupted: no table was written$"):
        script.run_script(main)
