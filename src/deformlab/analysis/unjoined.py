"""Which runs are missing in the joined table, and what can be done about it; one line each."""

from deformlab.analysis.run import Run
from deformlab.analysis.trials import RunSet

NAMED = 3


def unjoined(runs: RunSet) -> list[str]:
    """A line for each way in which runs have no records of objects, or none that go with the others'."""
    every = [run for trial in runs.trials for run in trial.runs]
    lacking = [run for run in every if not _has_files(run)]
    lines = []
    if lacking:
        lines.append(
            f"{_how_many(lacking, every)}; effective dilation beside IoU by object size is for trials whose "
            "runs all have them. `deformlab validate --run_dir RUN` writes both files of a run that has "
            "its checkpoint still"
        )
    if runs.joined.elsewhere:
        names = ", ".join(trial.name for trial in runs.joined.elsewhere)
        lines.append(
            f"not in the tables by object: {names}: evaluated on other images than the other trials; "
            "validate with the same data"
        )
    if runs.joined.unlike:
        names = ", ".join(trial.name for trial in runs.joined.unlike)
        lines.append(
            f"not in the tables by object: {names}: its seeds recorded different layers, or only some of "
            "them distances from the image's border; validate all of them again"
        )
    return lines


def _has_files(run: Run) -> bool:
    return any((run.folder / name).is_file() for name in ("objects.json", "objects.csv"))


def _how_many(lacking: list[Run], every: list[Run]) -> str:
    files = "objects.json and objects.csv"
    if len(lacking) == len(every):
        return f"no run has {files}" if len(every) > 1 else f"the run has no {files}"
    names = [run.folder.name for run in lacking[:NAMED]]
    more = [f"{len(lacking) - NAMED} more"] if len(lacking) > NAMED else []
    listed = " and ".join([", ".join(names), *more])
    return (
        f"{len(lacking)} of {len(every)} runs {'has' if len(lacking) == 1 else 'have'} no {files} ({listed})"
    )
