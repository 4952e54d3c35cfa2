"""All findings of a report, in its order."""

from dataclasses import replace

from deformlab.analysis.comparability import unequal_terms
from deformlab.analysis.dilation_findings import (
    background_between_medium_and_large,
    dilation_grows_with_size,
)
from deformlab.analysis.findings import Finding
from deformlab.analysis.score_findings import atrous_has_best_rate, deformable_beats_atrous
from deformlab.analysis.size_finding import looks_further_and_gains
from deformlab.analysis.trials import RunSet


def find(runs: RunSet) -> list[Finding]:
    """Judges the papers' findings, and the one of the joined table where runs have records of objects."""
    findings = [
        dilation_grows_with_size(runs.trials, runs.joined),
        background_between_medium_and_large(runs.trials, runs.joined),
        deformable_beats_atrous(runs.trials),
        atrous_has_best_rate(runs.trials),
        looks_further_and_gains(runs.joined),
    ]
    return [_with_terms(finding, runs) for finding in findings if finding is not None]


def _with_terms(finding: Finding, runs: RunSet) -> Finding:
    """The finding, which says so if the trials that it compares differ in more than their variant."""
    lines = [f"Not on equal terms: {line}." for line in unequal_terms(runs, finding.trials)]
    return replace(finding, evidence=(*finding.evidence, *lines))
