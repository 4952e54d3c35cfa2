"""`evaluations/<name>.json`: what a trained network scores on data or with options of another kind.

A run's own files say what the network scored where it was trained. An evaluation stands beside them and
replaces nothing.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deformlab.errors import ConfigError, RunFolderError
from deformlab.run_folder.files import read_json, write_atomically

__all__ = ["Evaluation", "check_name", "read_evaluations", "write_evaluation"]

VERSION = 1
FOLDER = "evaluations"


@dataclass(frozen=True)
class Evaluation:
    """One result of `validate` or `test`; scores are fractions.

    Args:
        name: What the user called it.
        split: `val` or `test`.
        score: `name` of the score, its `value` (None where nothing was labelled) and `mode`, max or min.
        iou: IoU by class, None for a class that is neither in the labels nor in the predictions.
        images: How many images were measured.
        data: `dataset`, `root` and `fingerprint` of the data.
        checkpoint: `file` and the number of `epochs` it was trained for.
        options: Dotted options that differ from those of the training.
        objects: The summary by object size, as in objects.json.
        provenance: Versions, revision and machine.
    """

    name: str
    split: str
    score: dict[str, Any]
    iou: dict[str, float | None]
    images: int
    data: dict[str, Any]
    checkpoint: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    objects: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


def check_name(name: str) -> None:
    """Refuses a name that cannot be a file's.

    Raises:
        ConfigError: It holds anything but letters, digits, `.`, `_`, `+` and `-`.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", name):
        raise ConfigError(f"--name {name!r}: must be made of letters, digits, '.', '_', '+' and '-'")


def write_evaluation(run_dir: Path, evaluation: Evaluation) -> Path:
    """Writes an evaluation into a run folder; one of the same name is replaced.

    Returns:
        The file.

    Raises:
        ConfigError: The name cannot be a file's.
        RunFolderError: The file cannot be written.
    """
    check_name(evaluation.name)
    path = run_dir / FOLDER / f"{evaluation.name}.json"
    write_atomically(path, json.dumps({"version": VERSION, **asdict(evaluation)}, indent=1) + "\n")
    return path


def read_evaluations(run_dir: Path) -> tuple[list[Evaluation], list[str]]:
    """The evaluations of a run by name, and a line for each file that cannot be read."""
    found, problems = [], []
    for path in sorted((run_dir / FOLDER).glob("*.json")):
        try:
            content = read_json(path)
            if content.pop("version", None) != VERSION:
                raise RunFolderError(f"{path}: is of another version; evaluate again")
            evaluation = Evaluation(**content)
            value = evaluation.score["value"]
            if evaluation.name != path.stem or not (value is None or isinstance(value, int | float)):
                raise RunFolderError(f"{path}: is not an evaluation of that name; evaluate again")
            found.append(evaluation)
        except RunFolderError as error:
            problems.append(str(error))
        except (TypeError, KeyError) as error:
            problems.append(f"{path}: is not an evaluation ({error}); evaluate again")
    return found, problems
