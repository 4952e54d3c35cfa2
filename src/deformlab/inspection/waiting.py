"""What a user is told while saliency regions are searched for: how long it will take, and how far it is."""

import time
from collections.abc import Callable

__all__ = ["SearchProgress"]

# Forward passes after which the time of one is known well enough.
TIMED_PASSES = 5
# Nobody needs to be told to wait for less, in seconds.
SHORT = 10.0


class SearchProgress:
    """Says once how long all searches will take, if that is long, and after each forward pass how far it is.

    A search takes about as many forward passes as the image has blocks, see `saliency_region`.

    Args:
        searches: How many there will be.
        say: Told in a line how long they will take.
        progress: Told how far they are; may be called often.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        searches: int,
        say: Callable[[str], None],
        progress: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.searches = searches
        self.say, self.progress, self.clock = say, progress, clock
        self._number = 0
        self._what = ""
        # Forward passes and time at the first call.
        self._first: tuple[int, float] | None = None
        self._said = False

    def begin(self, what: str) -> None:
        """The next unit.

        Args:
            what: Its network and its name.
        """
        self._number += 1
        self._what = f"unit {self._number} of {self.searches}, {what}"
        self.progress(f"{self._what}: gradients")

    def tell(self, passes: int, kept: int, blocks: int) -> None:
        """As `saliency_region` calls its `progress`."""
        self.progress(
            f"{self._what}: saliency region, {passes} forward passes, {kept} of {blocks} blocks left"
        )
        if self._said:
            return
        if self._first is None:
            self._first = passes, self.clock()
        timed = passes - self._first[0]
        if timed < TIMED_PASSES:
            return
        self._said = True
        seconds = (self.clock() - self._first[1]) / timed * blocks * self.searches
        if seconds > SHORT:
            units = "1 unit" if self.searches == 1 else f"{self.searches} units"
            self.say(
                f"support: {units} of about {blocks} forward passes each will take about {_duration(seconds)}"
            )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"
