"""All findings of a report, in its order."""

from deformlab.analysis.dilation_findings import (
    background_between_medium_and_large,
    dilation_grows_with_size,
)
from deformlab.analysis.finding import Finding
from deformlab.analysis.runs import RunSet
from deformlab.analysis.score_findings import atrous_has_best_rate, deformable_beats_atrous
from deformlab.analysis.size_finding import looks_further_and_gains


def find(runs: RunSet) -> list[Finding]:
    """Judges the papers' findings, and the one of the joined table where runs have records of objects."""
    findings = [
        dilation_grows_with_size(runs.trials, runs.joined),
        background_between_medium_and_large(runs.trials, runs.joined),
        deformable_beats_atrous(runs.trials),
        atrous_has_best_rate(runs.trials),
        looks_further_and_gains(runs.joined),
    ]
    return [finding for finding in findings if finding is not None]
