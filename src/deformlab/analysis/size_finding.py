"""The finding that joins effective dilation and IoU: further on larger objects, and better on them."""

from collections.abc import Sequence

from deformlab.analysis.findings import FAILS, HOLDS, UNJUDGED, Finding, best_deformable
from deformlab.analysis.formats import text
from deformlab.analysis.joined import ALL, Joined
from deformlab.analysis.measure import Estimate
from deformlab.analysis.trial import Trial

KEY, CLAIM = "looks_further_and_gains", "The network looks further where objects are larger, and gains there"


def looks_further_and_gains(trials: Sequence[Trial]) -> Finding | None:
    """Size and effective dilation correlate in the last layer, and large objects gain over the best atrous.

    It holds where both 95 % intervals lie above zero, and does not where one lies below. None where no
    deformable trial has records of objects.
    """
    joined = Joined(trials)
    trial = best_deformable(joined.trials)
    if trial is None:
        return None
    layer = trial.layers[0]
    coefficients = {row.layer: row for row in joined.correlations(trial) if row.label == ALL}
    gains = {row.size: row.gain for row in joined.rows(trial) if (row.layer, row.label) == (layer, ALL)}
    details = tuple(
        f"{trial.name}, {name}: Spearman {_words(row.spearman)} over {row.objects:,} objects"
        for name, row in coefficients.items()
    )
    further = coefficients[layer].spearman if layer in coefficients else None
    sentence = f"{layer} of {trial.name} ({trial.description}): Spearman {_words(further)}."
    if joined.baseline is None:
        return Finding(
            KEY, CLAIM, UNJUDGED, f"{sentence} There is no atrous trial to gain over.", details=details
        )
    listed = ", ".join(f"{size} {_words(gain)}" for size, gain in gains.items())
    sentence += f" IoU gained over {joined.baseline.name}, in points: {listed}."
    gain = gains.get("large")
    if further is None or gain is None:
        return Finding(KEY, CLAIM, UNJUDGED, f"{sentence} There are too few large objects.", details=details)
    signs = {_sign(further), _sign(gain)}
    verdict = FAILS if -1 in signs else HOLDS if signs == {1} else UNJUDGED
    if verdict == UNJUDGED:
        sentence += " An interval holds zero: these images cannot tell."
    seeds = "one seed" if len(trial.runs) == 1 else f"{len(trial.runs)} seeds together"
    return Finding(KEY, CLAIM, verdict, sentence, f"95 % over images, {seeds}", details)


def _sign(estimate: Estimate) -> int:
    """1 or -1 where the whole interval is on that side of zero, else 0."""
    if estimate.low is None or estimate.high is None:
        return 0
    return int(estimate.low > 0) - int(estimate.high < 0)


def _words(estimate: Estimate | None) -> str:
    return "undefined" if estimate is None else text(estimate)
