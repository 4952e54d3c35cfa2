"""What the paper found about effective dilation (Deformable Convolutional Networks, section 3).

Judged on the filters away from the border of the feature map: near it effective dilation differs whatever is
in the image, and large objects and background are there more often than small objects.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from deformlab.analysis.by_object import ALL, Joined
from deformlab.analysis.chance import at_chance, chance_remark
from deformlab.analysis.estimate import Estimate, Measure
from deformlab.analysis.findings import (
    FAILS,
    HOLDS,
    MIXED,
    SEEN,
    UNJUDGED,
    Finding,
    agreement,
    best_deformable,
    where,
)
from deformlab.analysis.trial import Trial

# Below this many filters a mean is that of a handful of objects.
MIN_FILTERS = 100
NOT_RECORDED = (
    "Filters near the image's border differ whatever they look at, and large objects are there more often; "
    "these runs did not record which filters are. Validate them again."
)
# Growth under this share is called slight.
SLIGHT = 0.05

Measures = dict[str, Measure]


def dilation_grows_with_size(trials: Sequence[Trial], joined: Joined | None = None) -> Finding:
    """Small < medium < large in the last deformable layer of the best deformable trial.

    Any pair of judged sizes in the wrong order refutes it; it holds only if all three sizes are judged,
    and in every seed.
    """
    trial = best_deformable(trials)
    claim = "Effective dilation grows with object size"
    finding = _judge("dilation_grows_with_size", claim, trials, ("small", "medium", "large"), _rising, joined)
    if trial is None:
        return finding
    details = [_layer_line(trial, name) for trial in trials if trial.deformable for name in trial.layers]
    sentence = finding.sentence
    if finding.verdict in (HOLDS, MIXED, SEEN):
        growth = _growth(_inside(trial, trial.layers[0], ("small", "large")))
        if 0 < growth < math.inf:
            slight = "only " if growth < SLIGHT else ""
            sentence += f" From small to large it grows by {slight}{100 * growth:.0f} %."
    return replace(finding, sentence=sentence, details=tuple(details))


def background_between_medium_and_large(trials: Sequence[Trial], joined: Joined | None = None) -> Finding:
    """Medium <= background <= large in the last deformable layer of the best deformable trial."""
    key, claim = "background_between", "Background lies between medium and large objects"
    return _judge(key, claim, trials, ("medium", "background", "large"), _between, joined)


def _judge(
    key: str,
    claim: str,
    trials: Sequence[Trial],
    sizes: Sequence[str],
    order: Callable[[Measures], str],
    joined: Joined | None,
) -> Finding:
    trial = best_deformable(trials)
    if trial is None:
        return Finding(key, claim, UNJUDGED, "No deformable trial measured effective dilations.")
    layer = trial.layers[0]
    everywhere = _everywhere(trial, layer, sizes)
    if not trial.knows_border:
        sentence = f"{where(trial, layer, trials)}, over all filters: {_list(everywhere)}. {NOT_RECORDED}"
        return Finding(key, claim, UNJUDGED, sentence, trials=(trial.name,))
    measures = _inside(trial, layer, sizes)
    verdict, certainty, holding = _over_seeds(trial, layer, sizes, order)
    sentence = f"{where(trial, layer, trials)}, away from the image's border: {_list(measures)}."
    if any(not _enough(measure) for measure in measures.values()):
        few = [size for size, measure in measures.items() if not _enough(measure)]
        sentence += f" Too few filters (under {MIN_FILTERS}) on: {', '.join(few)}."
    if remark := chance_remark([trial]):
        verdict, certainty, sentence = UNJUDGED, "", sentence + remark
    evidence = (
        f"Over all filters, also near the border: {_list(everywhere)}.",
        *_by_seed(trial, layer, sizes),
        *_intervals(trial, layer, sizes, joined),
    )
    return Finding(key, claim, verdict, sentence, certainty, evidence, trials=(trial.name,), holding=holding)


def _over_seeds(
    trial: Trial, layer: str, sizes: Sequence[str], order: Callable[[Measures], str]
) -> tuple[str, str, tuple[int, int]]:
    alone = [order(_inside(Trial((run,)), layer, sizes)) for run in trial.runs]
    return agreement(order(_inside(trial, layer, sizes)), alone)


def _everywhere(trial: Trial, layer: str, sizes: Sequence[str]) -> Measures:
    return {size: trial.effective_dilation(layer, size) for size in sizes}


def _inside(trial: Trial, layer: str, sizes: Sequence[str]) -> Measures:
    return {size: trial.effective_dilation_inside(layer, size) for size in sizes}


def _growth(measures: Measures) -> float:
    """From the first to the last of them, as a fraction of the first."""
    first, *_, last = (measure.mean for measure in measures.values())
    return last / first - 1 if first else math.inf


def _enough(measure: Measure) -> bool:
    return (measure.count or 0) >= MIN_FILTERS


def _rising(measures: Measures) -> str:
    judged = [measure.mean for measure in measures.values() if _enough(measure)]
    if any(a >= b for a, b in pairwise(judged)):
        return FAILS
    return HOLDS if len(judged) == len(measures) else UNJUDGED


def _between(measures: Measures) -> str:
    if not all(_enough(measure) for measure in measures.values()):
        return UNJUDGED
    low, high = measures["medium"].mean, measures["large"].mean
    return HOLDS if low <= measures["background"].mean <= high else FAILS


def _list(measures: Measures) -> str:
    printed = [f"{measure.mean:.2f}" for measure in measures.values()]
    # Two decimals would call sizes equal that the verdict tells apart.
    digits = 2 if len(set(printed)) == len(printed) else 3

    def words(measure: Measure) -> str:
        if not measure.count:
            return "no filters"
        few = "" if _enough(measure) else f", too few: {measure.count}"
        return f"{measure.mean:.{digits}f} ± {measure.std:.{digits}f}{few}"

    listed = ", ".join(f"{size} {words(measure)}" for size, measure in measures.items())
    return f"{listed} cells (± over filters)"


def _by_seed(trial: Trial, layer: str, sizes: Sequence[str]) -> list[str]:
    if len(trial.runs) < 2:
        return []
    lines = []
    for run in trial.runs:
        measures = _inside(Trial((run,)), layer, sizes).values()
        means = " / ".join(f"{measure.mean:.2f}" if measure.count else "–" for measure in measures)
        lines.append(f"seed {run.seed}: {means}")
    return [f"Away from the border by seed, means of {', '.join(sizes)}: {'; '.join(lines)}."]


def _intervals(trial: Trial, layer: str, sizes: Sequence[str], joined: Joined | None) -> list[str]:
    """Intervals over images and which neighbours of them overlap; nothing for runs without records."""
    if joined is None or trial.name not in [known.name for known in joined.trials]:
        return []
    found = {
        row.size: row.inside
        for row in joined.rows(trial)
        if (row.layer, row.label) == (layer, ALL) and row.inside is not None and row.inside.low is not None
    }
    if any(size not in found for size in sizes):
        return []
    listed = ", ".join(f"{size} [{found[size].low:.2f}, {found[size].high:.2f}]" for size in sizes)
    which = "; ".join(
        f"{a} and {b} {'overlap' if _overlap(found[a], found[b]) else 'do not overlap'}"
        for a, b in pairwise(sizes)
    )
    return [f"95 % intervals over images away from the border, seeds together: {listed}; {which}."]


def _overlap(one: Estimate, other: Estimate) -> bool:
    bounds = (one.low, one.high, other.low, other.high)
    low, high, other_low, other_high = (float("nan") if bound is None else bound for bound in bounds)
    return low <= other_high and other_low <= high


def _layer_line(trial: Trial, layer: str) -> str:
    sizes = ("small", "medium", "large")
    if not trial.knows_border:
        return f"{trial.name}, {layer}: {UNJUDGED}: {_list(_everywhere(trial, layer, sizes))}"
    measures = _inside(trial, layer, sizes)
    verdict = UNJUDGED if at_chance(trial) else _over_seeds(trial, layer, sizes, _rising)[0]
    return f"{trial.name}, {layer}: {verdict}: {_list(measures)}"
