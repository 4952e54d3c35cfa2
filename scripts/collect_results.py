"""Copies what is worth keeping of a sweep into a folder that can be committed, and writes its report there.

    python scripts/collect_results.py runs/dilation experiments/results/camvid

Kept are configurations, metrics, results, effective dilation, objects and offsets. Left behind are
checkpoints, logs and the prediction pictures, which show images of the data set. Paths of the machine become
relative to the sweep.
"""

import argparse
import json
import re
import shutil
import sys
from pathlib import Path

from deformlab.analysis import write_report
from deformlab.errors import DeformlabError, RunFolderError

KEPT = ("config.yaml", "metrics.csv", "result.json", "effective_dilation.csv")
# Runs of an older version have none.
KEPT_IF_THERE = ("objects.csv", "objects.json", "offsets.csv")


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
    if not (sweep / "trials.json").is_file():
        raise RunFolderError(f"{sweep}: there is no trials.json; name the folder that deformlab sweep wrote")
    names: list[str] = json.loads((sweep / "trials.json").read_text())
    for name in names:
        result = sweep / name / "result.json"
        if not result.is_file() or json.loads(result.read_text())["status"] != "finished":
            raise RunFolderError(f"{sweep / name}: is not finished; run the sweep again to continue it")
    destination.mkdir(parents=True, exist_ok=True)
    for file in ("sweep.yaml", "trials.json"):
        shutil.copyfile(sweep / file, destination / file)
    for name in names:
        (destination / name).mkdir(exist_ok=True)
        there = [file for file in KEPT_IF_THERE if (sweep / name / file).is_file()]
        for file in (*KEPT, *there):
            shutil.copyfile(sweep / name / file, destination / name / file)
        for source in sorted((sweep / name / "evaluations").glob("*.json")):
            evaluation = json.loads(source.read_text())
            evaluation["data"]["root"] = None
            kept = destination / name / "evaluations" / source.name
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(json.dumps(evaluation, indent=1) + "\n")
        config = destination / name / "config.yaml"
        config.write_text(without_machine_paths(config.read_text(), sweep))
    return names


def without_machine_paths(config: str, sweep: Path) -> str:
    """A configuration whose data root is to be given and whose other runs lie in `runs/<sweep>`."""
    config = re.sub(r"^(  root: ).+$", r"\1null", config, flags=re.MULTILINE)
    return re.sub(
        r"^(  init_weights: ).*/([^/]+/checkpoints/\S+)$", rf"\1runs/{sweep.name}/\2", config, flags=re.M
    )


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
