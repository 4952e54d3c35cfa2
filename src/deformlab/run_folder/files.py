"""Atomic writing of the files of a run folder, and reading of CSV and JSON."""

import contextlib
import csv
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from deformlab.errors import RunFolderError
from deformlab.run_folder.fields import first_line

__all__ = [
    "compressed",
    "csv_cell",
    "csv_text",
    "from_csv_cell",
    "read_csv",
    "read_json",
    "replacing",
    "write_atomically",
]

# Spreadsheets interpret a cell that starts with one of these as a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A context manager for a new binary file, which replaces `path` if the block ends without an error.

    Until then the new file is named `.<name>.part`. If the process crashes or the disk is full, the old file
    is kept. The new data are flushed to disk before the old file is replaced.

    Args:
        path: The file to replace; its folder is created if it is missing.

    Yields:
        The new file, open for writing and reading.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    # An existing file may be a leftover, or a link to another user's file, which must not be followed.
    part.unlink(missing_ok=True)
    try:
        with open(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    # The renaming is only on disk after a sync of the folder, which some file systems do not support.
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces a file, so that a reader sees either the old or the new content.

    Args:
        path: The file; its folder is created if it is missing.
        content: The new content; text is written as UTF-8.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written; the old file is kept.
    """
    try:
        with replacing(path) as file:
            file.write(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise RunFolderError(
            f"{path}: cannot be written ({error.strerror}); free space or choose another folder, then run "
            "the same command again"
        ) from error


def compressed(content: bytes) -> bytes:
    """The content of a .gz file; equal contents always give equal bytes."""
    buffer = io.BytesIO()
    # The header has neither a file name nor a time, as `gzip.compress` would write on some Pythons.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(content)
    return buffer.getvalue()


def csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """A table as CSV; missing values of a row are empty cells."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([csv_cell(column) for column in columns])
    writer.writerows([[csv_cell(row.get(column, "")) for column in columns] for row in rows])
    return buffer.getvalue()


def csv_cell(value: Any) -> str:
    """A value as a CSV cell; an apostrophe precedes text that a spreadsheet would read as a formula."""
    text = str(value)
    if text.startswith("'") or (text.startswith(FORMULA_STARTS) and not _is_number(text)):
        return f"'{text}"
    return text


def from_csv_cell(cell: str) -> str:
    """The text that `csv_cell` converted to a cell."""
    return cell.removeprefix("'")


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Reads the rows of a CSV file.

    Args:
        path: The file; if its name ends with `.gz`, it is compressed.
        columns: Required columns.

    Returns:
        For each row, the text of its cells by column.

    Raises:
        RunFolderError: The file is missing, is not UTF-8, CSV or gzip, lacks a column, has no rows, or has a
            row that is longer or shorter than its header.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            header = [from_csv_cell(cell) for cell in next(reader, [])]
            absent = [name for name in columns if name not in header]
            if absent:
                raise RunFolderError(f"{path}: lacks the column {', '.join(absent)}")
            rows = []
            for cells in reader:
                if len(cells) != len(header):
                    raise RunFolderError(
                        f"{path}: line {reader.line_num} has {len(cells)} values for {len(header)} columns"
                    )
                rows.append(dict(zip(header, map(from_csv_cell, cells), strict=True)))
    except FileNotFoundError as error:
        raise RunFolderError(f"{path}: no such file") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise RunFolderError(f"{path}: not readable as CSV ({first_line(error)})") from error
    if not rows:
        raise RunFolderError(f"{path}: has no rows")
    return rows


def read_json(path: Path) -> dict[str, Any]:
    """Reads the object in a JSON file.

    Raises:
        RunFolderError: The file is missing, is not JSON, or does not contain an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunFolderError(f"{path}: no such file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{path}: not readable as JSON ({first_line(error)})") from error
    if not isinstance(content, dict):
        raise RunFolderError(f"{path}: contains {type(content).__name__}, expected an object")
    return content


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
