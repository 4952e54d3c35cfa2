from pathlib import Path

from deformlab.run_folder import begin_log, last_log_lines


def test_the_end_of_the_log_omits_blank_lines_and_overwritten_progress_bars(tmp_path: Path):
    (tmp_path / "log.txt").write_text("one\n\n 10%\r 50%\r100%\ntwo  \n")
    assert last_log_lines(tmp_path, 2) == ["100%", "two"]


def test_the_end_of_the_log_is_that_of_the_latest_start(tmp_path: Path):
    for word in ("old", "new"):
        with begin_log(tmp_path, ["fit"]) as log:
            log.write(f"{word}\n".encode())
    assert last_log_lines(tmp_path, 15) == ["new"]


def test_a_missing_log_has_no_lines(tmp_path: Path):
    assert last_log_lines(tmp_path, 15) == []
