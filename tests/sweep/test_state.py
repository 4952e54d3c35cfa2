import json
from pathlib import Path

import pytest

from deformlab.run_folder import MEASUREMENT_VERSION
from deformlab.run_folder.identity import Identity
from deformlab.sweep import Identify, PlannedTrial
from deformlab.sweep.state import TrialState, seconds_left


class Clock:
    """Stands in for the module `time`, so that no test waits."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("deformlab.sweep.state.time", clock)
    return clock


def make_state(folder: Path, name: str, max_epochs: int | None = 10) -> TrialState:
    (folder / name).mkdir()
    config = {"trainer": {"max_epochs": max_epochs}}
    identity = Identity({}, {})
    return TrialState(
        PlannedTrial(name, 0, "trial", "study", {}, config, identity, "0" * 8, folder / name, None)
    )


def write_epochs(state: TrialState, count: int) -> None:
    rows = "".join(f"{epoch},0.{epoch}\n" for epoch in range(count))
    (state.trial.folder / "metrics.csv").write_text("epoch,val/miou\n" + rows)


def test_a_finished_trial_of_an_earlier_sweep_is_finished(tmp_path: Path):
    state = make_state(tmp_path, "a")
    write_epochs(state, 10)
    result = {
        "status": "finished",
        "seconds": 61.0,
        "measurement": {"version": MEASUREMENT_VERSION, "options": {}},
    }
    (state.trial.folder / "result.json").write_text(json.dumps(result))
    state.read_run_folder(Identify(dict))
    assert (state.status, state.seconds, state.progress.epochs) == ("finished", 61.0, 10)
    assert not state.measured_by_an_older_version


def test_a_finished_trial_that_was_measured_with_other_options_waits_to_be_measured(tmp_path: Path):
    state = make_state(tmp_path, "a")
    result = {"status": "finished", "measurement": {"version": 2, "options": {"model.evaluation.flip": True}}}
    (state.trial.folder / "result.json").write_text(json.dumps(result))
    state.read_run_folder(Identify(dict))
    assert state.status == "waiting"


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_an_unfinished_trial_waits_to_be_continued(tmp_path: Path, status: str):
    state = make_state(tmp_path, "a")
    (state.trial.folder / "result.json").write_text(json.dumps({"status": status}))
    state.read_run_folder(Identify(dict))
    assert state.status == "waiting"


def test_nothing_is_estimated_before_the_first_epoch(tmp_path: Path, clock: Clock):
    state = make_state(tmp_path, "a")
    state.start()
    clock.now += 30
    state.refresh()
    assert seconds_left([state], 1) is None


def test_the_estimate_is_the_mean_epoch_duration_times_the_remaining_epochs(tmp_path: Path, clock: Clock):
    running, waiting = make_state(tmp_path, "a"), make_state(tmp_path, "b")
    running.start()
    clock.now += 20
    write_epochs(running, 2)
    running.refresh()
    assert seconds_left([running, waiting], 1) == pytest.approx(8 * 10 + 10 * 10)


def test_the_estimate_shrinks_within_an_epoch(tmp_path: Path, clock: Clock):
    state = make_state(tmp_path, "a")
    state.start()
    clock.now += 20
    write_epochs(state, 2)
    state.refresh()
    clock.now += 5
    state.refresh()
    assert seconds_left([state], 1) == pytest.approx(75)


def test_the_estimate_shares_work_between_trials_but_divides_none(tmp_path: Path, clock: Clock):
    running, waiting = make_state(tmp_path, "a"), make_state(tmp_path, "b")
    running.start()
    clock.now += 10
    write_epochs(running, 1)
    running.refresh()
    assert seconds_left([running, waiting], 2) == pytest.approx(100)


def test_epochs_of_an_earlier_sweep_do_not_count_as_speed(tmp_path: Path, clock: Clock):
    state = make_state(tmp_path, "a")
    write_epochs(state, 6)
    state.read_run_folder(Identify(dict))
    state.start()
    clock.now += 10
    write_epochs(state, 7)
    state.refresh()
    assert seconds_left([state], 1) == pytest.approx(30)


def test_a_trial_without_a_known_length_has_no_estimate(tmp_path: Path, clock: Clock):
    state = make_state(tmp_path, "a", max_epochs=None)
    state.start()
    clock.now += 10
    write_epochs(state, 1)
    state.refresh()
    assert seconds_left([state], 1) is None
