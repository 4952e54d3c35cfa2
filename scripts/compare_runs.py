"""Bit-for-bit comparison of two run folders of the same training, for kill_and_resume.py."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

SPEED = "images_per_second"
# The score at the last checkpoint: Lightning writes it, but neither restores nor uses it.
NOT_RESTORED = "current_score"
OF_THE_RUN = ("seconds", SPEED, "peak_memory_bytes", "machine", "git_revision")
NOT_COMPARED = {*OF_THE_RUN, NOT_RESTORED, "num_workers"}


def files_of(run_dir: Path) -> list[Path]:
    """The files of a run, without the lock file, which names its last process."""
    return sorted(path for path in run_dir.rglob("*") if path.is_file() and path.name != ".lock")


def differences(reference: Path, other: Path) -> list[str]:
    """Compares two run folders of the same training.

    The number of data loader workers may differ, because it must not change a result.

    Returns:
        One line for each differing file, with its first difference.
    """
    found = []
    names = [{str(path.relative_to(run)) for path in files_of(run)} for run in (reference, other)]
    found += [f"{name}: missing" for name in sorted(names[0] - names[1])]
    found += [f"{name}: left behind" for name in sorted(names[1] - names[0])]
    for name in sorted(names[0] & names[1]):
        read = READERS.get(Path(name).name) or READERS.get(Path(name).suffix) or Path.read_bytes
        first = next(differing(read(reference / name), read(other / name)), None)
        if first is not None:
            found.append(f"{name}: {first}")
    return found


def differing(reference: Any, other: Any, where: str = "") -> Iterator[str]:
    """Yields a line for each difference between two nested values."""
    if type(reference) is not type(other):
        yield f"{where}: {reference!r:.60} -> {other!r:.60}"
    elif isinstance(reference, dict):
        for key in [*reference, *(key for key in other if key not in reference)]:
            path = f"{where}/{key}" if where else str(key)
            if key not in reference or key not in other:
                yield f"{path}: {'missing' if key in reference else 'added'}"
            else:
                yield from differing(reference[key], other[key], path)
    elif isinstance(reference, list | tuple):
        if len(reference) != len(other):
            yield f"{where}: {len(reference)} entries -> {len(other)}"
        for position, pair in enumerate(zip(reference, other, strict=False)):
            yield from differing(*pair, f"{where}[{position}]")
    elif isinstance(reference, torch.Tensor):
        if (reference.dtype, reference.shape) != (other.dtype, other.shape):
            yield f"{where}: {reference.dtype} {list(reference.shape)} -> {other.dtype} {list(other.shape)}"
        elif not torch.equal(bits(reference), bits(other)):
            distance = (reference.double() - other.double()).abs().max().item()
            yield f"{where}: up to {distance:.3g} apart"
    elif isinstance(reference, bytes):
        if reference != other:
            yield "different bytes"
    elif repr(reference) != repr(other):  # compared as text, so that nan equals nan
        yield f"{where}: {reference!r:.60} -> {other!r:.60}"


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor, in which nan equals nan and 0 differs from -0."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def read_checkpoint(path: Path) -> Any:
    """A checkpoint without the entries in `NOT_COMPARED`, and with `RUN` for the run folder's path."""
    run_dir = str(path.parents[1])

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {strip(key): strip(entry) for key, entry in value.items() if key not in NOT_COMPARED}
        if isinstance(value, list):
            return [strip(entry) for entry in value]
        return value.replace(run_dir, "RUN") if isinstance(value, str) else value

    return strip(torch.load(path, weights_only=True))


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table without the training speed."""
    with path.open(newline="") as file:
        return [{key: row[key] for key in row if key != SPEED} for row in csv.DictReader(file)]


def read_result(path: Path) -> dict[str, Any]:
    """The content of result.json that must be equal in both runs."""
    result = json.loads(path.read_text())
    return {key: value for key, value in result.items() if key not in OF_THE_RUN}


def read_configuration(path: Path) -> list[str]:
    """The lines of config.yaml without the number of workers."""
    return [line for line in path.read_text().splitlines() if "num_workers:" not in line]


READERS: dict[str, Callable[[Path], Any]] = {
    ".ckpt": read_checkpoint,
    ".csv": read_table,
    "result.json": read_result,
    "config.yaml": read_configuration,
}
