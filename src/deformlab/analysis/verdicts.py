"""What a finding is, and which verdict the numbers of these runs allow.

A verdict never says more than the runs show: several seeds must agree, one seed gives no verdict of its own,
effects that are too small to matter are called so, and scores at chance level support nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deformlab.analysis.estimate import Estimate
from deformlab.analysis.trials import Run, Trial
from deformlab.run_folder import SCORES

HOLDS = "holds"
FAILS = "does not hold"
TOO_SMALL = "too small to matter"
UNTOLD = "cannot be told"
MIXED = "seeds disagree"
# One seed does not say how far a repetition would land from it.
SEEN = "seen in the only seed"
UNSEEN = "not seen in the only seed"
UNMEASURED = "not measured"

# Below this many filters or images an interval from resampling is too narrow.
MIN_FILTERS = 100
MIN_IMAGES = 10
# Points of the score above chance level that still count as chance.
CHANCE_MARGIN = 0.5
# Up to this IoU a network does not know a class.
UNKNOWN_IOU = 0.01


@dataclass(frozen=True)
class Finding:
    """One of the papers' findings, judged on these runs.

    Attributes:
        key: Its name in code.
        claim: What the papers found.
        verdict: One of the verdicts of this module.
        sentence: The numbers behind the verdict.
        short: The effect, its interval and n, for one line; empty if there is no number.
        certainty: How well seeds support the verdict.
        evidence: Numbers of each seed and further numbers, a line each.
        details: One line per layer or trial.
        trials: Names of the trials that the numbers come from.
        holding: In how many of how many seeds it holds.
    """

    key: str
    claim: str
    verdict: str
    sentence: str
    short: str = ""
    certainty: str = ""
    evidence: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    trials: tuple[str, ...] = ()
    holding: tuple[int, int] = (0, 0)

    @property
    def words(self) -> str:
        """The verdict in words: `holds`, `seeds disagree: holds in 1 of 2`."""
        if self.verdict != MIXED:
            return self.verdict
        some, all_ = self.holding
        return f"{MIXED}: holds in {some} of {all_}"

    def __str__(self) -> str:
        """Claim, verdict and all numbers."""
        certainty = f" ({self.certainty})" if self.certainty else ""
        return " ".join([f"{self.claim}: {self.words}{certainty}.", self.sentence, *self.evidence])


def effect_verdict(effect: Estimate, smallest_effect: float) -> str:
    """The verdict on an effect from its 95 % interval [l, h] and the smallest effect of interest.

    `holds` if l > smallest_effect, `does not hold` if h < -smallest_effect, `too small to matter` if the
    interval is within ± smallest_effect, else `cannot be told`, also without an interval.
    """
    if effect.interval is None:
        return UNTOLD
    low, high = effect.interval
    if low > smallest_effect:
        return HOLDS
    if high < -smallest_effect:
        return FAILS
    return TOO_SMALL if -smallest_effect <= low and high <= smallest_effect else UNTOLD


def seed_verdict(value: float | None, smallest_effect: float) -> str:
    """The verdict on the effect of a single seed, which has no interval of its own."""
    if value is None:
        return UNTOLD
    if abs(value) <= smallest_effect:
        return TOO_SMALL
    return HOLDS if value > 0 else FAILS


def both(one: str, other: str) -> str:
    """The verdict on a claim with two parts, from the verdicts on them."""
    for verdict in (FAILS, UNTOLD, TOO_SMALL):
        if verdict in (one, other):
            return verdict
    return HOLDS


def agreement(together: str, alone: Sequence[str]) -> tuple[str, str, tuple[int, int]]:
    """Verdict, certainty and holding seeds from the verdicts on all seeds together and on each alone.

    A seed that cannot be judged alone contradicts nothing, but the verdict then has no support of every seed.
    """
    holding = (alone.count(HOLDS), len(alone))
    if together == UNTOLD or not alone:
        return UNTOLD, "", holding
    if len(alone) == 1:
        certainty = "one seed" if together == TOO_SMALL else ""
        return {HOLDS: SEEN, FAILS: UNSEEN}.get(together, together), certainty, holding
    if any(verdict not in (together, UNTOLD) for verdict in alone):
        return MIXED, "", holding
    if UNTOLD in alone:
        return UNTOLD, "", holding
    return together, f"in {len(alone)} of {len(alone)} seeds", holding


def chance_level(trial: Trial) -> float | None:
    """Mean IoU in percent of predicting the most frequent class everywhere; None without object records.

    That class has its share of the labelled pixels as IoU, the other classes have 0.
    """
    records = next((run.objects for run in trial.runs if run.objects is not None), None)
    if records is None:
        return None
    labelled = records.label >= 0
    pixels = np.bincount(records.label[labelled], weights=records.pixels[labelled])
    if not pixels.any():
        return None
    return float(100 * pixels.max() / pixels.sum() / np.count_nonzero(pixels))


def at_chance(trial: Trial) -> bool:
    """Whether the mean score is at chance level, or every seed knows one class at most."""
    if trial.first.result.score.name != "miou":
        return False
    level = chance_level(trial)
    if level is not None and trial.score.value <= level + CHANCE_MARGIN:
        return True
    return all(_knows_one_class(run) for run in trial.runs)


def chance_remark(trials: Sequence[Trial]) -> str:
    """A sentence for a finding if all of these trials are at chance level, else empty."""
    if not all(at_chance(trial) for trial in trials):
        return ""
    level = chance_level(trials[0])
    label = SCORES[trials[0].first.result.score.name].label
    number = "" if level is None else f", which gives {level:.1f} % {label}"
    names = " and ".join(trial.name for trial in trials)
    return f"{names}: not better than predicting one class everywhere{number}; nothing follows from that."


def _knows_one_class(run: Run) -> bool:
    known = [value for value in run.result.class_scores.values.values() if value is not None]
    return len(known) > 1 and sum(value > UNKNOWN_IOU for value in known) <= 1
