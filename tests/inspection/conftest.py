"""A trained network, a sample of its data set, and an unlabelled image file."""

import numpy as np
import pytest
from PIL import Image

from deformlab.cli import main
from deformlab.inspection import load_network, read_scene


@pytest.fixture(scope="session")
def atrous_run(tmp_path_factory, tiny_config):
    """The run folder of a network without deformable layers."""
    run_dir = tmp_path_factory.mktemp("atrous") / "tiny"
    options = ["--model.conv5", "atrous", "--trainer.max_epochs", "1", "--wandb", "off"]
    assert main(["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), *options]) == 0
    return run_dir


@pytest.fixture(scope="session")
def network(trained_run):
    return load_network(trained_run)


@pytest.fixture(scope="session")
def scene(network):
    return read_scene("val_00001", network)


@pytest.fixture
def photograph(tmp_path):
    """An image of another size than those of the training."""
    path = tmp_path / "street.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 90, 3), dtype=np.uint8)).save(path)
    return path
