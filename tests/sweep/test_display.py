import io
from pathlib import Path

import pytest
from rich.console import Console

from deformlab.run_folder import Progress
from deformlab.run_folder.identity import Identity
from deformlab.sweep import PlannedTrial
from deformlab.sweep.display import LiveTable, PlainLines, counts, duration, make_display, rows_that_fit
from deformlab.sweep.state import TrialState

PROGRESS = Progress(epochs=3, score="miou", value=0.4534, images_per_second=30.12)


def make_state(name: str, status: str = "running", progress: Progress | None = None) -> TrialState:
    config = {"trainer": {"max_epochs": 24}}
    identity = Identity({}, {})
    trial = PlannedTrial(name, 1, "trial", "study", {}, config, identity, "0" * 8, Path(name), None)
    return TrialState(trial, status, progress=progress or Progress(), seconds=75.0)  # type: ignore[arg-type]


class TextTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_table_shows_status_epoch_miou_speed_and_time():
    console = Console(file=TextTerminal(), force_terminal=True, width=100, height=30)
    display = LiveTable("study", 1, console)
    display.update(
        [
            make_state("deformable-2", progress=PROGRESS),
            make_state("atrous-8", "failed"),
        ]
    )
    display.close()
    shown = console.file.getvalue()
    for text in (
        "deformable-2",
        "running",
        "3/24",
        "45.3",
        "30.1",
        "1:15",
        "atrous-8",
        "failed",
        "1 failed, 1 running",
    ):
        assert text in shown


def test_an_event_stays_above_the_table():
    console = Console(file=TextTerminal(), force_terminal=True, width=100, height=30)
    display = LiveTable("study", 1, console)
    display.event("atrous-2 seed 0: started, runs/[a]")
    display.close()
    assert "atrous-2 seed 0: started, runs/[a]" in console.file.getvalue()


def test_a_terminal_gets_the_table_and_a_pipe_gets_lines(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    on_terminal = make_display("study", 1, Console(file=TextTerminal(), force_terminal=True))
    on_terminal.close()
    assert isinstance(on_terminal, LiveTable)
    assert isinstance(make_display("study", 1, Console(file=io.StringIO())), PlainLines)


def test_colour_that_is_forced_does_not_make_a_pipe_a_terminal():
    assert isinstance(make_display("study", 1, Console(file=io.StringIO(), force_terminal=True)), PlainLines)


@pytest.mark.parametrize(("status", "remains"), [("finished", False), ("failed", True)])
def test_the_table_is_removed_when_every_trial_is_finished(status: str, remains: bool):
    console = Console(file=TextTerminal(), force_terminal=True, width=100, height=30)
    display = LiveTable("study", 1, console)
    display.update([make_state("a", "finished"), make_state("b", status)])
    display.close()
    after_last_erased_line = console.file.getvalue().rpartition("\x1b[2K")[2]
    assert ("1 finished, 1 failed" in after_last_erased_line) is remains
    assert ("sweep study" in after_last_erased_line) is remains


def test_a_line_of_progress_comes_every_minute(monkeypatch: pytest.MonkeyPatch):
    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr("deformlab.sweep.display.time", clock)
    console = Console(file=io.StringIO(), width=40)
    display = PlainLines(1, console)
    states = [
        make_state("deformable-2", progress=PROGRESS),
        make_state("b", "waiting"),
    ]
    for clock.now in (1.0, 59.0, 60.5, 61.0, 119.0):
        display.update(states)
    assert console.file.getvalue().splitlines() == ["1 running, 1 waiting: deformable-2 seed 1 epoch 3/24"]


def test_a_low_terminal_shows_what_runs_and_what_failed_first():
    states = [make_state(name, name) for name in ("finished", "waiting", "failed", "running")]
    assert [state.status for state in rows_that_fit(states, 2)] == ["failed", "running"]
    assert rows_that_fit(states, 10) == states


def test_counts_leave_out_what_does_not_occur():
    assert counts([make_state("a", "finished"), make_state("b", "finished"), make_state("c", "failed")]) == (
        "2 finished, 1 failed"
    )


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (75.9, "1:15"), (3723, "1:02:03")])
def test_durations_read_like_a_clock(seconds: float, text: str):
    assert duration(seconds) == text
