"""Findings, and the verdicts that the numbers of the runs allow.

A verdict never says more than the runs show. Several seeds must agree; a single seed gives a weaker verdict.
Effects that are too small to matter are reported as such. Scores at chance level support no verdict.
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
INCONCLUSIVE = "inconclusive"
MIXED = "seeds disagree"
# With a single seed, the variation from seed to seed is unknown.
SEEN = "seen with one seed"
UNSEEN = "not seen with one seed"
UNMEASURED = "not measured"

# With fewer filters or images, bootstrap intervals are too narrow.
MIN_FILTERS = 100
MIN_IMAGES = 10
# Scores up to this many points above chance level count as chance.
CHANCE_MARGIN = 0.5
# A class with at most this IoU counts as never recognised.
UNKNOWN_IOU = 0.01


@dataclass(frozen=True)
class Finding:
    """A finding of the papers and the verdict on it, judged on the runs of a report.

    Attributes:
        key: `deformable_beats_atrous`, `atrous_has_best_rate`, `dilation_grows_with_size`,
            `background_between`, `looks_further_and_gains`, `pooling_gains_at_high_iou` or
            `large_objects_gain_most`.
        claim: What the papers found.
        verdict: `holds`, `does not hold`, `too small to matter`, `inconclusive`, `seeds disagree`,
            `seen with one seed`, `not seen with one seed` or `not measured`.
        sentence: The numbers behind the verdict.
        short: The effect, its interval and n in one line; empty without a number.
        certainty: How well the seeds support the verdict, for example `in 2 of 2 seeds, beyond the spread
            over seeds`; may be empty.
        evidence: The numbers of each seed and further numbers, one line each.
        details: One line per layer or trial.
        trials: Names of the trials that the numbers come from.
        holding: (number of seeds in which the claim holds, number of seeds).
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
        """The verdict as text; for seeds that disagree, with the number in which the claim holds."""
        if self.verdict != MIXED:
            return self.verdict
        some, all_ = self.holding
        return f"{MIXED}: holds in {some} of {all_}"

    def __str__(self) -> str:
        """The claim, the verdict and all numbers."""
        certainty = f" ({self.certainty})" if self.certainty else ""
        return " ".join([f"{self.claim}: {self.words}{certainty}.", self.sentence, *self.evidence])


def effect_verdict(effect: Estimate, smallest_effect: float) -> str:
    """The verdict on an effect, from its 95 % interval [l, h] and the smallest effect of interest s.

    `holds` if l > s, `does not hold` if h < -s, `too small to matter` if -s <= l and h <= s. Otherwise, or
    without an interval, `inconclusive`.
    """
    if effect.interval is None:
        return INCONCLUSIVE
    low, high = effect.interval
    if low > smallest_effect:
        return HOLDS
    if high < -smallest_effect:
        return FAILS
    return TOO_SMALL if -smallest_effect <= low and high <= smallest_effect else INCONCLUSIVE


def seed_verdict(value: float | None, smallest_effect: float) -> str:
    """The verdict on the effect of a single seed, from its value alone."""
    if value is None:
        return INCONCLUSIVE
    if abs(value) <= smallest_effect:
        return TOO_SMALL
    return HOLDS if value > 0 else FAILS


def both(one: str, other: str) -> str:
    """The verdict on a claim with two parts, from the verdicts on the parts."""
    for verdict in (FAILS, INCONCLUSIVE, TOO_SMALL):
        if verdict in (one, other):
            return verdict
    return HOLDS


def agreement(together: str, alone: Sequence[str]) -> tuple[str, str, tuple[int, int]]:
    """Combine the verdict on all seeds together with the verdicts on each seed alone.

    An inconclusive seed does not contradict the others, but then not every seed supports the verdict.

    Returns:
        The verdict, its certainty, and in how many of how many seeds the claim holds.
    """
    holding = (alone.count(HOLDS), len(alone))
    if together == INCONCLUSIVE or not alone:
        return INCONCLUSIVE, "", holding
    if len(alone) == 1:
        certainty = "one seed" if together == TOO_SMALL else ""
        return {HOLDS: SEEN, FAILS: UNSEEN}.get(together, together), certainty, holding
    if any(verdict not in (together, INCONCLUSIVE) for verdict in alone):
        return MIXED, "", holding
    if INCONCLUSIVE in alone:
        return INCONCLUSIVE, "", holding
    return together, f"in {len(alone)} of {len(alone)} seeds", holding


def chance_level(trial: Trial) -> float | None:
    """Mean IoU in percent when the most frequent class is predicted everywhere; None without object records.

    The IoU of that class is its share of the labelled pixels; the IoU of all other classes is 0.
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
    """Whether the mean score is at chance level, or every seed recognises one class at most."""
    if trial.first.result.score.name != "miou":
        return False
    level = chance_level(trial)
    if level is not None and trial.score.value <= level + CHANCE_MARGIN:
        return True
    return all(_predicts_one_class(run) for run in trial.runs)


def chance_remark(trials: Sequence[Trial]) -> str:
    """A sentence for a finding if all these trials are at chance level; otherwise empty."""
    if not all(at_chance(trial) for trial in trials):
        return ""
    level = chance_level(trials[0])
    label = SCORES[trials[0].first.result.score.name].label
    number = "" if level is None else f" ({level:.1f} % {label})"
    names = " and ".join(trial.name for trial in trials)
    return f"{names}: no better than predicting one class everywhere{number}, so the runs allow no verdict."


def _predicts_one_class(run: Run) -> bool:
    scored = [value for value in run.result.class_scores.values.values() if value is not None]
    return len(scored) > 1 and sum(value > UNKNOWN_IOU for value in scored) <= 1
