import importlib.util
import json
import logging
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from deformlab.callbacks import LogTablesAndPictures, ResilientWandbLogger
from deformlab.cli import main
from deformlab.records import SizeRow


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


server_module = load("wandb_server")


def logger(tmp_path: Path, mode: str = "auto", **limits: float) -> ResilientWandbLogger:
    return ResilientWandbLogger(mode, tmp_path, "trial", "group", {"some_option": 1}, **limits)


def on_disk(some: ResilientWandbLogger) -> bytes:
    """What `wandb sync` would upload."""
    (file,) = some.folder.glob("*.wandb")
    return file.read_bytes()


@pytest.fixture
def start_server(monkeypatch):
    """Starts a server that behaves as told, with an account there."""
    servers = []
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)

    def start(behaviour: str):
        servers.append(server_module.Server(behaviour))
        monkeypatch.setenv("WANDB_BASE_URL", servers[-1].url)
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def test_without_a_key_runs_are_logged_offline_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE")
    assert "no API key" in logger(tmp_path).offline_reason


@pytest.mark.parametrize(
    ("behaviour", "seconds", "reason"),
    [
        ("drips", 1, "did not start the run within 1 s"),
        ("silent", 1, "did not start the run within 1 s"),
        ("html 500", 1, ""),  # wandb tries again until the time is up.
        ("refuses the key", 20, "refused the API key (HTTP 401)"),
        ("garbage", 20, "did not start the run, see "),
    ],
)
def test_a_server_that_does_not_start_the_run_leaves_it_logged_offline(
    start_server, tmp_path, caplog, capfd, behaviour, seconds, reason
):
    server = start_server(behaviour)
    some = logger(tmp_path, "online", seconds_to_connect=seconds)
    with caplog.at_level(logging.INFO):
        some.log_metrics({"some_metric": 0.5}, 1)
        some.finalize("success")
    assert server.url in some.offline_reason
    assert reason in some.offline_reason
    assert b"some_option" in on_disk(some)
    assert b"some_metric" in on_disk(some)
    assert [folder.name for folder in (tmp_path / "wandb").glob("*run-2*")] == [some.folder.name]
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.message for record in warnings] == [
        f"Weights & Biases: logging offline, {some.offline_reason}"
    ]
    assert f"wandb sync {some.folder}" in caplog.text
    assert server_module.SECRET not in caplog.text
    assert capfd.readouterr() == ("", "")


def test_without_a_network_runs_are_logged_offline_with_the_reason(start_server, tmp_path):
    server = start_server("works")
    server.close()
    some = logger(tmp_path)
    some.log_metrics({"some_metric": 0.5}, 1)
    some.finalize("success")
    assert some.offline_reason == f"{server.url} cannot be reached"
    assert b"some_metric" in on_disk(some)


def test_a_server_that_works_gets_the_configuration_and_the_metrics(start_server, tmp_path, caplog):
    server = start_server("works")
    some = logger(tmp_path)
    with caplog.at_level(logging.INFO):
        some.log_metrics({"some_metric": 0.5}, 1)
        some.finalize("success")
    assert some.offline_reason is None
    assert any("some_option" in body for body in server.received)
    assert any("some_metric" in body for body in server.received)
    assert "wandb sync" not in caplog.text


def test_a_server_that_stops_answering_delays_the_end_at_most_by_the_limit(start_server, tmp_path, caplog):
    start_server("stops")
    some = logger(tmp_path, seconds_to_upload=1, seconds_to_connect=20)
    some.log_metrics({"some_metric": 0.5}, 1)
    while some.folder is None:
        some._done.wait(0.01)
    with caplog.at_level(logging.INFO):
        some.finalize("success")
    assert f"wandb sync {some.folder}" in caplog.text
    assert b"some_metric" in on_disk(some)
    assert some._process.poll() is not None


def test_ctrl_c_ends_the_wait_for_the_server_and_leaves_the_run_on_disk(start_server, tmp_path, caplog):
    def press_once_it_waits():
        while not some._ended:
            some._done.wait(0.01)
        some._done.wait(0.2)
        signal.raise_signal(signal.SIGINT)

    start_server("stops")
    some = logger(tmp_path, seconds_to_upload=3)
    some.log_metrics({"some_metric": 0.5}, 1)
    while some.folder is None:
        some._done.wait(0.01)
    threading.Thread(target=press_once_it_waits).start()
    with pytest.raises(KeyboardInterrupt):
        some.finalize("success")
    with caplog.at_level(logging.INFO):
        some.finalize("failed")  # As Lightning does.
    assert f"wandb sync {some.folder}" in caplog.text
    assert b"some_metric" in on_disk(some)


def test_an_interrupted_training_does_not_wait_for_the_server_to_start_the_run(start_server, tmp_path):
    start_server("silent")
    some = logger(tmp_path, seconds_to_connect=100)
    some.log_metrics({"some_metric": 0.5}, 1)
    some.finalize("failed")
    assert b"some_metric" in on_disk(some)


def test_a_training_is_logged_offline_and_says_how_to_upload(tiny_config, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("DEFORMLAB_SWEEP", "my-sweep")
    run_dir = tmp_path / "run"
    with caplog.at_level(logging.INFO):
        assert main(["fit", "--config", str(tiny_config), "--run_dir", str(run_dir)]) == 0
    hint = next(message for message in caplog.messages if "wandb sync" in message)
    offline_run = Path(hint.rsplit("wandb sync ", 1)[1])
    (file,) = offline_run.glob("*.wandb")
    for logged in (
        b"my-sweep",
        b"val/miou",
        b"learning_rate",
        b"effective_dilation",
        b"predictions/00-val_00000",
    ):
        assert logged in file.read_bytes()
    assert json.loads((run_dir / "result.json").read_text())["status"] == "finished"


def test_a_process_that_dies_is_reported_once_and_stops_nothing(tmp_path, caplog):
    some = logger(tmp_path)
    some.log_metrics({"x": 1.0}, 1)
    while some.folder is None:
        some._done.wait(0.01)
    some._process.kill()
    some._process.wait()
    some.log_metrics({"x": 2.0}, 2)
    some._done.wait(30)
    some.log_metrics({"x": 3.0}, 3)
    some.finalize("success")
    warnings = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "stopped logging, the training continues" in warnings[0]


def test_a_process_that_cannot_start_stops_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", "false")
    some = logger(tmp_path)
    some.log_metrics({"x": 1.0}, 1)
    some.finalize("success")
    assert "stopped logging, the training continues" in caplog.text


@pytest.fixture(scope="module")
def logged(tiny_config, tmp_path_factory):
    """What a training logs, the last value of each."""
    logged: dict = {}
    run_dir = tmp_path_factory.mktemp("logged") / "run"

    def collect(self, message):
        for kind in ("metrics", "tables", "pictures"):
            logged.update(message.get(kind, {}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResilientWandbLogger, "_send", collect)
        assert main(["fit", "--config", str(tiny_config), "--run_dir", str(run_dir)]) == 0
    return logged


def test_scores_rates_and_speed_are_logged(logged):
    assert logged.keys() >= {"val/miou", "val/iou/disc", "lr-SGD/base", "images_per_second"}


def test_tables_and_pictures_are_logged_at_the_end(logged):
    columns = ["layer", "size", "region", "mean", "std", "count"]
    assert logged["effective_dilation"]["columns"] == columns
    assert len(logged["effective_dilation"]["rows"]) == 16
    pictures = {name: value for name, value in logged.items() if name.startswith("predictions/")}
    assert list(pictures) == [f"predictions/{i:02d}-val_{i:05d}" for i in range(4)]
    captions = [picture["caption"] for picture in pictures.values()]
    assert captions[0] == "00-val_00000: image, label, prediction"


def test_tables_and_images_of_different_sizes_are_logged_unchanged(tmp_path, caplog):
    (tmp_path / "predictions").mkdir()
    sizes = {"00-wide": (90, 20), "01-tall": (30, 50)}
    for name, size in sizes.items():
        Image.new("RGB", size, "red").save(tmp_path / "predictions" / f"{name}.png")
    row = ["conv", 9.0, float("nan")] + [1.0] * (len(SizeRow._fields) - 3)
    some = ResilientWandbLogger("offline", tmp_path, "trial", None, {})
    rows = lambda: [SizeRow(*row)]  # noqa: E731
    LogTablesAndPictures(some, tmp_path, rows).on_fit_end(SimpleNamespace(global_step=3), None)
    some.finalize("success")
    written = {path.name: path for path in (tmp_path / "wandb").rglob("files/media/images/**/*.png")}
    for name, size in sizes.items():
        (file,) = [path for file, path in written.items() if file.startswith(name)]
        assert Image.open(file).size == size
    (table,) = (tmp_path / "wandb").rglob("files/media/table/**/*.json")
    assert json.loads(table.read_text())["columns"] == list(SizeRow._fields)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert some._complete
