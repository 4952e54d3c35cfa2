from pathlib import Path

import pytest

from deformlab.errors import RunFolderError
from deformlab.run_folder import read_trial_list, write_trial_list


def test_the_list_is_read_as_it_was_written(tmp_path: Path):
    write_trial_list(tmp_path, ["b-seed0", "a-seed0"])
    assert read_trial_list(tmp_path) == ["b-seed0", "a-seed0"]


def test_a_folder_without_a_list_has_none(tmp_path: Path):
    assert read_trial_list(tmp_path) is None


def test_a_trial_that_is_listed_twice_counts_once(tmp_path: Path):
    write_trial_list(tmp_path, ["a", "a"])
    assert read_trial_list(tmp_path) == ["a"]


@pytest.mark.parametrize("text", ["[", "\0", "3", "{}", "[1]", '["../elsewhere"]', '["a\\u001b"]'])
def test_an_illegal_list_is_reported_in_one_line(tmp_path: Path, text: str):
    (tmp_path / "trials.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"trials\.json: not ") as raised:
        read_trial_list(tmp_path)
    assert "\n" not in str(raised.value)
