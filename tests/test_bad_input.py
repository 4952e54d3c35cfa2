"""What a user meets when data or disk let a training down: one line, and nothing lost."""

import contextlib
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from deformlab.cli import main


@pytest.fixture
def data_root(tmp_path):
    """A small data set in the layout of `folder`: two classes, eight training and two validation images."""
    rng = np.random.default_rng(0)
    root = tmp_path / "data"
    for split, count in (("train", 8), ("val", 2)):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        for index in range(count):
            image = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(image).save(root / split / "images" / f"{index}.png")
            Image.fromarray(rng.integers(0, 2, (48, 64), dtype=np.uint8)).save(
                root / split / "labels" / f"{index}.png"
            )
    (root / "classes.txt").write_text("ground\nthing\n")
    return root


@pytest.fixture
def fit(data_root, tiny_config, tmp_path, capsys):
    """Trains on that data set; returns the exit code, what was printed as an error, and the run's result."""
    run_dir = tmp_path / "run"

    def run(*options: str) -> tuple[int, list[str], dict]:
        arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
        data = ["--data.dataset", "folder", "--data.root", str(data_root), "--data.options", "null"]
        code = main([*arguments, *data, *options])
        errors = capsys.readouterr().err.strip().splitlines()
        result_file = run_dir / "result.json"
        result = json.loads(result_file.read_text()) if result_file.is_file() else {}
        return code, errors, result

    return run


def test_the_data_set_trains_when_nothing_is_wrong(fit):
    code, errors, result = fit()
    assert (code, errors, result["status"]) == (0, [], "finished")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("trainer.accumulate_grad_batches", "0"),
        ("trainer.check_val_every_n_epoch", "0"),
        ("trainer.gradient_clip_val", "-1"),
        ("seed_everything", "-1"),
        ("model.optimization.learning_rate", "1e39"),
    ],
)
def test_a_number_that_cannot_train_is_named(fit, option, value):
    code, errors, result = fit(f"--{option}", value)
    assert (code, len(errors), result) == (2, 1, {})
    assert option.rpartition(".")[2] in errors[0]


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_corrupt_image_in_the_middle_of_an_epoch(fit, data_root, workers):
    path = data_root / "train" / "images" / "5.png"
    path.write_bytes(path.read_bytes()[:200])
    code, errors, result = fit("--data.num_workers", workers)
    assert code == 2
    assert len(errors) == 1
    assert str(path) in errors[0]
    assert result["status"] == "failed"


def test_label_values_out_of_range(fit, data_root):
    path = data_root / "val" / "labels" / "1.png"
    Image.fromarray(np.full((48, 64), 7, dtype=np.uint8)).save(path)
    code, errors, _ = fit()
    assert code == 2
    assert len(errors) == 1
    assert str(path) in errors[0]
    assert "7" in errors[0]


def test_an_image_and_a_label_of_different_size(fit, data_root):
    path = data_root / "train" / "labels" / "3.png"
    Image.fromarray(np.zeros((10, 10), dtype=np.uint8)).save(path)
    code, errors, _ = fit()
    assert code == 2
    assert len(errors) == 1
    assert str(path) in errors[0]
    assert "10" in errors[0]


def test_a_data_set_with_a_missing_label_map(fit, data_root):
    (data_root / "train" / "labels" / "2.png").unlink()
    code, errors, _ = fit()
    assert code == 2
    assert len(errors) == 1
    assert "2.png" in errors[0]


def test_a_missing_data_set(fit, data_root):
    shutil.rmtree(data_root)
    code, errors, _ = fit()
    assert code == 2
    assert len(errors) == 1
    assert str(data_root) in errors[0]


@contextlib.contextmanager
def full_disk(bytes_per_file):
    """Simulates a full disk by a limit on the size of files, which needs no root permissions."""
    resource = pytest.importorskip("resource", reason="needs resource limits")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_per_file, hard))  # Python ignores the signal
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_the_previous_checkpoint(tiny_config, tmp_path, capsys, interrupted_fit):
    run_dir = tmp_path / "run"
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
    interrupted_fit(arguments, epoch=1)
    limit = (run_dir / "checkpoints" / "last.ckpt").stat().st_size // 2
    capsys.readouterr()
    with full_disk(limit):
        assert main(arguments) == 2
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert "previous checkpoint is kept" in error
    checkpoint = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 0
    assert json.loads((run_dir / "result.json").read_text())["status"] == "failed"
    assert main(arguments) == 0
    assert json.loads((run_dir / "result.json").read_text())["status"] == "finished"


def ignore_all(folder, names):
    for name in names:
        Image.fromarray(np.full((48, 64), 255, dtype=np.uint8)).save(folder / f"{name}.png")


@pytest.mark.parametrize(("split", "count"), [("train", 8), ("val", 2)])
def test_a_split_whose_labels_are_all_ignored_stops_before_the_training(fit, data_root, split, count):
    ignore_all(data_root / split / "labels", range(count))
    code, errors, _ = fit()
    assert code == 2
    (error,) = errors
    assert f"every pixel of the label maps of {split} is ignored" in error


def test_a_validation_without_labelled_pixels_does_not_lose_the_training(
    fit, data_root, tmp_path, capsys, caplog
):
    (data_root / "things.txt").write_text("thing\n")
    ignore_all(data_root / "val" / "labels", [0])
    # Half of the two images; "1" is one batch or all of them, by which libraries a process has imported.
    code, _, result = fit("--trainer.limit_val_batches", "0.5", "--data.val_batch_size", "1")
    assert (code, result["status"]) == (0, "finished")
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    assert caplog.text.count("val: every pixel of the label maps is ignored, so there is no score") == 1
    arguments = ["validate", "--run_dir", str(tmp_path / "run"), "--trainer.limit_val_batches", "0.5"]
    assert main(arguments) == 0
    assert "nothing was measured" in capsys.readouterr().out


def test_masks_whose_only_class_is_0_are_not_scored_silently(fit, data_root, caplog):
    for file in (data_root / "val" / "labels").iterdir():
        values = np.asarray(Image.open(file))
        Image.fromarray(values * np.uint8(255)).save(file)
    fit()
    assert caplog.text.count("val: all labels are of class 'ground' or ignored") == 1


def test_validating_on_the_training_images_is_reported(fit, data_root, caplog):
    shutil.rmtree(data_root / "val")
    (data_root / "val").symlink_to(data_root / "train")
    fit()
    assert "all images of val are also in train" in caplog.text
