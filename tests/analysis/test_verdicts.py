import pytest

from deformlab.analysis import Estimate
from deformlab.analysis.verdicts import (
    FAILS,
    HOLDS,
    INCONCLUSIVE,
    MIXED,
    SEEN,
    TOO_SMALL,
    UNSEEN,
    Finding,
    agreement,
    both,
    effect_verdict,
    seed_verdict,
)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.11, 0.5, HOLDS),
        (0.1, 0.5, INCONCLUSIVE),
        (-0.5, -0.11, FAILS),
        (-0.5, -0.1, INCONCLUSIVE),
        (-0.1, 0.1, TOO_SMALL),
        (0.01, 0.03, TOO_SMALL),
        (-0.05, 0.2, INCONCLUSIVE),
        (-0.2, 0.2, INCONCLUSIVE),
        (None, None, INCONCLUSIVE),
    ],
)
def test_an_effect_is_judged_by_its_interval_and_the_smallest_effect_of_interest(low, high, verdict):
    assert effect_verdict(Estimate(0.02, None, low, high), 0.1) == verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0.2, HOLDS), (-0.2, FAILS), (0.1, TOO_SMALL), (-0.1, TOO_SMALL), (None, INCONCLUSIVE)],
)
def test_a_seed_is_judged_by_its_own_effect(value, verdict):
    assert seed_verdict(value, 0.1) == verdict


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        (HOLDS, HOLDS, HOLDS),
        (HOLDS, FAILS, FAILS),
        (INCONCLUSIVE, FAILS, FAILS),
        (HOLDS, INCONCLUSIVE, INCONCLUSIVE),
        (TOO_SMALL, HOLDS, TOO_SMALL),
        (TOO_SMALL, INCONCLUSIVE, INCONCLUSIVE),
    ],
)
def test_a_claim_with_two_parts_holds_only_if_both_do(one, other, verdict):
    assert both(one, other) == both(other, one) == verdict


@pytest.mark.parametrize(
    ("together", "alone", "verdict", "certainty"),
    [
        (HOLDS, [HOLDS], SEEN, ""),
        (FAILS, [FAILS], UNSEEN, ""),
        (TOO_SMALL, [TOO_SMALL], TOO_SMALL, "one seed"),
        (HOLDS, [HOLDS, HOLDS], HOLDS, "in 2 of 2 seeds"),
        (TOO_SMALL, [TOO_SMALL, TOO_SMALL], TOO_SMALL, "in 2 of 2 seeds"),
        (FAILS, [FAILS, FAILS], FAILS, "in 2 of 2 seeds"),
        (HOLDS, [HOLDS, FAILS], MIXED, ""),
        (HOLDS, [HOLDS, INCONCLUSIVE], INCONCLUSIVE, ""),
        (HOLDS, [HOLDS, INCONCLUSIVE, FAILS], MIXED, ""),
        (HOLDS, [HOLDS, TOO_SMALL], MIXED, ""),
        (FAILS, [HOLDS, FAILS], MIXED, ""),
        (TOO_SMALL, [TOO_SMALL, HOLDS], MIXED, ""),
        (INCONCLUSIVE, [HOLDS, HOLDS], INCONCLUSIVE, ""),
        (HOLDS, [], INCONCLUSIVE, ""),
    ],
)
def test_every_seed_must_agree_with_the_verdict(together, alone, verdict, certainty):
    assert agreement(together, alone) == (verdict, certainty, (alone.count(HOLDS), len(alone)))


def test_disagreeing_seeds_are_counted():
    assert Finding("", "", MIXED, "", holding=(1, 2)).words == "seeds disagree: holds in 1 of 2"


def test_a_finding_reads_as_claim_verdict_certainty_and_numbers():
    finding = Finding(
        "key", "It grows", HOLDS, "By 9 %.", short="+9 %.", certainty="two seeds", evidence=("Seed 0: 9.",)
    )
    assert str(finding) == "It grows: holds (two seeds). By 9 %. Seed 0: 9."
