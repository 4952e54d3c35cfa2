import pytest

from deformlab.analysis.findings import Finding, agreement

HOLDS, FAILS, MIXED, UNJUDGED = "holds", "does not hold", "seeds disagree", "cannot be judged"


@pytest.mark.parametrize(
    ("together", "alone", "verdict", "certainty"),
    [
        (HOLDS, [HOLDS], "seen in the only seed", ""),
        (FAILS, [FAILS], "not seen in the only seed", ""),
        (HOLDS, [HOLDS, HOLDS], HOLDS, "in 2 of 2 seeds"),
        (HOLDS, [HOLDS, FAILS], MIXED, ""),
        (HOLDS, [HOLDS, UNJUDGED], MIXED, ""),
        (HOLDS, [FAILS, FAILS], MIXED, ""),
        (HOLDS, [UNJUDGED, UNJUDGED], UNJUDGED, "no seed can be judged alone"),
        (FAILS, [FAILS, FAILS], FAILS, "in 2 of 2 seeds"),
        (FAILS, [FAILS, UNJUDGED], FAILS, "in 1 of 2 seeds"),
        (FAILS, [HOLDS, FAILS], MIXED, ""),
        (FAILS, [HOLDS, HOLDS], MIXED, ""),
        (UNJUDGED, [HOLDS, HOLDS], UNJUDGED, ""),
    ],
)
def test_a_finding_holds_only_where_every_seed_shows_it(together, alone, verdict, certainty):
    assert agreement(together, alone) == (verdict, certainty, (alone.count(HOLDS), len(alone)))


def test_disagreeing_seeds_are_the_verdict():
    assert Finding("", "", MIXED, "", holding=(1, 2)).words == "holds in 1 of 2 seeds"


def test_seeds_that_agree_against_their_filters_together_are_said():
    words = Finding("", "", MIXED, "", holding=(2, 2)).words
    assert words == "holds in 2 of 2 seeds, but not in their filters together"


def test_a_finding_reads_as_claim_verdict_certainty_and_numbers():
    finding = Finding("key", "It grows", HOLDS, "By 9 %.", "one seed", ("Seed 0: 9.",))
    assert str(finding) == "It grows: holds (one seed). By 9 %. Seed 0: 9."
