"""Whether a trial scores better than a network that has learnt nothing.

Predicting the most frequent class everywhere gives that class its share of the labelled pixels as IoU and the
other classes 0. Scores that are not above this say nothing about which variant is better.
"""

from collections.abc import Sequence

import numpy as np

from deformlab.analysis.run import Run
from deformlab.analysis.trial import Trial

# Points of mIoU above chance level that count as chance still.
MARGIN = 0.5
# An IoU up to this is that of a class which the network does not know.
UNKNOWN_IOU = 0.01


def chance_level(trial: Trial) -> float | None:
    """MIoU in percent of the most frequent class everywhere; None for runs without records of objects."""
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
    level = chance_level(trial)
    if level is not None and trial.miou.mean <= level + MARGIN:
        return True
    return all(_knows_one_class(run) for run in trial.runs)


def chance_remark(trials: Sequence[Trial]) -> str:
    """A sentence for a finding if none of these trials is above chance level, else nothing."""
    if not all(at_chance(trial) for trial in trials):
        return ""
    level = chance_level(trials[0])
    number = "" if level is None else f", which gives {level:.1f} %"
    names = " and ".join(trial.name for trial in trials)
    return f" {names}: not better than predicting one class everywhere{number}; nothing follows from that."


def _knows_one_class(run: Run) -> bool:
    known = [value for value in run.iou.values() if value is not None]
    return len(known) > 1 and sum(value > UNKNOWN_IOU for value in known) <= 1
