import json
from dataclasses import replace
from pathlib import Path

import pytest

from deformlab.errors import ConfigError
from deformlab.run_folder import ClassScores, Evaluation, Score, read_evaluations, write_evaluation

EVALUATION = Evaluation(
    name="other-drive",
    split="val",
    score=Score("miou", 0.25),
    class_scores=ClassScores("iou", {"Sky": 0.5, "Car": None}),
    images=3,
    data={"dataset": "camvid", "root": "/data", "fingerprint": "0123"},
    checkpoint={"file": "checkpoints/last.ckpt", "epochs": 2},
)


def test_an_evaluation_is_read_as_it_was_written(tmp_path: Path):
    path = write_evaluation(tmp_path, EVALUATION)
    assert path == tmp_path / "evaluations" / "other-drive.json"
    assert read_evaluations(tmp_path) == ([EVALUATION], [])


def test_an_evaluation_of_version_1_is_read(tmp_path: Path):
    path = write_evaluation(tmp_path, EVALUATION)
    content = json.loads(path.read_text())
    iou = content.pop("class_scores")["values"]
    del content["score"]["best"]
    path.write_text(json.dumps(content | {"version": 1, "iou": iou}))
    assert read_evaluations(tmp_path) == ([EVALUATION], [])


def test_a_run_without_evaluations_has_none(tmp_path: Path):
    assert read_evaluations(tmp_path) == ([], [])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1, "name": "x"}'])
def test_a_damaged_evaluation_is_reported_in_one_line_and_the_others_are_read(tmp_path: Path, content: str):
    write_evaluation(tmp_path, EVALUATION)
    (tmp_path / "evaluations" / "broken.json").write_text(content)
    found, (problem,) = read_evaluations(tmp_path)
    assert found == [EVALUATION]
    assert "broken.json" in problem


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"score": {"name": "miou", "value": 45.3, "mode": "max"}}, "value is 45.3, expected a fraction"),
        ({"score": {"name": "miou", "value": float("nan"), "mode": "max"}}, "value is nan"),
        ({"class_scores": {"name": "iou", "values": {"Sky": "high"}}}, "Sky is 'high'"),
        ({"split": "a\x1b[2J"}, "split has a control character"),
        ({"data": None}, "data is None, expected an object"),
        ({"images": -1}, "images is -1"),
        ({"version": 3}, "has an unknown version"),
        ({"name": "other"}, "contains an evaluation with another name"),
    ],
)
def test_an_illegal_value_is_reported_in_one_line(tmp_path: Path, change: dict, reason: str):
    path = write_evaluation(tmp_path, EVALUATION)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    found, (problem,) = read_evaluations(tmp_path)
    assert found == []
    assert reason in problem
    assert "\n" not in problem


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b"])
def test_a_name_that_is_illegal_as_a_file_name_is_refused(tmp_path: Path, name: str):
    with pytest.raises(ConfigError, match="--name"):
        write_evaluation(tmp_path, replace(EVALUATION, name=name))
