import json
from pathlib import Path

import pytest
import yaml

from deformlab.run_folder.files import write_atomically
from deformlab.run_folder.identity import Identity
from deformlab.sweep import Trial
from deformlab.sweep.run_folder import (
    LOG_HEADER,
    EpochRow,
    last_log_lines,
    mark,
    prepare_run_folder,
    read_epoch,
    read_result,
)


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(
        *("atrous-2", 3, "trial", "study", {}, {"model": {"dilation": 2}}, Identity({}, {}), "0123abcd"),
        *(tmp_path / "run", None),
    )


def test_preparing_writes_the_configuration_and_who_the_trial_is(trial: Trial):
    prepare_run_folder(trial)
    assert yaml.safe_load((trial.folder / "config.yaml").read_text()) == trial.config
    assert read_result(trial.folder) == {
        "trial": "atrous-2",
        "sweep": "study",
        "seed": 3,
        "role": "trial",
        "init_from": None,
        "status": "running",
        "error": None,
    }


def test_marking_keeps_what_the_training_measured(trial: Trial):
    write_atomically(trial.folder / "result.json", json.dumps({"status": "running", "seconds": 12.5}))
    mark(trial, "interrupted", "the sweep was stopped")
    result = read_result(trial.folder)
    assert (result["status"], result["error"], result["seconds"]) == (
        "interrupted",
        "the sweep was stopped",
        12.5,
    )


@pytest.mark.parametrize("content", [None, "", '{"status": "fin', "[1]"])
def test_a_result_that_cannot_be_read_is_none(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    assert read_result(tmp_path) == {}


def test_progress_is_the_newest_epoch_with_the_newest_value_of_each(tmp_path: Path):
    (tmp_path / "metrics.csv").write_text("epoch,val/miou,images_per_second\n0,0.25,30\n1,,31\n")
    assert read_epoch(tmp_path) == EpochRow(epochs=2, miou=0.25, images_per_second=31.0)


@pytest.mark.parametrize("content", [None, "", "epoch,val/miou\n", "epoch,val/miou\n,\n", "a,b\n1,2\n"])
def test_nothing_is_known_before_the_first_epoch(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "metrics.csv").write_text(content)
    assert read_epoch(tmp_path) == EpochRow()


def test_a_row_that_is_half_written_counts_as_far_as_it_goes(tmp_path: Path):
    (tmp_path / "metrics.csv").write_text("epoch,val/miou\n0,0.25\n1")
    assert read_epoch(tmp_path) == EpochRow(epochs=2, miou=0.25)


def test_the_end_of_the_log_leaves_out_blank_lines_and_overwritten_progress_bars(tmp_path: Path):
    (tmp_path / "log.txt").write_text("one\n\n 10%\r 50%\r100%\ntwo  \n")
    assert last_log_lines(tmp_path, 2) == ["100%", "two"]


def test_the_end_of_the_log_is_that_of_the_newest_try(tmp_path: Path):
    (tmp_path / "log.txt").write_text(f"{LOG_HEADER}fit\nold\n{LOG_HEADER}fit\nnew\n")
    assert last_log_lines(tmp_path, 15) == ["new"]


def test_a_missing_log_has_no_lines(tmp_path: Path):
    assert last_log_lines(tmp_path, 15) == []
