"""What deformable RoI pooling and deformable convolution gain, and on which objects."""

import pytest

from deformlab.analysis import read_trials
from deformlab.analysis.detection_findings import large_objects_gain_most, pooling_gains_at_high_iou
from deformlab.analysis.findings import judge
from deformlab.analysis.report import question


def trials(sweep):
    return read_trials(sweep.folder).trials


def pair(sweep, gains, **pooled):
    """A plain and a deformably pooled trial with these gains of AP50 and AP70 by seed, in points."""
    for seed, (at_50, at_70) in enumerate(gains):
        sweep.detector("plain", {"ap50": 0.5, "ap70": 0.3}, seed=seed)
        scores = {"ap50": 0.5 + at_50 / 100, "ap70": 0.3 + at_70 / 100}
        sweep.detector("pooled", scores, seed=seed, **{"roi_pooling": "deformable"} | pooled)


def test_a_larger_gain_at_high_iou_in_every_seed_holds(sweep):
    pair(sweep, [(1, 4), (2, 6)])
    finding = pooling_gains_at_high_iou(trials(sweep))
    assert finding.words == "holds"
    assert finding.short == "AP50 +1.5 ± 0.7, AP70 +5.0 ± 1.4 points (n = 2 seeds)."
    assert "+3.5 ± 0.7 points" in finding.sentence
    assert finding.evidence[0] == "Seed 0: AP50 +1.0, AP70 +4.0 points."


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([(4, 1), (6, 2)], "does not hold"),
        ([(1, 4), (4, 1)], "seeds disagree: holds in 1 of 2"),
        ([(1, 1.1), (1, 6)], "inconclusive"),  # the spread over seeds is larger than the mean
        ([(1, 4)], "inconclusive"),  # one seed
    ],
)
def test_the_verdict_needs_seeds_that_agree_beyond_their_spread(sweep, gains, verdict):
    pair(sweep, gains)
    assert pooling_gains_at_high_iou(trials(sweep)).words == verdict


def test_only_trials_that_differ_in_pooling_alone_are_compared(sweep):
    pair(sweep, [(1, 4), (2, 6)], conv5="deformable")
    assert pooling_gains_at_high_iou(trials(sweep)) is None


def test_the_best_plain_pooling_is_the_one_to_beat(sweep):
    pair(sweep, [(4, 24), (5, 26)])
    for seed in range(2):
        sweep.detector("aligned", {"ap50": 0.53, "ap70": 0.5}, seed=seed, plain_pooling="align")
    finding = pooling_gains_at_high_iou(trials(sweep))
    assert finding.trials == ("pooled", "aligned")
    assert finding.details[0].startswith("pooled minus plain: AP50 +4.5")
    descriptions = {trial.name: trial.description for trial in trials(sweep)}
    assert descriptions["plain"] == "atrous, d = 2"
    assert descriptions["aligned"] == "atrous, d = 2, aligned RoI pooling"


def test_only_seeds_of_both_trials_are_compared(sweep):
    pair(sweep, [(1, 4), (2, 6)])
    sweep.detector("plain", {"ap50": 0.9, "ap70": 0.9}, seed=7)
    assert "n = 2 seeds" in pooling_gains_at_high_iou(trials(sweep)).short


def sizes(sweep, trial, small, medium, large, seed=0, **model):
    scores = {"ap": 0.3, "ap_small": small, "ap_medium": medium, "ap_large": large}
    sweep.detector(trial, scores, seed=seed, **model)


def test_large_objects_gain_most_is_judged_against_the_best_other_size(sweep):
    for seed in range(2):
        sizes(sweep, "plain", 0.1, 0.2, 0.3, seed)
        sizes(sweep, "ours", 0.11, 0.23 + seed / 1000, 0.38, seed, conv5="deformable")
    finding = large_objects_gain_most(trials(sweep))
    assert finding.words == "holds"
    assert "AP small +1.0" in finding.short
    assert "AP large +8.0" in finding.short


def test_a_size_without_objects_is_named_when_it_decides(sweep):
    for seed in range(2):
        sizes(sweep, "plain", 0.1, 0.2, None, seed)
        sizes(sweep, "ours", 0.11, 0.23, None, seed, conv5="deformable")
    finding = large_objects_gain_most(trials(sweep))
    assert finding.words == "inconclusive"
    assert finding.sentence.endswith("Not measured: AP large.")


def test_segmentation_has_no_findings_about_detectors(sweep):
    for seed in range(2):
        sweep.atrous(2, seed=seed)
        sweep.deformable(seed=seed)
    keys = {finding.key for finding in judge(read_trials(sweep.folder))}
    assert not keys & {"pooling_gains_at_high_iou", "large_objects_gain_most"}


def test_the_question_names_the_detector(sweep):
    sweep.detector("plain", {"ap50": 0.5})
    assert "compares R-FCN with conv5" in question(read_trials(sweep.folder))
