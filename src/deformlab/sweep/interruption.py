"""Ctrl-C, a termination or a lost terminal as a wish that the sweep sees, not an exception anywhere."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@dataclass
class Interruption:
    """How often the user asked to stop: once means politely, twice at once."""

    count: int = 0

    @property
    def requested(self) -> bool:
        """Whether the sweep should stop."""
        return self.count > 0

    @property
    def impatient(self) -> bool:
        """Whether it should stop at once."""
        return self.count > 1


@contextmanager
def watch_signals() -> Iterator[Interruption]:
    """Counts signals that ask to stop while a `with` block runs; only the main thread can hear them."""
    interruption = Interruption()

    def note(number: int, frame: FrameType | None) -> None:
        interruption.count += 1

    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    heard = list(SIGNALS)
    # A hang-up that is ignored stays ignored: that is what nohup asks for.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        heard.append(signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in heard}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
