from dataclasses import replace
from pathlib import Path

import pytest

from deformlab.errors import RunFolderError
from deformlab.metrics import OffsetStatistics
from deformlab.run_folder import (
    OFFSET_COLUMNS,
    Progress,
    Result,
    Score,
    read_curves,
    read_offsets,
    read_progress,
    write_metrics,
    write_offsets,
)

ROWS = [{"epoch": 0, "train/loss": 1.5, "val/miou": 0.25}, {"epoch": 1, "train/loss": 1.0, "val/miou": 0.5}]


def test_curves_are_read_as_they_were_written(tmp_path: Path, result: Result):
    write_metrics(tmp_path, ROWS)
    assert read_curves(tmp_path, result) == tuple(ROWS)


def test_an_undefined_score_of_a_class_is_nan_and_an_empty_cell_is_left_out(tmp_path: Path, result: Result):
    (tmp_path / "metrics.csv").write_text("epoch,val/miou,val/iou/car,lr\n1,0.5,nan,\n")
    (row,) = read_curves(tmp_path, result)
    assert repr(row["val/iou/car"]) == "nan"
    assert "lr" not in row


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch,val/miou\n0,0.5\n", "ends after epoch 1, but result.json has epoch 2"),
        ("epoch,val/miou\n1,0.4\n", "its last mIoU is 0.4000, but result.json has 0.5000"),
        ("epoch,val/miou\n1,nan\n", "its last mIoU is undefined, but result.json has 0.5000"),
        ("epoch,val/miou\n1,0.5\n1,0.5\n", "line 3: the epochs do not increase"),
        ("epoch,val/miou\n1,1.5\n", "line 2: val/miou is not a fraction"),
        ("epoch,val/miou\n1.5,0.5\n", "line 2: epoch is not a number"),
        ("epoch,val/miou,lr\n1,0.5,inf\n", "line 2: lr is not a number"),
        ("epoch,val/miou\none,0.5\n", "line 2: could not convert"),
        ("epoch,step\n1,2\n", "lacks the column val/miou"),
    ],
)
def test_curves_that_do_not_match_the_result_are_reported_in_one_line(
    tmp_path: Path, result: Result, text: str, message: str
):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(RunFolderError) as raised:
        read_curves(tmp_path, result)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_curves_of_a_run_without_a_score_are_refused(tmp_path: Path, result: Result):
    write_metrics(tmp_path, ROWS)
    with pytest.raises(RunFolderError, match=r"0\.5000, but result\.json has undefined"):
        read_curves(tmp_path, replace(result, score=Score("miou", None)))


def test_progress_is_the_latest_epoch_with_the_latest_value_of_each_column(tmp_path: Path):
    (tmp_path / "metrics.csv").write_text("epoch,val/miou,images_per_second\n0,0.25,30\n1,,31\n")
    assert read_progress(tmp_path) == Progress(epochs=2, score="miou", value=0.25, images_per_second=31.0)


@pytest.mark.parametrize("content", [None, "", "epoch,val/miou\n", "epoch,val/miou\n,\n", "a,b\n1,2\n"])
def test_progress_is_empty_before_the_first_epoch(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "metrics.csv").write_text(content)
    assert read_progress(tmp_path) == Progress()


def test_a_partly_written_row_counts_as_far_as_it_can_be_read(tmp_path: Path):
    (tmp_path / "metrics.csv").write_text("epoch,val/miou\n0,0.25\n1")
    assert read_progress(tmp_path) == Progress(epochs=2, score="miou", value=0.25)


def test_offsets_are_read_as_they_were_written(tmp_path: Path):
    rows = [{"epoch": 0, "layer": "layer4.0.conv2", "length_q50": 1.25, "runaway": 0}]
    write_offsets(tmp_path, rows)
    assert read_offsets(tmp_path) == tuple(rows)


def test_a_network_without_deformable_layers_has_no_offsets(tmp_path: Path):
    assert read_offsets(tmp_path) == ()


def test_a_damaged_file_of_offsets_is_one_line(tmp_path: Path):
    (tmp_path / "offsets.csv").write_text("epoch,layer,runaway,outside\n0,layer4.0.conv2,0,far\n")
    with pytest.raises(RunFolderError, match=r"offsets\.csv: line 2: could not convert"):
        read_offsets(tmp_path)


def test_offsets_have_a_column_for_each_statistic():
    assert ("epoch", "layer", *OffsetStatistics._fields, "runaway") == OFFSET_COLUMNS
