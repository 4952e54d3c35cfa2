"""Whatever is written into a run folder, a full disk leaves what was there."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deformlab.errors import DeformlabError
from deformlab.run_folder import (
    Evaluation,
    Result,
    RunStatus,
    mark_status,
    write_checkpoint,
    write_config,
    write_evaluation,
    write_metrics,
    write_offsets,
    write_result,
    write_trial_list,
)


def evaluation(result: Result, images: int) -> Evaluation:
    return Evaluation(
        name="fog",
        split="val",
        score=result.score,
        class_scores=result.class_scores,
        images=images,
        data={},
        checkpoint={},
    )


# Each writes the second version of a file when its last argument is 1.
WRITERS: dict[str, Callable[[Path, Result, int], Any]] = {
    "config.yaml": lambda folder, result, n: write_config(folder, {"seed_everything": n}),
    "metrics.csv": lambda folder, result, n: write_metrics(folder, [{"epoch": n}]),
    "offsets.csv": lambda folder, result, n: write_offsets(folder, [{"epoch": n}]),
    "result.json": lambda folder, result, n: write_result(folder, replace(result, epochs=n)),
    "result.json, the status": lambda folder, result, n: mark_status(
        folder, RunStatus(status="running", trial=f"{n}")
    ),
    "evaluations/fog.json": lambda folder, result, n: write_evaluation(folder, evaluation(result, n)),
    "checkpoints/last.ckpt": lambda folder, result, n: write_checkpoint(
        {"epoch": n}, folder / "checkpoints" / "last.ckpt"
    ),
    "trials.json": lambda folder, result, n: write_trial_list(folder, [f"{n}"]),
}


@pytest.mark.parametrize("file", WRITERS)
def test_a_full_disk_keeps_the_old_file(
    tmp_path: Path, result: Result, monkeypatch: pytest.MonkeyPatch, file: str
):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    def files() -> dict[str, bytes]:
        return {
            str(path.relative_to(tmp_path)): path.read_bytes()
            for path in tmp_path.rglob("*")
            if path.is_file()
        }

    write, name = WRITERS[file], file.partition(",")[0]
    write(tmp_path, result, 0)
    before = files()
    assert set(before) == {name}
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DeformlabError, match="No space left on device") as raised:
        write(tmp_path, result, 1)
    assert "\n" not in str(raised.value)
    assert files() == before
