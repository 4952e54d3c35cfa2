import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "check_notebooks.py"
TEXT = {"cell_type": "markdown", "source": "Title"}
CLEAN = {"cell_type": "code", "source": "1", "outputs": [], "execution_count": None}
PRINTED = {**CLEAN, "outputs": [{"output_type": "stream", "text": "1"}], "execution_count": 3}
COUNTED = {**CLEAN, "execution_count": 3}


def check(*paths):
    command = [sys.executable, str(SCRIPT), *map(str, paths)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    return result.returncode, result.stdout.splitlines()


@pytest.fixture
def notebook(tmp_path):
    def write(*cells, name="a.ipynb"):
        path = tmp_path / name
        path.write_text(json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}))
        return path

    return write


def test_the_notebooks_of_this_repository_are_clean():
    assert check()[0] == 0


def test_a_clean_notebook_passes(notebook):
    assert check(notebook(TEXT, CLEAN)) == (0, ["notebooks without outputs: 1"])


def test_outputs_are_named_by_file_and_cell(notebook):
    path = notebook(TEXT, CLEAN, PRINTED)
    assert check(path) == (1, [f"{path}: cell 3 has outputs; clear all outputs and save"])


def test_an_execution_count_is_a_problem_too(notebook):
    path = notebook(COUNTED)
    assert check(path) == (1, [f"{path}: cell 1 has an execution count; clear all outputs and save"])


def test_every_problem_of_every_notebook_is_one_line(notebook):
    code, lines = check(notebook(PRINTED, COUNTED), notebook(PRINTED, name="b.ipynb"))
    assert (code, len(lines)) == (1, 3)


@pytest.mark.parametrize("text", ["no JSON", "{}", "[]"])
def test_what_is_no_notebook_is_one_line(tmp_path, text):
    path = tmp_path / "a.ipynb"
    path.write_text(text)
    assert check(path) == (1, [f"{path}: is not a notebook; save it again from Jupyter"])


def test_a_missing_file_is_one_line(tmp_path):
    code, lines = check(tmp_path / "nothing.ipynb")
    assert code == 1
    assert len(lines) == 1
    assert "nothing.ipynb: cannot be read" in lines[0]
