"""A tiny configuration and a network trained with it, for the tests of training and the command line."""

import gzip
from pathlib import Path

import pytest
import yaml

TINY = {
    "seed_everything": 0,
    "trainer": {"accelerator": "cpu", "max_epochs": 2},
    "model": {
        "backbone": "resnet10",
        "width": 0.125,
        "output_stride": 16,
        "conv5": "deformable",
        "dilation": 2,
        "num_deformable_layers": 2,
        "head_channels": 16,
        "optimization": {"learning_rate": 0.05},
        "evaluation": {"object_sizes": [100, 400]},
    },
    "data": {
        "dataset": "shapes",
        "batch_size": 4,
        "val_batch_size": 2,
        "options": {"size": 64, "radius": [6, 24], "train_images": 8, "val_images": 4},
    },
}


@pytest.fixture(autouse=True)
def no_weights_and_biases_account(monkeypatch, tmp_path):
    """No test talks to Weights & Biases, whatever the developer's account."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    for name in ("DEFORMLAB_TRIAL", "DEFORMLAB_SWEEP", "DEFORMLAB_ROLE", "DEFORMLAB_INIT_FROM"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def unpack_objects():
    """Turns a run's `objects.csv.gz` into the `objects.csv` of older versions, which a test can edit."""

    def unpack(run_dir: Path) -> Path:
        compressed, path = run_dir / "objects.csv.gz", run_dir / "objects.csv"
        path.write_bytes(gzip.decompress(compressed.read_bytes()))
        compressed.unlink()
        return path

    return unpack


@pytest.fixture
def run_notebook(monkeypatch):
    """Runs a notebook of experiments/notebooks on a folder of runs; returns what its cells put out."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebooks = Path(__file__).parents[1] / "experiments" / "notebooks"

    def run(name: str, runs: Path) -> list:
        monkeypatch.setenv("DEFORMLAB_RUNS", str(runs))
        notebook = nbformat.read(notebooks / name, as_version=4)
        nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3").execute(cwd=str(notebooks))
        return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]

    return run


@pytest.fixture
def interrupted_fit(monkeypatch):
    """Runs the command line and interrupts the training when an epoch begins, as Ctrl-C does."""
    from deformlab.cli import main
    from deformlab.tasks import SemanticSegmentation

    def run(arguments: list[str], epoch: int) -> None:
        step = SemanticSegmentation.training_step

        def interrupt(self, *batch):
            if self.current_epoch == epoch:
                raise KeyboardInterrupt
            return step(self, *batch)

        with monkeypatch.context() as patch:
            patch.setattr(SemanticSegmentation, "training_step", interrupt)
            assert main(arguments) == 130

    return run


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory) -> Path:
    """A YAML file that trains in about a second."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture(scope="session")
def trained_run(tiny_config, tmp_path_factory) -> Path:
    """The run folder of a finished training; tests read it and write nothing into it."""
    from deformlab.cli import main

    run_dir = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]) == 0
    return run_dir


@pytest.fixture(scope="session")
def run_on_larger_images(tiny_config, tmp_path_factory) -> Path:
    """A run on images with filters away from the border of their maps."""
    from deformlab.cli import main

    run_dir = tmp_path_factory.mktemp("runs") / "larger"
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
    # Twice the width: with 8 channels, oneDNN's backward pass of a strided 1x1 convolution on such maps
    # crashes on processors with AVX-512 (torch 2.13).
    assert main([*arguments, "--data.options.size", "192", "--model.width", "0.25"]) == 0
    return run_dir
