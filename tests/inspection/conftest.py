"""A trained network, a sample of its data set, and an image file that nobody has labelled."""

import numpy as np
import pytest
from PIL import Image

from deformlab.inspection import load_network, read_scene


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
