"""A training that is killed and started again ends with the bits of one that was never stopped."""

import random
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from deformlab.run_folder import replacing

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        import kill_and_resume

        yield kill_and_resume


@pytest.fixture(scope="module")
def compare_runs(script):
    import compare_runs

    return compare_runs


def killed_and_resumed(script, case, run_dir):
    """Trains with a kill after the second epoch's row, and looks for processes that outlive it."""
    metrics = run_dir / "metrics.csv"
    with script.Training(case, run_dir) as killed:
        assert killed.wait_for(lambda: metrics.is_file() and len(metrics.read_text().splitlines()) > 2)
        assert killed.send(signal.SIGKILL, "process")
        killed.end()
        assert killed.orphans() == []
    with script.Training(case, run_dir) as resumed:
        assert resumed.end() == 0, resumed.log.read_text()
    return run_dir


@pytest.fixture(scope="module")
def runs(script, tmp_path_factory):
    """A training that was never stopped, and killed ones by their number of workers, all at the same time."""
    folder = tmp_path_factory.mktemp("runs")
    with ThreadPoolExecutor() as pool:
        never_stopped = folder / "reference" / "run"
        reference = pool.submit(script.train_once, script.Case(0, epochs=3), never_stopped)
        killed = {
            workers: pool.submit(
                killed_and_resumed, script, script.Case(workers, epochs=3), folder / f"{workers}" / "run"
            )
            for workers in (0, 2)
        }
    reference.result()
    return never_stopped, killed


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_training_ends_with_the_same_bits(compare_runs, runs, workers):
    never_stopped, killed = runs
    assert compare_runs.differences(never_stopped, killed[workers].result()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "processes"), [("bf16", 1), ("32-true", 2)])
def test_so_it_does_in_bfloat16_and_on_two_processes(script, compare_runs, tmp_path, precision, processes):
    case = script.Case(2, precision, processes, epochs=3)
    never_stopped = tmp_path / "reference" / "run"
    script.train_once(case, never_stopped)
    run_dir = killed_and_resumed(script, case, tmp_path / "killed" / "run")
    assert compare_runs.differences(never_stopped, run_dir) == []


def test_a_process_that_outlives_its_training_is_found_and_ended(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "PATIENCE", 0.1)
    left = tmp_path / "left"
    detached = f"import os, signal; os.setsid(); open({str(left)!r}, 'w').close(); signal.pause()"
    command = [
        "sh",
        "-c",
        f'{sys.executable} -c "{detached}" & while [ ! -e {left} ]; do :; done',
    ]
    monkeypatch.setattr(script.Case, "command", lambda case, run_dir: command)
    with script.Training(script.Case(0), tmp_path / "run") as training:
        assert training.end() == 0
        (orphan,) = training.orphans()
    assert "setsid" in orphan
    assert training.orphans() == []


@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
def test_the_moment_in_which_a_checkpoint_is_written_is_noticed(script, tmp_path, name):
    seen = []
    training = SimpleNamespace(
        run_dir=tmp_path,
        changed=script.Changes(tmp_path),
        wait_for=lambda condition: seen.append(condition()),
    )
    with replacing(tmp_path / "checkpoints" / name):
        script.wait_for_moment(training, name, script.Pace(0, 0, 0), random.Random(0), patient=False)
    assert seen[0]


@pytest.fixture
def two_runs(tmp_path):
    """Two run folders that are alike to the bit, except in speed and in where they are."""
    runs = tmp_path / "a" / "run", tmp_path / "b" / "run"
    for speed, run in enumerate(runs):
        (run / "checkpoints").mkdir(parents=True)
        checkpoint = {"state_dict": {"weight": torch.tensor([0.0, float("nan")])}, "path": f"{run}/x"}
        torch.save(checkpoint, run / "checkpoints" / "last.ckpt")
        (run / "metrics.csv").write_text(f"epoch,images_per_second\n0,{speed}\n")
        (run / "result.json").write_text(f'{{"miou": 0.5, "seconds": {speed}}}')
    return runs


def test_speed_and_place_make_no_difference(compare_runs, two_runs):
    assert compare_runs.differences(*two_runs) == []


def test_a_single_bit_is_a_difference(compare_runs, two_runs):
    path = two_runs[1] / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path)
    checkpoint["state_dict"]["weight"][0] = -0.0
    torch.save(checkpoint, path)
    (found,) = compare_runs.differences(*two_runs)
    assert found.startswith("checkpoints/last.ckpt: state_dict/weight")


def test_a_row_more_is_a_difference(compare_runs, two_runs):
    (two_runs[1] / "metrics.csv").write_text("epoch,images_per_second\n0,1\n0,1\n")
    assert len(compare_runs.differences(*two_runs)) == 1


def test_a_file_left_behind_is_a_difference(compare_runs, two_runs):
    (two_runs[1] / "checkpoints" / "best.ckpt.part").write_bytes(b"half")
    assert compare_runs.differences(*two_runs) == ["checkpoints/best.ckpt.part: left behind"]
