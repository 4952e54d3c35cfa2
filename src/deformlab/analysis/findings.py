"""A finding of the papers, judged on the runs at hand: does it hold, in how many seeds, with which numbers.

A finding never says more than the runs show. It holds only where every one of several seeds shows it; too few
filters or rates, or scores at chance level, make it unjudged.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from deformlab.analysis.trial import Trial, descriptions

HOLDS = "holds"
FAILS = "does not hold"
MIXED = "seeds disagree"
UNJUDGED = "cannot be judged"
# With one seed nobody knows how far a repetition would land from it: what it shows is no verdict.
SEEN = "seen in the only seed"
UNSEEN = "not seen in the only seed"


@dataclass(frozen=True)
class Finding:
    """One of the papers' findings in these runs.

    `verdict` is `holds`, `does not hold`, `seeds disagree` or `cannot be judged`, or with one seed `seen in
    the only seed` or `not seen in the only seed`; `certainty` says how far the seeds carry it; `sentence`
    gives the numbers, `evidence` those of each seed and their intervals, a line each; `details` has one line
    per layer or trial behind it; `trials` names those that the numbers come from; `holding` says in how many
    of how many seeds it holds.
    """

    key: str
    claim: str
    verdict: str
    sentence: str
    certainty: str = ""
    evidence: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    trials: tuple[str, ...] = ()
    holding: tuple[int, int] = (0, 0)

    @property
    def words(self) -> str:
        """The verdict as one reads it: `holds`, `holds in 1 of 2 seeds`."""
        if self.verdict != MIXED:
            return self.verdict
        some, all_ = self.holding
        together = ", but not in their filters together" if some == all_ else ""
        return f"holds in {some} of {all_} seeds{together}"

    def __str__(self) -> str:
        certainty = f" ({self.certainty})" if self.certainty else ""
        return " ".join([f"{self.claim}: {self.words}{certainty}.", self.sentence, *self.evidence])


def agreement(together: str, alone: Sequence[str]) -> tuple[str, str, tuple[int, int]]:
    """Verdict, certainty and holding seeds from the verdict on all seeds together and on each alone."""
    holding = (alone.count(HOLDS), len(alone))
    if together == UNJUDGED:
        return UNJUDGED, "", holding
    if len(alone) == 1:
        return SEEN if together == HOLDS else UNSEEN, "", holding
    if not alone or all(verdict == UNJUDGED for verdict in alone):
        return UNJUDGED, "no seed can be judged alone", holding
    if together == FAILS and HOLDS not in alone:
        return FAILS, f"in {alone.count(FAILS)} of {len(alone)} seeds", holding
    if together == HOLDS and holding[0] == holding[1]:
        return HOLDS, f"in {len(alone)} of {len(alone)} seeds", holding
    return MIXED, "", holding


def best_deformable(trials: Sequence[Trial]) -> Trial | None:
    """The deformable or modulated trial of highest mean mIoU among those with effective dilations."""
    measured = [trial for trial in trials if trial.deformable and trial.layers]
    return max(measured, key=lambda trial: trial.miou.mean, default=None)


def where(trial: Trial, layer: str, trials: Sequence[Trial]) -> str:
    """A layer of a trial, in words; `trials` are all of the report."""
    return f"{layer} of {trial.name} ({descriptions(trials)[trial.name]})"
