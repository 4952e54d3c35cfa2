"""Copies what is worth keeping of a sweep into a folder that can be committed, and writes its report there.

    python scripts/collect_results.py runs/dilation experiments/results/camvid

Kept are configurations, metrics, results, records of objects and positions, and offsets. Left behind are
checkpoints, logs and the prediction pictures, which show images of the data set. Paths of the machine become
relative to the sweep.
"""

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from deformlab.analysis import write_report
from deformlab.errors import DeformlabError, RunFolderError
from deformlab.run_folder import (
    checkpoint_folder,
    read_config,
    read_evaluations,
    read_status,
    read_trial_list,
    write_config,
    write_evaluation,
)

KEPT = ("metrics.csv", "result.json")
# Older runs lack some of the first ones; only they have the last two.
KEPT_IF_THERE = ("objects.csv", "positions.npz", "offsets.csv", "objects.json", "effective_dilation.csv")


def collect(sweep: Path, destination: Path) -> list[str]:
    """Copies a sweep's finished trials.

    Args:
        sweep: Folder of a sweep.
        destination: Folder to write; what is there of the same names is replaced.

    Returns:
        The names of the trial folders.

    Raises:
        RunFolderError: The folder is no sweep's, or a trial of it is not finished.
    """
    names = read_trial_list(sweep)
    if names is None:
        raise RunFolderError(f"{sweep}: there is no trials.json; name the folder that deformlab sweep wrote")
    for name in names:
        status = read_status(sweep / name)
        if status is None or status.status != "finished":
            raise RunFolderError(f"{sweep / name}: is not finished; run the sweep again to continue it")
    destination.mkdir(parents=True, exist_ok=True)
    for file in ("sweep.yaml", "trials.json"):
        shutil.copyfile(sweep / file, destination / file)
    for name in names:
        (destination / name).mkdir(exist_ok=True)
        there = [file for file in KEPT_IF_THERE if (sweep / name / file).is_file()]
        for file in (*KEPT, *there):
            shutil.copyfile(sweep / name / file, destination / name / file)
        evaluations, problems = read_evaluations(sweep / name)
        if problems:
            raise RunFolderError(problems[0])
        for evaluation in evaluations:
            write_evaluation(destination / name, replace(evaluation, data=evaluation.data | {"root": None}))
            records = Path("evaluations", evaluation.name)
            for file in ("objects.csv", "positions.npz"):
                if (sweep / name / records / file).is_file():
                    (destination / name / records).mkdir(exist_ok=True)
                    shutil.copyfile(sweep / name / records / file, destination / name / records / file)
        write_config(destination / name, without_machine_paths(read_config(sweep / name), sweep))
    return names


def without_machine_paths(config: dict[str, Any], sweep: Path) -> dict[str, Any]:
    """A configuration whose data root is to be given and whose other runs lie in `runs/<sweep>`."""
    model = dict(config["model"])
    weights = Path(str(model.get("init_weights")))
    if weights.parent.name == checkpoint_folder(Path()).name:
        model["init_weights"] = Path("runs", sweep.name, *weights.parts[-3:]).as_posix()
    return config | {"model": model, "data": config["data"] | {"root": None}}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sweep", type=Path, help="folder of a finished sweep")
    parser.add_argument(
        "destination", type=Path, help="folder to commit, for example experiments/results/camvid"
    )
    options = parser.parse_args()
    try:
        names = collect(options.sweep, options.destination)
        report = write_report(options.destination)
    except DeformlabError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    print(f"{len(names)} trials in {options.destination}; report: {report.page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
