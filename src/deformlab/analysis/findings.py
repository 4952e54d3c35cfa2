"""The papers' findings, judged on these runs alone: does each hold, and with which numbers.

Section 3 (effective dilation) and table 3 (atrous rates) of Deformable Convolutional Networks. A finding
never says more than the runs show: too few filters, rates or seeds make it unjudged, and a difference within
the spread over seeds is called so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from deformlab.analysis.measure import Measure
from deformlab.analysis.trial import Trial

HOLDS = "holds"
FAILS = "does not hold"
UNJUDGED = "cannot be judged"
WITHIN = "within the spread over seeds"

# Below this many filters a mean is that of a handful of objects.
MIN_FILTERS = 100
# Growth under this share is called slight.
SLIGHT = 0.05


@dataclass(frozen=True)
class Finding:
    """One of the papers' findings in these runs.

    `verdict` is `holds`, `does not hold` or `cannot be judged`; `certainty` says how far the seeds carry the
    verdict; `sentence` gives the numbers; `details` has one line per layer or trial behind it.
    """

    key: str
    claim: str
    verdict: str
    sentence: str
    certainty: str = ""
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        certainty = f" ({self.certainty})" if self.certainty else ""
        return f"{self.claim}: {self.verdict}{certainty}. {self.sentence}"


def best_deformable(trials: Sequence[Trial]) -> Trial | None:
    """The deformable or modulated trial of highest mean mIoU among those with effective dilations."""
    measured = [trial for trial in trials if trial.deformable and trial.layers]
    return max(measured, key=lambda trial: trial.miou.mean, default=None)


def dilation_grows_with_size(trials: Sequence[Trial]) -> Finding:
    """Small < medium < large in the last deformable layer of the best deformable trial, seeds pooled.

    Any pair of judged sizes in the wrong order refutes it; it holds only if all three sizes are judged.
    """
    key, claim = "dilation_grows_with_size", "Effective dilation grows with object size"
    trial = best_deformable(trials)
    if trial is None:
        return Finding(key, claim, UNJUDGED, "No deformable trial measured effective dilations.")
    layer = trial.layers[0]
    sizes = ("small", "medium", "large")
    measures = {size: trial.effective_dilation(layer, size) for size in sizes}
    verdict = _rising(measures)
    details = tuple(_layer_line(trial, name) for trial in trials if trial.deformable for name in trial.layers)
    sentence = f"{_where(trial, layer)}: {_list(measures)}."
    if verdict == HOLDS:
        growth = measures["large"].mean / measures["small"].mean - 1
        slight = "only " if growth < SLIGHT else ""
        sentence += f" From small to large it grows by {slight}{100 * growth:.0f} %."
    if verdict == UNJUDGED:
        return Finding(key, claim, verdict, sentence + _too_few(measures), details=details)
    agree = [
        _rising({size: Trial((run,)).effective_dilation(layer, size) for size in sizes}) for run in trial.runs
    ]
    return Finding(key, claim, verdict, sentence, _agreement(agree, verdict), details)


def background_between_medium_and_large(trials: Sequence[Trial]) -> Finding:
    """Medium <= background <= large in the last deformable layer of the best deformable trial."""
    key, claim = "background_between", "Background lies between medium and large objects"
    trial = best_deformable(trials)
    if trial is None:
        return Finding(key, claim, UNJUDGED, "No deformable trial measured effective dilations.")
    layer = trial.layers[0]
    sizes = ("medium", "background", "large")
    measures = {size: trial.effective_dilation(layer, size) for size in sizes}
    verdict = _between(measures)
    sentence = f"{_where(trial, layer)}: {_list(measures)}."
    if verdict == UNJUDGED:
        return Finding(key, claim, verdict, sentence + _too_few(measures))
    agree = [
        _between({size: Trial((run,)).effective_dilation(layer, size) for size in sizes})
        for run in trial.runs
    ]
    return Finding(key, claim, verdict, sentence, _agreement(agree, verdict))


def deformable_beats_atrous(trials: Sequence[Trial]) -> Finding:
    """Highest mean mIoU of a deformable trial >= highest of an atrous trial.

    The spread is the larger of the two trials' standard deviations over seeds.
    """
    key, claim = "deformable_beats_atrous", "Deformable is at least as good as the best atrous rate"
    atrous = [trial for trial in trials if not trial.deformable]
    deformable = [trial for trial in trials if trial.deformable]
    if not atrous or not deformable:
        absent = "atrous" if not atrous else "deformable"
        return Finding(key, claim, UNJUDGED, f"There is no {absent} trial to compare with.")
    best_atrous = max(atrous, key=lambda trial: trial.miou.mean)
    best = max(deformable, key=lambda trial: trial.miou.mean)
    difference = best.miou.mean - best_atrous.miou.mean
    details = tuple(
        f"{_score(trial)}: {trial.miou.mean - best_atrous.miou.mean:+.2f}" for trial in deformable
    )
    sentence = (
        f"Best deformable {_score(best)}; best atrous {_score(best_atrous)}; "
        f"difference {difference:+.2f} points."
    )
    certainty, remark = _certainty(best, best_atrous, difference)
    return Finding(key, claim, HOLDS if difference >= 0 else FAILS, sentence + remark, certainty, details)


def atrous_has_best_rate(trials: Sequence[Trial]) -> Finding:
    """Over three atrous rates or more, mIoU rises up to a rate above the smallest and falls after it.

    Of several trials with the same rate the best counts. Rising up to the largest rate holds too, with the
    remark that the best may lie beyond. The certainty compares the best rate with the smallest one, or with
    the next one if it is the smallest itself.
    """
    key, claim = "atrous_has_best_rate", "Atrous convolution improves with larger rates up to a best one"
    by_rate: dict[int, Trial] = {}
    for trial in trials:
        rate = trial.dilation
        if not trial.deformable and (rate not in by_rate or trial.miou.mean > by_rate[rate].miou.mean):
            by_rate[rate] = trial
    rates = sorted(by_rate)
    if not rates:
        return Finding(key, claim, UNJUDGED, "There is no atrous trial.")
    scores = [by_rate[rate].miou.mean for rate in rates]
    peak = max(range(len(rates)), key=scores.__getitem__)
    listing = ", ".join(f"d = {rate}: {_percent(by_rate[rate])}" for rate in rates)
    sentence = f"{listing}. The best rate is {rates[peak]}."
    if len(rates) < 3:
        return Finding(key, claim, UNJUDGED, f"{sentence} At least three rates are needed.")
    rising = all(a <= b for a, b in pairwise(scores[: peak + 1]))
    falling = all(a >= b for a, b in pairwise(scores[peak:]))
    if peak == 0:
        sentence += " It is the smallest rate of these runs: larger ones only lost."
    elif not (rising and falling):
        sentence += " But mIoU does not rise steadily up to it and fall after it."
    elif peak == len(rates) - 1:
        sentence += " It is the largest rate of these runs: the best may lie beyond."
    verdict = HOLDS if peak > 0 and rising and falling else FAILS
    best = by_rate[rates[peak]]
    other = by_rate[rates[0] if peak > 0 else rates[1]]
    certainty, remark = _certainty(best, other, best.miou.mean - other.miou.mean)
    rivals = [
        f"d = {rate}"
        for rate in rates
        if by_rate[rate] not in (best, other)
        and _certainty(best, by_rate[rate], best.miou.mean - by_rate[rate].miou.mean)[0] == WITHIN
    ]
    if rivals:
        remark += f" Within the spread over seeds of the best: {', '.join(rivals)}."
    return Finding(key, claim, verdict, sentence + remark, certainty)


def _enough(measure: Measure) -> bool:
    return (measure.count or 0) >= MIN_FILTERS


def _rising(measures: dict[str, Measure]) -> str:
    judged = [measure.mean for measure in measures.values() if _enough(measure)]
    if any(a >= b for a, b in pairwise(judged)):
        return FAILS
    return HOLDS if len(judged) == len(measures) else UNJUDGED


def _between(measures: dict[str, Measure]) -> str:
    if not all(_enough(measure) for measure in measures.values()):
        return UNJUDGED
    low, high = measures["medium"].mean, measures["large"].mean
    return HOLDS if low <= measures["background"].mean <= high else FAILS


def _too_few(measures: dict[str, Measure]) -> str:
    few = [size for size, measure in measures.items() if not _enough(measure)]
    return f" Too few filters (under {MIN_FILTERS}) on: {', '.join(few)}."


def _agreement(verdicts: Sequence[str], verdict: str) -> str:
    if len(verdicts) == 1:
        return "one seed"
    return f"in {verdicts.count(verdict)} of {len(verdicts)} seeds"


def _where(trial: Trial, layer: str) -> str:
    return f"{layer} of {trial.name} ({trial.description})"


def _list(measures: dict[str, Measure]) -> str:
    def words(measure: Measure) -> str:
        if not measure.count:
            return "no filters"
        few = "" if _enough(measure) else f", too few: {measure.count}"
        return f"{measure.mean:.2f} ± {measure.std:.2f}{few}"

    return (
        ", ".join(f"{size} {words(measure)}" for size, measure in measures.items())
        + " cells (± over filters)"
    )


def _layer_line(trial: Trial, layer: str) -> str:
    measures = {size: trial.effective_dilation(layer, size) for size in ("small", "medium", "large")}
    return f"{trial.name}, {layer}: {_rising(measures)}: {_list(measures)}"


def _percent(trial: Trial) -> str:
    measure = trial.miou
    spread = "" if measure.std is None else f" ± {measure.std:.1f}"
    return f"{measure.mean:.1f}{spread} %"


def _score(trial: Trial) -> str:
    seeds = "one seed" if len(trial.runs) == 1 else f"{len(trial.runs)} seeds"
    return f"{trial.name} {_percent(trial)} ({seeds})"


def _certainty(one: Trial, other: Trial, difference: float) -> tuple[str, str]:
    spreads = [trial.miou.std for trial in (one, other)]
    known = [spread for spread in spreads if spread is not None and not math.isnan(spread)]
    if len(known) < 2:
        return "one seed", " One seed cannot say how far a repetition would land from it."
    if abs(difference) <= max(known):
        return (
            WITHIN,
            f" The difference is within the spread over seeds (± {max(known):.2f}): these runs cannot tell "
            "the two apart.",
        )
    return "beyond the spread over seeds", ""
