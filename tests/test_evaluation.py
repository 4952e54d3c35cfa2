"""`validate` and `test`: what of a run they may replace, and what stands beside it."""

import json
import shutil

import pytest
import yaml

from deformlab.cli import main
from deformlab.run_folder.evaluations import read_evaluations

OWN = ("result.json", "objects.csv.gz", "positions.npz", "metrics.csv")


@pytest.fixture
def run(trained_run, tmp_path):
    """A finished run that a test may write into."""
    return shutil.copytree(trained_run, tmp_path / "run")


@pytest.fixture
def own(run):
    """The run's own files as they were."""
    return {name: (run / name).read_bytes() for name in OWN}


def error_line(capsys) -> str:
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_other_data_leave_the_runs_own_files_as_they_are(run, own, capsys):
    assert main(["validate", "--run_dir", str(run), "--data.options.val_images", "3"]) == 0
    assert {name: (run / name).read_bytes() for name in OWN} == own
    assert read_evaluations(run) == ([], [])
    printed = capsys.readouterr().out
    assert "not kept" in printed
    assert "--name NAME" in printed


def test_a_named_evaluation_stands_beside_the_run(run, own):
    arguments = ["validate", "--run_dir", str(run), "--data.options.val_images", "3", "--name", "fewer"]
    assert main(arguments) == 0
    assert {name: (run / name).read_bytes() for name in OWN} == own
    ((evaluation,), problems) = read_evaluations(run)
    assert problems == []
    assert (evaluation.name, evaluation.split, evaluation.images) == ("fewer", "val", 3)
    assert evaluation.options == {"data.options.val_images": 3}
    assert evaluation.checkpoint == {"file": "last.ckpt", "epochs": 2}
    assert 0 <= evaluation.score.value <= 1
    result = json.loads(own["result.json"])
    assert evaluation.data["fingerprint"] != result["data"]["val"]["fingerprint"]
    assert set(evaluation.class_scores.values) == set(result["classes"])


def test_the_test_split_is_kept_without_a_name(run, own):
    assert main(["test", "--run_dir", str(run)]) == 0
    assert {name: (run / name).read_bytes() for name in OWN} == own
    ((evaluation,), _) = read_evaluations(run)
    assert (evaluation.name, evaluation.split, evaluation.options) == ("test", "test", {})


def test_other_options_of_measuring_are_not_the_runs_own(run, own):
    arguments = ["validate", "--run_dir", str(run), "--model.evaluation.flip", "true", "--name", "flip"]
    assert main(arguments) == 0
    assert {name: (run / name).read_bytes() for name in OWN} == own
    ((evaluation,), _) = read_evaluations(run)
    assert evaluation.options == {"model.evaluation.flip": True}


def test_validating_the_run_itself_repeats_its_files(run, own):
    (run / "objects.csv.gz").write_text("damaged")
    assert main(["validate", "--run_dir", str(run)]) == 0
    assert {name: (run / name).read_bytes() for name in OWN} == own


def test_other_classes_are_refused(run, tmp_path, capsys, monkeypatch):
    from deformlab.data import Shapes

    monkeypatch.setattr(Shapes, "classes", ("background", "square", "disc", "triangle"))
    assert main(["validate", "--run_dir", str(run)]) == 2
    assert "class 1 is 'disc' in the training and 'square' in the data" in error_line(capsys)


def test_a_name_that_cannot_be_a_files_is_refused_before_anything_is_measured(run, capsys):
    assert main(["validate", "--run_dir", str(run), "--name", "../x"]) == 2
    assert "--name '../x'" in error_line(capsys)


def test_a_run_folder_of_somebody_else_imports_nothing(run, tmp_path, monkeypatch):
    (tmp_path / "spy.py").write_text("import pathlib; pathlib.Path(__file__).with_name('seen').touch()")
    monkeypatch.syspath_prepend(tmp_path)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["trainer"] |= {
        "callbacks": [{"class_path": "spy.Callback"}],
        "logger": {"class_path": "spy.Logger"},
        "plugins": [{"class_path": "spy.Plugin"}],
        "strategy": {"class_path": "spy.Strategy"},
        "profiler": {"class_path": "spy.Profiler"},
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "images").mkdir()
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "images" / "a.png")
    predict = ["--data.predict_root", str(tmp_path / "images"), "--output", str(tmp_path / "output")]
    assert main(["validate", "--run_dir", str(run)]) == 0
    assert main(["predict", "--run_dir", str(run), *predict]) == 0
    assert not (tmp_path / "seen").exists()


@pytest.mark.parametrize("section", ["train_transform", "eval_transform", "options"])
def test_a_class_to_import_in_a_runs_model_or_data_is_refused(run, capsys, section):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"][section] = {"class_path": "spy.Transform"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["validate", "--run_dir", str(run)]) == 2
    assert "class_path" in error_line(capsys)
