"""Reads and writes `evaluations/<name>.json`, the scores of a network on other data or with other options.

The current version is 2. Version 1, which named the class scores `iou`, can still be read.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deformlab.errors import ConfigError, RunFolderError
from deformlab.run_folder import fields as check
from deformlab.run_folder.files import read_json, write_atomically
from deformlab.run_folder.result import ClassScores, Score, class_scores_of, other_scores_of, score_of

__all__ = ["Evaluation", "check_name", "read_evaluations", "write_evaluation"]

VERSION = 2
FOLDER = "evaluations"


@dataclass(frozen=True)
class Evaluation:
    """One result of `validate` or `test`.

    Args:
        name: The name that the user gave it.
        split: `val` or `test`.
        score: The score; its `best` is None.
        class_scores: The score of each class.
        images: Number of images.
        data: `dataset`, `root` and `fingerprint` of the data.
        checkpoint: The checkpoint's `file` and its number of `epochs`.
        options: The options that differ from those of the training, by dotted names.
        provenance: Versions, revision and machine.
        other_scores: Further scores, as in `Result`.
    """

    name: str
    split: str
    score: Score
    class_scores: ClassScores
    images: int
    data: dict[str, Any]
    checkpoint: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    other_scores: dict[str, float | None] = field(default_factory=dict)


def check_name(name: str) -> None:
    """Refuses names that are illegal as file names.

    Raises:
        ConfigError: The name has characters other than letters, digits, `.`, `_`, `+` and `-`, or starts
            with `.`, `+` or `-`.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", name):
        raise ConfigError(f"--name {name!r}: must be made of letters, digits, '.', '_', '+' and '-'")


def write_evaluation(run_dir: Path, evaluation: Evaluation) -> Path:
    """Writes an evaluation into a run folder and replaces an earlier one of the same name.

    Returns:
        The file.

    Raises:
        ConfigError: The name is illegal as a file name.
        RunFolderError: The file cannot be written.
    """
    check_name(evaluation.name)
    path = run_dir / FOLDER / f"{evaluation.name}.json"
    write_atomically(path, json.dumps({"version": VERSION, **asdict(evaluation)}, indent=1) + "\n")
    return path


def read_evaluations(run_dir: Path) -> tuple[list[Evaluation], list[str]]:
    """Reads all evaluations of a run.

    Returns:
        The evaluations, sorted by name, and one message for each file that cannot be read.
    """
    found, problems = [], []
    for path in sorted((run_dir / FOLDER).glob("*.json")):
        try:
            content = read_json(path)
            if content.get("version") not in (1, VERSION):
                raise RunFolderError(f"{path}: has an unknown version; evaluate again")
            evaluation = _evaluation(content)
            if evaluation.name != path.stem:
                raise RunFolderError(f"{path}: contains an evaluation with another name; evaluate again")
            found.append(evaluation)
        except RunFolderError as error:
            problems.append(check.first_line(error))
        except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
            problems.append(f"{path}: is not an evaluation ({check.first_line(error)}); evaluate again")
    return found, problems


def _evaluation(content: dict[str, Any]) -> Evaluation:
    check.refuse_odd_values({key: content.get(key) for key in ("split", "data", "options", "name")})
    if content["version"] == 1:
        content = content | {"class_scores": {"name": "iou", "values": content["iou"]}}
    return Evaluation(
        name=check.text(content, "name"),
        split=check.text(content, "split"),
        score=score_of(check.mapping(content, "score")),
        class_scores=class_scores_of(check.mapping(content, "class_scores")),
        images=check.count(content, "images"),
        data=check.mapping(content, "data"),
        checkpoint=check.mapping(content, "checkpoint"),
        options=check.mapping(content, "options", {}),
        provenance=check.mapping(content, "provenance", {}),
        other_scores=other_scores_of(content),
    )
