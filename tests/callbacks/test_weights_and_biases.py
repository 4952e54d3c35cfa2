import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from deformlab.callbacks import LogTablesAndPictures, ResilientWandbLogger
from deformlab.cli import main


def logger(tmp_path: Path, mode: str = "auto") -> ResilientWandbLogger:
    return ResilientWandbLogger(mode, tmp_path, "trial", "group", {"a": 1})


def test_without_a_key_runs_are_logged_offline_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE")
    assert "no API key" in logger(tmp_path).offline_reason


def test_without_a_network_runs_are_logged_offline_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached" in logger(tmp_path).offline_reason


def test_a_training_is_logged_offline_and_says_how_to_upload(tiny_config, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("DEFORMLAB_SWEEP", "my-sweep")
    run_dir = tmp_path / "run"
    with caplog.at_level(logging.INFO):
        assert main(["fit", "--config", str(tiny_config), "--run_dir", str(run_dir)]) == 0
    hint = next(message for message in caplog.messages if "wandb sync" in message)
    offline_run = Path(hint.rsplit("wandb sync ", 1)[1])
    assert list(offline_run.glob("*.wandb"))
    assert json.loads((run_dir / "result.json").read_text())["status"] == "finished"


def test_a_failing_upload_is_reported_once_and_stops_nothing(tmp_path, monkeypatch, caplog):
    class Broken:
        def log(self, metrics):
            raise OSError("connection reset")

    some = logger(tmp_path)
    monkeypatch.setattr(ResilientWandbLogger.__mro__[1], "experiment", Broken())
    with caplog.at_level(logging.WARNING):
        some.log_metrics({"x": 1.0}, 1)
        some.log_metrics({"x": 2.0}, 2)
    assert [record.message for record in caplog.records] == [
        "Weights & Biases stopped logging, the training goes on: connection reset"
    ]


def test_a_run_that_cannot_start_stops_nothing(tmp_path, monkeypatch, caplog):
    import wandb

    def fail(**kwargs):
        raise wandb.errors.CommError("no server")

    monkeypatch.setattr(wandb, "init", fail)
    with caplog.at_level(logging.WARNING):
        logger(tmp_path).log_metrics({"x": 1.0}, 1)
    assert "no server" in caplog.text


@pytest.fixture(scope="module")
def logged(tiny_config, tmp_path_factory):
    """What a training logs, the last value of each."""
    logged: dict = {}
    run_dir = tmp_path_factory.mktemp("logged") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setattr(
            ResilientWandbLogger, "log_metrics", lambda self, metrics, step=None: logged.update(metrics)
        )
        assert main(["fit", "--config", str(tiny_config), "--run_dir", str(run_dir)]) == 0
    return logged


def test_scores_rates_and_speed_are_logged(logged):
    assert logged.keys() >= {"val/miou", "val/iou/disc", "lr-SGD/base", "images_per_second"}


def test_tables_and_pictures_are_logged_at_the_end(logged):
    columns = ["layer", "size", "mean", "std", "count", "inside_mean", "inside_std", "inside_count"]
    assert logged["effective_dilation"].columns == columns
    assert len(logged["effective_dilation"].data) == 8
    pictures = {name: value for name, value in logged.items() if name.startswith("predictions/")}
    assert list(pictures) == [f"predictions/{i:02d}-val_{i:05d}" for i in range(4)]
    captions = [picture._caption for picture in pictures.values()]
    assert captions[0] == "00-val_00000: image, label, prediction"


def test_pictures_of_different_sizes_are_written_as_they_are_without_a_warning(tmp_path, caplog):
    (tmp_path / "predictions").mkdir()
    sizes = {"00-wide": (90, 20), "01-tall": (30, 50)}
    for name, size in sizes.items():
        Image.new("RGB", size, "red").save(tmp_path / "predictions" / f"{name}.png")
    some = ResilientWandbLogger("offline", tmp_path, "trial", None, {})
    LogTablesAndPictures(some, tmp_path, list).on_fit_end(SimpleNamespace(global_step=3), None)
    some.finalize("success")
    written = {path.name: path for path in (tmp_path / "wandb").rglob("files/media/images/**/*.png")}
    for name, size in sizes.items():
        (file,) = [path for file, path in written.items() if file.startswith(name)]
        assert Image.open(file).size == size
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
