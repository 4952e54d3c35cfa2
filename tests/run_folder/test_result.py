import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deformlab.errors import RunFolderError
from deformlab.run_folder import (
    ClassScores,
    MeasuredSizes,
    Measurement,
    Result,
    RunStatus,
    Score,
    mark_status,
    read_finished_result,
    read_result,
    read_status,
    write_result,
)

VERSION_1 = {
    "status": "finished",
    "error": None,
    "trial": "deformable-2",
    "sweep": "dilation",
    "role": "trial",
    "init_from": None,
    "seed": 3,
    "miou": 0.5,
    "best_miou": 0.625,
    "iou": {"road": 0.5, "car": None},
    "epochs": 2,
    "max_epochs": 2,
    "dataset": "camvid",
    "classes": ["road", "car"],
    "model": {"conv5": "atrous", "dilation": 2, "num_deformable_layers": 0},
    "thresholds": [100, 400],
    "parameters": 1234,
    "seconds": 61.5,
    "images_per_second": 30.5,
    "peak_memory_bytes": 2**30,
    "precision": "32-true",
    "versions": {"deformlab": "0.1.0"},
    "git_revision": "abc",
    "operator_backend": "native",
    "machine": "a machine, 2 cores",
}
RULE = {"thresholds": [50.0, 500.0], "thirds": True, "area": "mask", "pixels": "network", "region": "box"}


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def test_a_result_is_read_as_it_was_written(tmp_path: Path, result: Result):
    write_result(tmp_path, result)
    assert read_result(tmp_path) == result


def test_a_result_names_its_score_and_its_version(tmp_path: Path, result: Result):
    write_result(tmp_path, result)
    content = json.loads((tmp_path / "result.json").read_text())
    assert content["version"] == 2
    assert content["score"] == {"name": "miou", "value": 0.5, "best": 0.625, "mode": "max"}
    assert content["class_scores"] == {"name": "iou", "values": {"road": 0.5, "car": None}}
    assert content["measurement"]["sizes"] == {
        "thresholds": [100.0, 400.0],
        "thirds": False,
        "area": "mask",
        "pixels": "original",
        "assignment": "mask",
    }


def test_a_score_is_shown_in_percent():
    assert Score("miou", 0.4534).text == "mIoU 45.3 %"
    assert Score("miou", None).text == "mIoU not defined"


def test_the_scores_of_version_1_are_read(tmp_path: Path):
    write_json(tmp_path / "result.json", VERSION_1)
    result = read_finished_result(tmp_path)
    assert result.score == Score("miou", 0.5, 0.625, "max")
    assert result.class_scores == ClassScores("iou", {"road": 0.5, "car": None})
    assert (result.data, result.palette) == ({}, ())


def test_the_size_rule_of_version_1_comes_from_its_objects_json(tmp_path: Path):
    write_json(tmp_path / "result.json", VERSION_1)
    write_json(tmp_path / "objects.json", {"version": 3, "rule": RULE})
    sizes = MeasuredSizes((50.0, 500.0), thirds=True, area="mask", pixels="network", assignment="box")
    assert read_result(tmp_path).measurement == Measurement(2, None, sizes)


@pytest.mark.parametrize("objects", [None, "", "[]", "{}", '{"rule": {"thresholds": [1], "region": "box"}}'])
def test_without_a_rule_version_1_has_the_thresholds_of_its_result(tmp_path: Path, objects: str | None):
    write_json(tmp_path / "result.json", VERSION_1)
    if objects is not None:
        (tmp_path / "objects.json").write_text(objects)
    assert read_result(tmp_path).measurement.sizes == MeasuredSizes((100.0, 400.0))


@pytest.mark.parametrize(
    ("name", "content", "version"),
    [
        ("objects.json", '{"version": 3}', 2),
        ("objects.json", '{"version": 1}', 1),
        ("objects.json", '{"version": "x"}', 1),
        ("effective_dilation.csv", "layer,inside_count\nlayer4.0.conv2,1\n", 2),
        ("effective_dilation.csv", "layer,count\nlayer4.0.conv2,1\n", 1),
    ],
)
def test_a_run_that_did_not_record_its_measurement_has_the_version_of_its_files(
    tmp_path: Path, name: str, content: str, version: int
):
    write_json(tmp_path / "result.json", VERSION_1)
    (tmp_path / name).write_text(content)
    measurement = read_result(tmp_path).measurement
    assert (measurement.version, measurement.options) == (version, None)


def test_a_run_of_version_1_becomes_one_of_version_2_when_it_is_written(tmp_path: Path):
    write_json(tmp_path / "result.json", VERSION_1)
    before = read_result(tmp_path)
    mark_status(tmp_path, RunStatus(status="interrupted", trial="deformable-2", sweep="dilation", seed=3))
    content = json.loads((tmp_path / "result.json").read_text())
    assert content["version"] == 2
    assert not {"miou", "best_miou", "iou", "thresholds"} & set(content)
    assert read_result(tmp_path) == replace(before, status="interrupted")


def test_a_result_of_a_later_version_is_refused(tmp_path: Path):
    write_json(tmp_path / "result.json", VERSION_1 | {"version": 3})
    with pytest.raises(RunFolderError, match="has version 3, but this deformlab reads at most 2"):
        read_result(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"score": {"name": "miou", "value": 45.3, "mode": "max"}}, "value is 45.3, expected a fraction"),
        ({"score": {"name": "f1", "value": 0.5, "mode": "max"}}, "name is 'f1', expected one of miou"),
        ({"score": {"name": "miou", "value": 0.5, "mode": "up"}}, "mode is 'up', expected one of max, min"),
        ({"score": 0.5}, "score is 0.5, expected an object"),
        ({"class_scores": {"name": "iou", "values": {"road": 0.1}}}, "have different names: car"),
        ({"class_scores": {"name": "iou", "values": {"road": 7, "car": 0.1}}}, "road is 7, expected a frac"),
        ({"measurement": {"version": "two"}}, "version is 'two'"),
        ({"measurement": {"version": 2, "sizes": {"thresholds": [1.0]}}}, "expected two areas"),
        ({"measurement": {"version": 2, "sizes": {"thresholds": [4.0, 1.0]}}}, "the smaller first"),
        ({"measurement": {"version": 2, "sizes": {"thresholds": [0, 0]}}}, "expected two areas above 0"),
        ({"measurement": {"version": 2, "sizes": {"area": "disc"}}}, "area is 'disc'"),
        ({"seconds": float("inf")}, "seconds is inf"),
        ({"model": {"width": float("nan")}}, "model.width is nan"),
        ({"model": {"conv5": "dilated"}}, "model.conv5 is 'dilated', expected one of atrous"),
        ({"model": {"conv5": "atrous", "dilation": 2.9}}, "dilation is 2.9"),
        ({"epochs": -1}, "epochs is -1"),
        ({"epochs": 2.5}, "epochs is 2.5"),
        ({"parameters": True}, "parameters is True"),
        ({"classes": "road"}, "classes is 'road', expected a list"),
        ({"classes": ["road", "road"]}, "different names"),
        ({"trial": "a\x1b[2J"}, "trial has a control character"),
        ({"palette": ["red;}</style>", "#000000"]}, "not a colour"),
        ({"versions": ["torch"]}, "versions is ['torch'], expected an object"),
        ({"init_from": {"a": 1}}, "init_from is {'a': 1}, expected text"),
        ({"data": {"val": {"fingerprint": 3}}}, "fingerprint is 3"),
        ({"seed": -1}, "seed is -1"),
        ({"status": "done"}, "status is 'done'"),
    ],
)
def test_an_illegal_value_is_reported_in_one_line(
    tmp_path: Path, result: Result, change: dict[str, Any], reason: str
):
    write_result(tmp_path, result)
    write_json(tmp_path / "result.json", json.loads((tmp_path / "result.json").read_text()) | change)
    with pytest.raises(RunFolderError) as raised:
        read_result(tmp_path)
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_sweep_writes_the_names_of_a_trial_before_its_training_does(tmp_path: Path):
    status = RunStatus(status="running", trial="a", sweep="study", role="pretraining", seed=0)
    mark_status(tmp_path, status)
    assert read_status(tmp_path) == status
    with pytest.raises(RunFolderError, match=r"result\.json: lacks '"):
        read_result(tmp_path)


def test_a_status_keeps_the_measurements_of_the_training(tmp_path: Path, result: Result):
    write_result(tmp_path, result)
    mark_status(
        tmp_path, RunStatus(status="failed", error="a disk", trial="deformable-2", sweep="dilation", seed=3)
    )
    assert read_result(tmp_path) == replace(result, status="failed", error="a disk")


@pytest.mark.parametrize("content", [None, "", '{"status": "fin', "[1]", "{}", '{"status": "done"}'])
def test_a_result_that_cannot_be_read_has_no_status_and_can_be_marked(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    assert read_status(tmp_path) is None
    mark_status(tmp_path, RunStatus(status="running", trial="a"))
    assert read_status(tmp_path) == RunStatus(status="running", trial="a")


def test_a_sweep_names_the_run_through_the_environment():
    environment = {"DEFORMLAB_TRIAL": "b", "DEFORMLAB_SWEEP": "study", "DEFORMLAB_INIT_FROM": "a"}
    status = RunStatus.from_environment(environment, "folder", 3)
    assert status == RunStatus(status="running", trial="b", sweep="study", init_from="a", seed=3)
    assert RunStatus.from_environment({}, "folder", None).trial == "folder"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "failed", "error": "out of memory\nand more"}, r": failed \(out of memory\); run the"),
        ({"status": "running"}, ": running; run the sweep again"),
        ({"status": None}, r"result\.json: status unknown; run the sweep again"),
        (
            {"score": {"name": "miou", "value": None, "best": None, "mode": "max"}},
            "has no mIoU, because it was never",
        ),
    ],
)
def test_a_run_that_a_report_cannot_use_has_a_reason(
    tmp_path: Path, result: Result, change: dict[str, Any], reason: str
):
    write_result(tmp_path, result)
    write_json(tmp_path / "result.json", json.loads((tmp_path / "result.json").read_text()) | change)
    with pytest.raises(RunFolderError, match=reason):
        read_finished_result(tmp_path)


def test_a_run_that_never_started_has_a_reason(tmp_path: Path):
    with pytest.raises(RunFolderError, match=r"has no result\.json, so the run never started"):
        read_finished_result(tmp_path)
