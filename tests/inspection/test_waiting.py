"""What is said of the time that saliency regions take."""

from itertools import count

import pytest

from deformlab.inspection.waiting import SearchProgress


def told(seconds_per_pass, searches=6, blocks=300):
    """What is said, and shown as progress, while one of the searches runs."""
    said, shown = [], []
    ticks = count()
    waiting = SearchProgress(searches, said.append, shown.append, lambda: seconds_per_pass * next(ticks))
    waiting.begin("street, on Car")
    # The clock is read at the first call and when enough passes are timed: one tick for all five of them.
    for passes in range(3, 20):
        waiting.tell(passes, 250, blocks)
    return said, shown


def test_a_long_search_is_announced_once():
    said, _ = told(0.5)
    # 0.5 seconds for 5 passes, 300 for each of 6 units.
    assert said == ["support: 6 units of about 300 forward passes each will take about 3 minutes"]


@pytest.mark.parametrize(("seconds", "lines"), [(0.02, 0), (0.04, 1)])
def test_a_short_search_is_not_announced(seconds, lines):
    assert len(told(seconds)[0]) == lines


def test_seconds_are_seconds():
    assert told(0.5, searches=1)[0] == [
        "support: 1 unit of about 300 forward passes each will take about 30 seconds"
    ]


def test_progress_names_unit_passes_and_blocks():
    _, shown = told(0.5)
    assert shown[0] == "unit 1 of 6, street, on Car: gradients"
    assert (
        shown[-1] == "unit 1 of 6, street, on Car: saliency region, 19 forward passes, 250 of 300 blocks left"
    )
