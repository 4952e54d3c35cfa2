"""All findings of a report, in its order."""

from deformlab.analysis.findings import (
    Finding,
    atrous_has_best_rate,
    background_between_medium_and_large,
    deformable_beats_atrous,
    dilation_grows_with_size,
)
from deformlab.analysis.runs import RunSet
from deformlab.analysis.size_finding import looks_further_and_gains


def find(runs: RunSet) -> list[Finding]:
    """Judges the papers' findings, and the one of the joined table where runs have records of objects."""
    judges = (
        dilation_grows_with_size,
        background_between_medium_and_large,
        deformable_beats_atrous,
        atrous_has_best_rate,
        looks_further_and_gains,
    )
    findings = (judge(runs.trials) for judge in judges)
    return [finding for finding in findings if finding is not None]
