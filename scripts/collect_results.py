"""Copies the results of a sweep into a folder to commit, and writes its report there.

    python scripts/collect_results.py runs/dilation experiments/results/camvid
    python scripts/collect_results.py experiments/results/camvid

The second form brings committed results up to date after a change of the report or of the run folder. A run
that belongs to no sweep is collected in the same way, without a report.

- Of each run, it copies the configuration, metrics, result, object measurements, offsets and evaluations.
  It omits checkpoints, logs and pictures of predictions, which show images of the data set.
- Of the report, it copies `report.md`, the plots as PNG and the tables as CSV. `deformlab report` writes the
  rest: the page, plots as PDF, tables as Markdown and LaTeX.

Object measurements are written in the format of this version. Paths become relative to the sweep.
"""

import argparse
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from deformlab.analysis import Report, write_report
from deformlab.errors import DeformlabError, RunFolderError
from deformlab.run_folder import (
    checkpoint_folder,
    objects_path,
    read_config,
    read_evaluations,
    read_objects,
    read_result,
    read_status,
    read_trial_list,
    write_config,
    write_evaluation,
    write_objects,
)

COPIED = ("metrics.csv", "result.json")
# Older runs lack the first one; only they have the last two.
COPIED_IF_THERE = ("offsets.csv", "objects.json", "effective_dilation.csv")


def collect(sweep: Path, destination: Path) -> list[str]:
    """Copy the trials of a finished sweep.

    Args:
        sweep: Folder of a sweep.
        destination: Folder to write; run folders with the same names are replaced. May be `sweep` itself if
            it was collected before.

    Returns:
        The names of the trial folders.

    Raises:
        RunFolderError: The folder is not a sweep folder, or a trial is not finished; or `destination`
            contains a folder of the same name that this script did not write.
    """
    names = read_trial_list(sweep)
    if names is None:
        raise RunFolderError(f"{sweep}: there is no trials.json; name the folder that deformlab sweep wrote")
    for name in names:
        _check(sweep / name, destination / name)
    for name in names:
        collect_run(sweep / name, destination / name)
    for file in ("sweep.yaml", "trials.json"):
        if sweep.resolve() != destination.resolve():
            shutil.copyfile(sweep / file, destination / file)
    return names


def collect_run(run: Path, destination: Path) -> None:
    """Copy a finished run.

    Args:
        run: The run folder.
        destination: Folder to write; replaced if it exists. May be `run` itself if it was collected before.

    Raises:
        RunFolderError: The run is not finished, or one of its files is damaged; or `destination` exists and
            was not written by this script.
    """
    _check(run, destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".collected-", dir=destination.parent) as folder:
        kept = Path(folder, destination.name)
        kept.mkdir()
        _copy_objects(run, run, kept)
        for file in (*COPIED, *(name for name in COPIED_IF_THERE if (run / name).is_file())):
            shutil.copyfile(run / file, kept / file)
        evaluations, problems = read_evaluations(run)
        if problems:
            raise RunFolderError(problems[0])
        for evaluation in evaluations:
            write_evaluation(kept, replace(evaluation, data=evaluation.data | {"root": None}))
            records = Path("evaluations", evaluation.name)
            _copy_objects(run, run / records, kept / records)
        write_config(kept, without_machine_paths(read_config(run), run.parent))
        if destination.exists():
            shutil.rmtree(destination)
        kept.rename(destination)


def collect_report(sweep: Path) -> list[Path]:
    """Write the report of a collected sweep into its folder `report`, replacing the old one.

    Args:
        sweep: Folder of a collected sweep.

    Returns:
        The files.

    Raises:
        RunFolderError: The folder has no finished run, or one of its files is damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = write_report(sweep, folder)
        if (sweep / "report").exists():
            shutil.rmtree(sweep / "report")
        files = []
        for path in kept_of_report(report):
            files.append(sweep / "report" / path.relative_to(folder))
            files[-1].parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, files[-1])
    return files


def kept_of_report(report: Report) -> list[Path]:
    """Return the files of a report that are committed."""
    return [path for path in report.files if path.name == "report.md" or path.suffix in (".csv", ".png")]


def without_machine_paths(config: dict[str, Any], sweep: Path) -> dict[str, Any]:
    """Return the configuration without the data root, and with other runs as paths in `runs/<sweep>`."""
    model = dict(config["model"])
    weights = Path(str(model.get("init_weights")))
    if weights.parent.name == checkpoint_folder(Path()).name and weights.parts[0] != "runs":
        model["init_weights"] = Path("runs", sweep.name, *weights.parts[-3:]).as_posix()
    return config | {"model": model, "data": config["data"] | {"root": None}}


def _check(run: Path, destination: Path) -> None:
    """Refuse a run that is not finished, and a destination that this script did not write."""
    status = read_status(run)
    if status is None or status.status != "finished":
        raise RunFolderError(f"{run}: is not finished; run the sweep again to continue it")
    is_collected = (destination / "result.json").is_file() and not checkpoint_folder(destination).exists()
    if destination.exists() and not is_collected:
        raise RunFolderError(
            f"{destination}: exists and was not written by this script; choose another destination"
        )


def _copy_objects(run: Path, source: Path, destination: Path) -> None:
    """Copy the object measurements of a run or of one of its evaluations, if there are any."""
    if objects_path(source).is_file():
        classes = read_result(run).classes
        write_objects(destination, read_objects(source, classes), classes)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sweep", type=Path, help="folder of a finished sweep or run")
    parser.add_argument(
        "destination",
        type=Path,
        nargs="?",
        help="folder to commit, for example experiments/results/camvid; default: the folder itself",
    )
    options = parser.parse_args()
    sweep, destination = options.sweep, options.destination or options.sweep
    try:
        if (sweep / "result.json").is_file():
            collect_run(sweep, destination)
            print(f"one run in {destination}")
        else:
            names = collect(sweep, destination)
            files = collect_report(destination)
            print(f"{len(names)} trials in {destination}; report: {files[0]}")
    except (DeformlabError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
