import csv
import json
import shutil

import pytest
import torch
import yaml

from deformlab.cli import main
from deformlab.run_folder import read_objects, read_result


def test_a_finished_run_contains_all_files_that_analysis_reads(trained_run):
    names = {str(path.relative_to(trained_run)) for path in trained_run.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "metrics.csv",
        "result.json",
        "objects.csv.gz",
        "positions.npz",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
        "predictions/00-val_00000.png",
    } <= names


def test_result_names_score_network_and_provenance(trained_run):
    result = json.loads((trained_run / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["dataset"] == "shapes"
    assert result["epochs"] == 2
    assert result["seed"] == 0
    assert result["score"].keys() == {"name", "value", "best", "mode"}
    assert 0 <= result["score"]["value"] <= result["score"]["best"] <= 1
    assert (
        set(result["class_scores"]["values"])
        == set(result["classes"])
        == {"background", "disc", "square", "triangle"}
    )
    assert result["model"]["conv5"] == "deformable"
    assert result["model"]["num_deformable_layers"] == 2
    assert result["palette"] == ["#5a5a5a", "#e45756", "#54a24b", "#4c78a8"]
    assert result["parameters"] > 0
    assert result["operator_backend"] in ("native", "reference")
    assert result["versions"]["torch"] == torch.__version__


def test_mean_iou_is_the_mean_of_the_classes_that_occur(trained_run):
    result = read_result(trained_run)
    present = [value for value in result.class_scores.values.values() if value is not None]
    assert result.score.value == pytest.approx(sum(present) / len(present), abs=1e-6)


def test_metrics_have_one_row_per_epoch(trained_run):
    rows = list(csv.DictReader((trained_run / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert {"train/loss", "lr", "images_per_second", "val/miou", "val/iou/disc"} <= set(rows[0])
    assert float(rows[-1]["val/miou"]) == pytest.approx(read_result(trained_run).score.value)


def test_the_records_of_objects_are_of_the_same_validation_as_the_scores(trained_run):
    result = read_result(trained_run)
    records, positions = read_objects(trained_run, result.classes)
    assert records.layers == ("layer4.0.conv1", "layer4.0.conv2")
    assert [part.layer for part in positions] == ["layer4.0.conv1", "layer4.0.conv2"]
    assert result.measurement.sizes.thresholds == (100, 400)
    # A class without objects has its ordinary IoU.
    background = records.label == result.classes.index("background")
    assert not records.is_object[background].any()
    union = (records.pixels + records.false_positives)[background].sum()
    iou = records.hits[background].sum() / union
    assert iou == pytest.approx(result.class_scores.values["background"], abs=1e-6)


def test_validate_gives_an_older_run_its_objects_and_removes_old_files(trained_run, tmp_path, capsys):
    older = tmp_path / "older"
    shutil.copytree(trained_run, older)
    files = ("objects.csv.gz", "positions.npz")
    old_files = ("objects.csv", "effective_dilation.csv", "objects.json")
    for name in files:
        (older / name).unlink()
    for name in old_files:
        (older / name).write_text("of another validation")
    assert main(["validate", "--run_dir", str(older)]) == 0
    for name in files:
        assert (older / name).read_bytes() == (trained_run / name).read_bytes()
    assert not any((older / name).exists() for name in old_files)
    printed = capsys.readouterr().out
    assert "recall and IoU in percent" in printed
    assert f"written to {older}: the scores in result.json" in printed


def test_thirds_are_recorded_as_numbers(tiny_config, tmp_path):
    run_dir = tmp_path / "run"
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
    thirds = ["--model.evaluation.object_sizes", "thirds", "--trainer.max_epochs", "1"]
    assert main([*arguments, *thirds]) == 0
    sizes = read_result(run_dir).measurement.sizes
    low, high = sizes.thresholds
    assert 0 < low < high
    assert sizes.thirds


def test_the_saved_configuration_repeats_the_run(trained_run, tmp_path):
    config = yaml.safe_load((trained_run / "config.yaml").read_text())
    assert "run_dir" not in config
    again = tmp_path / "again"
    arguments = [
        "fit",
        "--config",
        str(trained_run / "config.yaml"),
        "--run_dir",
        str(again),
        "--wandb",
        "off",
    ]
    assert main(arguments) == 0
    first, second = (read_result(run).score.value for run in (trained_run, again))
    assert second == pytest.approx(first, abs=1e-6)


def test_a_checkpoint_contains_only_plain_data(trained_run):
    torch.load(trained_run / "checkpoints" / "last.ckpt", weights_only=True)


def test_the_last_checkpoint_is_of_the_last_epoch_even_if_it_is_not_the_best(tiny_config, tmp_path):
    run_dir = tmp_path / "run"
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
    assert main([*arguments, "--trainer.max_epochs", "3", "--trainer.check_val_every_n_epoch", "2"]) == 0
    checkpoint = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    assert (checkpoint["epoch"], checkpoint["global_step"]) == (2, 6)


@pytest.mark.parametrize("damage", [None, b"", b"\0" * 200, b"epoch,step\n0", b"[1]"])
def test_an_interrupted_training_continues_where_it_stopped(tiny_config, tmp_path, interrupted_fit, damage):
    run_dir = tmp_path / "run"
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
    arguments += ["--trainer.max_epochs", "3"]
    interrupted_fit(arguments, epoch=2)
    if damage is not None:
        for name in ("metrics.csv", "offsets.csv", "result.json"):
            (run_dir / name).write_bytes(damage)
    assert main(arguments) == 0
    rows = list(csv.DictReader((run_dir / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [row["step"] for row in rows] == ["2", "4", "6"]


def test_a_training_that_lacks_only_its_result_is_finished(trained_run, tiny_config, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(trained_run, run_dir)
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
    before = json.loads((run_dir / "result.json").read_text())
    (run_dir / "result.json").write_text(json.dumps({**before, "status": "running"}))
    assert main(arguments) == 0
    after = json.loads((run_dir / "result.json").read_text())
    assert after["status"] == "finished"
    assert {key: after[key] for key in ("score", "class_scores", "epochs")} == {
        key: before[key] for key in ("score", "class_scores", "epochs")
    }
    assert (run_dir / "objects.csv.gz").read_bytes() == (trained_run / "objects.csv.gz").read_bytes()


def test_a_failed_training_is_marked_with_its_reason(tiny_config, tmp_path, capsys):
    run_dir = tmp_path / "run"
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
    assert main([*arguments, "--model.optimization.learning_rate", "1e30"]) == 2
    result = json.loads((run_dir / "result.json").read_text())
    assert result["status"] == "failed"
    assert "learning_rate" in result["error"]
    assert "learning_rate" in capsys.readouterr().err


def test_an_interrupt_is_marked_and_explained(tiny_config, tmp_path, capsys, monkeypatch):
    from deformlab.tasks import SemanticSegmentation

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(SemanticSegmentation, "training_step", interrupt)
    run_dir = tmp_path / "run"
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
    assert main(arguments) == 130
    assert json.loads((run_dir / "result.json").read_text())["status"] == "interrupted"
    assert "continues" in capsys.readouterr().err


def test_the_score_of_a_finished_run_is_that_of_its_finished_network(tiny_config, tmp_path, capsys):
    run_dir = tmp_path / "run"
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
    interval = ["--trainer.max_epochs", "5", "--trainer.check_val_every_n_epoch", "3"]
    assert main([*arguments, *interval]) == 0
    rows = list(csv.DictReader((run_dir / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["2", "4"]
    result = read_result(run_dir)
    assert result.epochs == 5
    capsys.readouterr()
    assert main(["validate", "--run_dir", str(run_dir)]) == 0
    assert read_result(run_dir).score.value == pytest.approx(result.score.value, abs=1e-6)


@pytest.mark.parametrize(
    "ending",
    [
        ["--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "4"],
        ["--trainer.max_epochs", "-1", "--trainer.max_steps", "3"],  # within the second epoch of two steps
        [
            *("--trainer.max_epochs", "2", "--trainer.check_val_every_n_epoch", "null"),
            *("--trainer.val_check_interval", "3"),
        ],
    ],
)
def test_the_final_network_is_measured_in_every_kind_of_ending(tiny_config, tmp_path, ending):
    run_dir = tmp_path / "run"
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
    assert main([*arguments, *ending]) == 0
    result = read_result(run_dir)
    assert result.status == "finished"
    assert result.score.value is not None
    steps = [row["step"] for row in csv.DictReader((run_dir / "metrics.csv").open())]
    last = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    assert int(steps[-1]) == last["global_step"]


def test_a_network_that_was_trained_but_not_measured_is_measured(trained_run, tiny_config, tmp_path):
    run_dir = shutil.copytree(trained_run, tmp_path / "run")
    for name in ("result.json", "objects.csv.gz", "positions.npz"):
        (run_dir / name).unlink()
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
    assert main(arguments) == 0
    ours, theirs = (json.loads((run / "result.json").read_text()) for run in (run_dir, trained_run))
    for key in ("status", "score", "class_scores", "epochs", "measurement", "data"):
        assert ours[key] == theirs[key]
    assert (run_dir / "objects.csv.gz").read_bytes() == (trained_run / "objects.csv.gz").read_bytes()


@pytest.mark.parametrize(
    "option",
    [
        ["--model.dilation", "4"],
        ["--trainer.max_epochs", "4"],
        ["--seed_everything", "1"],
        ["--data.train_transform.flip", "0"],
        ["--model.optimization.learning_rate", "0.1"],
    ],
)
def test_other_options_on_a_run_are_refused_and_no_file_changes(
    trained_run, tiny_config, tmp_path, capsys, option
):
    run_dir = shutil.copytree(trained_run, tmp_path / "run")
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
    assert main([*arguments, *option]) == 2
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert option[0].removeprefix("--") in error
    assert "new --run_dir" in error
    after = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before if path.name != ".lock"} == {
        path: content for path, content in before.items() if path.name != ".lock"
    }


def test_other_options_are_detected_by_the_checkpoint_even_if_config_yaml_agrees(
    trained_run, tiny_config, tmp_path, capsys
):
    run_dir = shutil.copytree(trained_run, tmp_path / "run")
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    config["model"]["dilation"] = 4
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    arguments = ["fit", "--config", str(run_dir / "config.yaml"), "--run_dir", str(run_dir), "--wandb", "off"]
    assert main(arguments) == 2
    assert "model.dilation (2 then, 4 now)" in capsys.readouterr().err


def test_options_that_do_not_affect_the_result_may_change(tiny_config, tmp_path, interrupted_fit):
    run_dir = tmp_path / "run"
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
    interrupted_fit(arguments, epoch=1)
    assert main([*arguments, "--data.num_workers", "1", "--trainer.log_every_n_steps", "3"]) == 0


def test_a_training_does_not_continue_with_other_images(tiny_config, tmp_path, interrupted_fit, capsys):
    from PIL import Image

    root, run_dir = tmp_path / "data", tmp_path / "run"
    for split, count in (("train", 8), ("val", 2)):
        for index in range(count):
            for kind in ("images", "labels"):
                (root / split / kind).mkdir(parents=True, exist_ok=True)
                Image.new("L", (64, 64), color=index % 2).save(root / split / kind / f"{index}.png")
    (root / "classes.txt").write_text("a\nb\n")
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
    arguments += ["--data.dataset", "folder", "--data.root", str(root), "--data.options", "null"]
    interrupted_fit(arguments, epoch=1)
    (root / "train" / "images" / "7.png").unlink()
    (root / "train" / "labels" / "7.png").unlink()
    capsys.readouterr()
    assert main(arguments) == 2
    assert "the training images differ from those that this run started with" in capsys.readouterr().err
    assert json.loads((run_dir / "result.json").read_text())["status"] == "interrupted"


def test_a_finished_run_is_not_trained_again(trained_run, tiny_config, caplog, monkeypatch):
    from deformlab.tasks import SemanticSegmentation

    def built(*arguments, **options):
        raise AssertionError("a network was built")

    monkeypatch.setattr(SemanticSegmentation, "configure_optimizers", built)
    monkeypatch.setattr(SemanticSegmentation, "validation_step", built)
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(trained_run), "--wandb", "off"]
    with caplog.at_level("INFO"):
        assert main(arguments) == 0
    assert "finished before, nothing to train" in caplog.text


def test_a_finished_run_is_measured_again_with_other_measurement_options(trained_run, tiny_config, tmp_path):
    run_dir = shutil.copytree(trained_run, tmp_path / "run")
    weights = (run_dir / "checkpoints" / "last.ckpt").read_bytes()
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
    assert main([*arguments, "--model.evaluation.object_sizes", "[200, 500]"]) == 0
    result = json.loads((run_dir / "result.json").read_text())
    assert result["measurement"]["sizes"]["thresholds"] == [200, 500]
    assert result["measurement"]["options"] == {"model.evaluation.object_sizes": [200, 500]}
    assert (run_dir / "checkpoints" / "last.ckpt").read_bytes() == weights


def test_two_trainings_in_one_folder_are_refused(tiny_config, tmp_path, capsys, monkeypatch):
    from deformlab.run_folder import lock

    monkeypatch.setattr(lock, "ORPHAN_PATIENCE", 0)
    run_dir = tmp_path / "run"
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
    with lock.locked(run_dir / ".lock", "the other one"):
        assert main(arguments) == 2
    assert f"run folder {run_dir} is in use by process" in capsys.readouterr().err
    assert [path.name for path in run_dir.iterdir()] == [".lock"]
