"""The task that a command line chooses, before its arguments are parsed."""

import json

import pytest

from deformlab.cli import main
from deformlab.cli.task_kinds import chosen_task


def test_without_a_choice_the_task_is_segmentation():
    assert chosen_task(["fit", "--data.dataset", "shapes"]) == "segmentation"


def test_the_last_choice_counts(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("task: first\nmodel: {dilation: 4}\n")
    assert chosen_task(["fit", "--config", str(file)]) == "first"
    assert chosen_task(["fit", f"--config={file}", "--task", "second"]) == "second"
    assert chosen_task(["fit", "--task=second", "-c", str(file)]) == "first"


def test_a_configuration_that_names_no_task_leaves_the_choice(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("model: {dilation: 4}\n")
    assert chosen_task(["fit", "--task", "one", "--config", str(file)]) == "one"


def test_the_recorded_configuration_of_a_run_is_read_as_text():
    assert chosen_task(["validate", "--config", json.dumps({"task": "one"})]) == "one"


def test_an_unreadable_configuration_is_left_to_the_parser(tmp_path):
    assert chosen_task(["fit", "--config", str(tmp_path / "missing.yaml")]) == "segmentation"


@pytest.mark.parametrize("form", [["--task", "painting"], ["--task=painting"]])
def test_an_unknown_task_is_one_line(form, capsys):
    assert main(["fit", *form]) == 2
    error = capsys.readouterr().err
    assert error.startswith("deformlab: error: task: 'painting' must be one of segmentation")
    assert error.count("\n") == 1
