"""Run folders of version 1: they are read, measured again and continued, and become version 2 by that."""

import json
import shutil

import pytest
import torch

from deformlab.cli import main
from deformlab.errors import RunFolderError
from deformlab.run_folder import read_result, write_objects


def to_version_1(run_dir) -> None:
    """Rewrites result.json as version 1 wrote it; its checkpoints were the same."""
    path = run_dir / "result.json"
    content = json.loads(path.read_text())
    del content["version"]
    score, sizes = content.pop("score"), content["measurement"].pop("sizes")
    content |= {"miou": score["value"], "best_miou": score["best"], "thresholds": sizes["thresholds"]}
    path.write_text(json.dumps(content | {"iou": content.pop("class_scores")["values"]}))


def version(run_dir) -> int:
    return json.loads((run_dir / "result.json").read_text()).get("version", 1)


@pytest.fixture
def older_run(trained_run, tmp_path):
    """A finished run of version 1 that a test may write into."""
    run_dir = shutil.copytree(trained_run, tmp_path / "run")
    to_version_1(run_dir)
    return run_dir


def test_a_finished_run_is_read_and_not_trained_again(older_run, trained_run, tiny_config, caplog):
    assert read_result(older_run) == read_result(trained_run)
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(older_run), "--wandb", "off"]
    with caplog.at_level("INFO"):
        assert main(arguments) == 0
    assert "finished before, nothing to train" in caplog.text
    assert version(older_run) == 1


def test_validate_makes_it_a_run_of_version_2(older_run, trained_run):
    assert main(["validate", "--run_dir", str(older_run)]) == 0
    assert version(older_run) == 2
    assert read_result(older_run) == read_result(trained_run)


def test_a_validation_that_fails_in_writing_keeps_what_was_small_and_large(older_run, monkeypatch):
    rule = {"thirds": False, "area": "mask", "pixels": "network", "region": "box"}
    (older_run / "objects.json").write_text(json.dumps({"version": 3, "rule": rule}))
    before = read_result(older_run).measurement
    assert before.sizes.area == "mask"

    def fill_the_disk(*arguments):
        write_objects(*arguments)
        raise RunFolderError("full")

    monkeypatch.setattr("deformlab.cli.evaluation_recorder.write_objects", fill_the_disk)
    assert main(["validate", "--run_dir", str(older_run)]) == 2
    assert not (older_run / "objects.json").exists()
    assert read_result(older_run).measurement == before


def test_an_interrupted_training_continues_with_the_same_bits(tiny_config, tmp_path, interrupted_fit):
    ours, theirs = tmp_path / "ours" / "run", tmp_path / "theirs" / "run"
    arguments = ["fit", "--config", str(tiny_config), "--wandb", "off", "--trainer.max_epochs", "3"]
    interrupted_fit([*arguments, "--run_dir", str(ours)], epoch=2)
    to_version_1(ours)
    for run_dir in (ours, theirs):
        assert main([*arguments, "--run_dir", str(run_dir)]) == 0
    assert version(ours) == 2
    assert read_result(ours).score == read_result(theirs).score
    weights = [
        torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run_dir in (ours, theirs)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_scores_of_a_run_without_a_result_are_printed_but_not_kept(older_run, capsys):
    (older_run / "result.json").write_text("damaged")
    before = {path: path.read_bytes() for path in older_run.iterdir() if path.is_file()}
    assert main(["validate", "--run_dir", str(older_run)]) == 0
    printed = capsys.readouterr().out
    assert "mIoU" in printed
    assert "not kept, because" in printed
    assert "deformlab fit --config" in printed
    assert {path: path.read_bytes() for path in before} == before
