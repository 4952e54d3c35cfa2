"""What the paper found about scores (Deformable Convolutional Networks, table 3), judged on these runs."""

import math
from collections.abc import Sequence
from itertools import pairwise

from deformlab.analysis.chance import chance_remark
from deformlab.analysis.findings import FAILS, HOLDS, UNJUDGED, Finding, agreement
from deformlab.analysis.trial import Trial

WITHIN = "within the spread over seeds"
BEYOND = "beyond the spread over seeds"
ONE_SEED = " With one seed there is no spread to compare the difference with, so it is no verdict."


def deformable_beats_atrous(trials: Sequence[Trial]) -> Finding:
    """Highest mean mIoU of a deformable trial >= highest of an atrous trial, and so in every seed of both.

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
    by_seed = _by_seed((best, best_atrous))
    differences = {seed: ours - theirs for seed, (ours, theirs) in by_seed.items()}
    listed = ", ".join(f"seed {seed}: {d:+.2f}" for seed, d in differences.items())
    evidence = (f"Difference by seed: {listed} points.",) if len(differences) > 1 else ()
    return _finding(
        (key, claim),
        HOLDS if difference >= 0 else FAILS,
        [HOLDS if d >= 0 else FAILS for d in differences.values()],
        (best, best_atrous),
        sentence,
        evidence,
        details=details,
    )


def atrous_has_best_rate(trials: Sequence[Trial]) -> Finding:
    """Over three atrous rates or more, mIoU rises up to a rate above the smallest and falls after it.

    Of several trials with the same rate the best counts. Rising up to the largest rate holds too, with the
    remark that the best may lie beyond. The spread is that of the best rate and the smallest one, or the next
    one if it is the smallest itself.
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
    atrous = [by_rate[rate] for rate in rates]
    scores = [trial.miou.mean for trial in atrous]
    peak = _peak(scores)
    listing = ", ".join(f"d = {rate}: {_percent(by_rate[rate])}" for rate in rates)
    sentence = f"{listing}. The best rate is {rates[peak]}."
    if len(rates) < 3:
        return Finding(key, claim, UNJUDGED, f"{sentence} At least three rates are needed.")
    if peak == 0:
        sentence += " It is the smallest rate of these runs: larger ones only lost."
    elif not _rises_and_falls(scores):
        sentence += " But mIoU does not rise steadily up to it and fall after it."
    elif peak == len(rates) - 1:
        sentence += " It is the largest rate of these runs: the best may lie beyond."
    by_seed = _by_seed(atrous)
    bests = ", ".join(f"seed {seed}: {rates[_peak(alone)]}" for seed, alone in by_seed.items())
    evidence = (f"Best rate by seed: {bests}.",) if len(by_seed) > 1 else ()
    best, other = atrous[peak], atrous[0 if peak > 0 else 1]
    rivals = [
        f"d = {trial.dilation}"
        for trial in atrous
        if trial not in (best, other) and _within_spread(best, trial)
    ]
    rival = f" Within the spread over seeds of the best: {', '.join(rivals)}." if rivals else ""
    return _finding(
        (key, claim),
        _shape(scores),
        [_shape(alone) for alone in by_seed.values()],
        (best, other),
        sentence,
        evidence,
        rival,
    )


def _finding(
    name: tuple[str, str],
    together: str,
    alone: Sequence[str],
    compared: tuple[Trial, Trial],
    sentence: str,
    evidence: tuple[str, ...],
    remark: str = "",
    details: tuple[str, ...] = (),
) -> Finding:
    """The finding, from the verdicts on means and on each seed that all trials have."""
    trials = tuple(trial.name for trial in compared)
    spread = _spread(*compared)
    if chance := chance_remark(compared):
        return Finding(*name, UNJUDGED, sentence + chance, "", evidence, details, trials)
    if spread is None:
        return Finding(*name, UNJUDGED, sentence + ONE_SEED + remark, "one seed", (), details, trials)
    within = _within_spread(*compared)
    verdict, certainty, holding = agreement(together, alone)
    if len(alone) < 2 or verdict == UNJUDGED:  # one seed in common, or none
        verdict, certainty = (UNJUDGED if within else together), ""
    if within:
        sentence += f" The difference is within the spread over seeds (± {spread:.2f})"
        same = verdict == together and bool(certainty)
        sentence += ", but each seed says the same." if same else ": these runs cannot tell the two apart."
    certainty = ", ".join(part for part in (certainty, WITHIN if within else BEYOND) if part)
    return Finding(*name, verdict, sentence + remark, certainty, evidence, details, trials, holding)


def _by_seed(trials: Sequence[Trial]) -> dict[int, list[float]]:
    """MIoU in percent of each trial, for the seeds that all of them have."""
    scores = [{run.seed: 100 * run.miou for run in trial.runs if run.seed is not None} for trial in trials]
    seeds = sorted(set(scores[0]).intersection(*scores[1:]))
    return {seed: [score[seed] for score in scores] for seed in seeds}


def _peak(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=scores.__getitem__)


def _rises_and_falls(scores: Sequence[float]) -> bool:
    peak = _peak(scores)
    rising = all(a <= b for a, b in pairwise(scores[: peak + 1]))
    return rising and all(a >= b for a, b in pairwise(scores[peak:]))


def _shape(scores: Sequence[float]) -> str:
    return HOLDS if _peak(scores) > 0 and _rises_and_falls(scores) else FAILS


def _percent(trial: Trial) -> str:
    measure = trial.miou
    spread = "" if measure.std is None else f" ± {measure.std:.1f}"
    return f"{measure.mean:.1f}{spread} %"


def _score(trial: Trial) -> str:
    seeds = "one seed" if len(trial.runs) == 1 else f"{len(trial.runs)} seeds"
    return f"{trial.name} {_percent(trial)} ({seeds})"


def _spread(one: Trial, other: Trial) -> float | None:
    """The larger standard deviation over seeds; None unless both have one."""
    spreads = [trial.miou.std for trial in (one, other)]
    known = [spread for spread in spreads if spread is not None and not math.isnan(spread)]
    return max(known) if len(known) == 2 else None


def _within_spread(one: Trial, other: Trial) -> bool:
    spread = _spread(one, other)
    return spread is not None and abs(one.miou.mean - other.miou.mean) <= spread
