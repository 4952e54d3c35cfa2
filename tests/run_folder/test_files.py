import csv
import errno
import os
from pathlib import Path

import pytest

from deformlab.errors import RunFolderError
from deformlab.run_folder.files import csv_text, read_csv, read_json, replacing, write_atomically


def test_a_full_disk_keeps_the_old_file_and_removes_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "result.json"
    write_atomically(path, "old")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(RunFolderError, match=r"result\.json: cannot be written \(No space left") as e:
        write_atomically(path, "new")
    assert "\n" not in str(e.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_data_are_on_disk_before_the_old_file_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    order = []
    synced, replaced = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (order.append("sync"), synced(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (order.append("replace"), replaced(*paths)))
    write_atomically(tmp_path / "result.json", "x")
    assert order == ["sync", "replace", "sync"]  # the file, then its name in the folder


def test_a_folder_that_cannot_be_created_is_reported_in_one_line(tmp_path: Path):
    (tmp_path / "run").write_text("a file in the way")
    with pytest.raises(RunFolderError, match=r"cannot be written \((Not a directory|File exists)"):
        write_atomically(tmp_path / "run" / "result.json", "x")


def test_a_link_in_place_of_the_new_file_is_not_followed(tmp_path: Path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / ".result.json.part").symlink_to(precious)
    write_atomically(tmp_path / "result.json", "new")
    assert precious.read_text() == "precious"
    assert (tmp_path / "result.json").read_text() == "new"
    assert not (tmp_path / "result.json").is_symlink()


def test_an_error_in_the_block_keeps_the_old_file(tmp_path: Path):
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


NAMES = ["door, double door", 'a "b"', "line\nbreak", "=cmd|'/c calc'!A0", "+x", "@y", "'quoted", "-0.5", "é"]


def test_any_name_is_read_from_a_table_as_it_was_written(tmp_path: Path):
    write_atomically(tmp_path / "t.csv", csv_text(NAMES, [dict(zip(NAMES, NAMES, strict=True))]))
    assert read_csv(tmp_path / "t.csv", NAMES) == [dict(zip(NAMES, NAMES, strict=True))]


def test_spreadsheets_see_no_formula_in_a_table():
    rows = list(csv.reader(csv_text(["name"], [{"name": name} for name in NAMES]).splitlines()))
    assert [cell for row in rows for cell in row if cell[:1] in "=+@"] == []
    assert ["-0.5"] in rows


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\0\0\0\0", "lacks the column"),
        (b"\xff\xfe", "not readable"),
        (b"", "lacks the column epoch"),
        (b"epoch,x\n", "has no rows"),
        (b"epoch,x\n0,1\n1\n", "line 3 has 1 values for 2 columns"),
        (b"epoch,x\n0,1\n1,2,3\n", "line 3 has 3 values for 2 columns"),
        (b'epoch,x\n0,"1\n', "not readable as CSV"),
    ],
)
def test_a_damaged_table_is_named_in_one_line(tmp_path: Path, content: bytes, reason: str):
    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(RunFolderError, match=rf"metrics\.csv: .*{reason}") as e:
        read_csv(tmp_path / "metrics.csv", ("epoch",))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\xff", b"[1]", b'"x"', b'{"a": ', b"[" * 100_000])
def test_a_damaged_json_file_is_named_in_one_line(tmp_path: Path, content: bytes):
    (tmp_path / "result.json").write_bytes(content)
    with pytest.raises(RunFolderError, match=r"result\.json: (not readable as JSON|contains )") as e:
        read_json(tmp_path / "result.json")
    assert "\n" not in str(e.value)
