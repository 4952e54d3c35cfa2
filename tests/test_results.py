"""Committed results are what `deformlab report` makes of the committed run folders."""

from pathlib import Path

import pytest

from deformlab.analysis import write_report

RESULTS = Path(__file__).parents[1] / "experiments" / "results"
SWEEPS = sorted(path.parent for path in RESULTS.glob("*/trials.json"))


def test_there_is_a_real_run():
    assert RESULTS / "camvid" in SWEEPS


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda path: path.name)
def test_the_tables_come_from_the_run_folders(sweep, tmp_path):
    report = write_report(sweep, tmp_path)
    assert not report.warnings
    committed = {path.name: path.read_text() for path in (sweep / "report" / "tables").iterdir()}
    assert committed == {path.name: path.read_text() for path in (tmp_path / "tables").iterdir()}


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda path: path.name)
def test_no_image_of_a_data_set_and_no_checkpoint_is_committed(sweep):
    endings = {path.suffix for path in sweep.rglob("*") if path.is_file() and "plots" not in path.parts}
    assert endings <= {".yaml", ".json", ".csv", ".md", ".tex", ".html"}
