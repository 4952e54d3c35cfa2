"""The finding that joins effective dilation and IoU: further on larger objects, and better on them.

How far is judged on the filters away from the border of the feature map, as in `dilation_findings`.
"""

from itertools import zip_longest

from deformlab.analysis.by_object import ALL, Joined
from deformlab.analysis.chance import chance_remark
from deformlab.analysis.dilation_findings import NOT_RECORDED
from deformlab.analysis.estimate import Estimate
from deformlab.analysis.export import text
from deformlab.analysis.findings import (
    FAILS,
    HOLDS,
    UNJUDGED,
    Finding,
    agreement,
    best_deformable,
    where,
)
from deformlab.analysis.joined_rows import CorrelationRow
from deformlab.analysis.trial import Trial

KEY, CLAIM = "looks_further_and_gains", "The network looks further where objects are larger, and gains there"


def looks_further_and_gains(joined: Joined) -> Finding | None:
    """Size and effective dilation correlate in the last layer, and large objects gain over the best atrous.

    It holds where both 95 % intervals lie above zero and both numbers of each seed do, and does not where an
    interval lies below. None where no deformable trial has records of objects.
    """
    trial = best_deformable(joined.trials)
    if trial is None:
        return None
    layer = trial.layers[0]
    coefficients = {row.layer: row for row in joined.correlations(trial) if row.label == ALL}
    gains = {row.size: row.gain for row in joined.rows(trial) if (row.layer, row.label) == (layer, ALL)}
    details = tuple(
        f"{trial.name}, {name}: {_spearman(row)}, {row.objects:,} objects"
        for name, row in coefficients.items()
    )
    trials = (trial.name,) if joined.baseline is None else (trial.name, joined.baseline.name)
    last = coefficients.get(layer)
    further = None if last is None else last.inside
    sentence = (
        f"{where(trial, layer, joined.trials)}: {'too few objects' if last is None else _spearman(last)}."
    )

    def unjudged(reason: str, evidence: tuple[str, ...] = ()) -> Finding:
        return Finding(KEY, CLAIM, UNJUDGED, f"{sentence} {reason}", "", evidence, details, trials)

    if remark := chance_remark([trial]):
        return unjudged(remark.strip())
    if joined.baseline is None:
        return unjudged("There is no atrous trial to gain over.")
    listed = ", ".join(f"{size} {_words(gain)}" for size, gain in gains.items())
    sentence += f" IoU gained over {joined.baseline.name}, in points: {listed}."
    gain = gains.get("large")
    if not joined.knows_border(trial):
        return unjudged(NOT_RECORDED)
    if gain is None:
        return unjudged("There are too few large objects.")
    if further is None:
        return unjudged(
            "Too few objects have filters away from the border, or those of all look equally far."
        )
    evidence = _by_seed(trial, further, gain)
    signs = {_sign(further), _sign(gain)}
    together = FAILS if -1 in signs else HOLDS if signs == {1} else UNJUDGED
    if together == UNJUDGED:
        return unjudged("An interval holds zero: these images cannot tell.", evidence)
    alone = [_alone(*pair) for pair in zip_longest(further.seeds, gain.seeds)]
    verdict, certainty, holding = agreement(together, alone)
    certainty = ", ".join(part for part in ("95 % over images", certainty) if part)
    return Finding(KEY, CLAIM, verdict, sentence, certainty, evidence, details, trials, holding)


def _spearman(row: CorrelationRow) -> str:
    away = "unknown" if row.inside_objects is None else _words(row.inside)
    return f"Spearman {away} away from the image's border, {_words(row.spearman)} over all filters"


def _sign(estimate: Estimate) -> int:
    """1 or -1 where the whole interval is on that side of zero, else 0."""
    if estimate.low is None or estimate.high is None:
        return 0
    return int(estimate.low > 0) - int(estimate.high < 0)


def _alone(further: float | None, gain: float | None) -> str:
    if further is None or gain is None:
        return UNJUDGED
    return HOLDS if further > 0 and gain > 0 else FAILS


def _by_seed(trial: Trial, further: Estimate, gain: Estimate) -> tuple[str, ...]:
    if len(trial.runs) < 2:
        return ()
    parts = []
    for run, spearman, points in zip_longest(trial.runs, further.seeds, gain.seeds):
        numbers = (
            "–" if spearman is None else f"{spearman:.2f}",
            "–" if points is None else f"{points:+.1f}",
        )
        parts.append(f"seed {run.seed}: {' and '.join(numbers)}")
    return (
        f"Spearman and gain on large objects by seed (above, seeds averaged per object): {'; '.join(parts)}.",
    )


def _words(estimate: Estimate | None) -> str:
    return "undefined" if estimate is None else text(estimate)
