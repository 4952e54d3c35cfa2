import subprocess
import sys

import numpy as np
import pytest
import torch

from deformlab.data import EvalTransform, TrainTransform
from deformlab.errors import ConfigError

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    # Ids above 2**24 are what a map that passes through float32 would lose.
    ids = np.array([0, 33001, 2**24 + 1, 2**31 - 1], dtype=np.int32)
    choice = rng.integers(0, 4, (40, 60))
    return {
        "image": rng.integers(0, 256, (40, 60, 3), dtype=np.uint8),
        "label": np.array([255, 0, 5, 18], dtype=np.uint8)[choice],
        "instance": ids[choice],
        "name": "x",
    }


def pairs(result):
    """Distinct (label, instance) pairs."""
    both = torch.stack([result["label"].ravel(), result["instance"].ravel()])
    return set(map(tuple, both.unique(dim=1).T.tolist()))


LEGAL = {(255, 0), (0, 33001), (5, 2**24 + 1), (18, 2**31 - 1)}


def test_tensors_have_the_documented_types(sample):
    result = TrainTransform()(sample)
    assert result["image"].dtype == torch.float32
    assert result["image"].shape == (3, 40, 60)
    assert result["label"].dtype == result["instance"].dtype == torch.int64
    assert result["name"] == "x"


def test_label_and_instance_values_are_never_mixed(sample):
    transform = TrainTransform(scale=(0.4, 2.3), crop=(50, 50), color=0.5)
    for seed in range(30):
        assert pairs(transform(sample, seed)) <= LEGAL


def test_padding_has_the_mean_colour_and_is_ignored(sample):
    sample["label"][:] = 5
    sample["instance"][:] = 7
    result = TrainTransform(crop=(100, 100), flip=0)(sample, 0)
    padding = result["label"] == 255
    assert padding.sum() == 100 * 100 - 40 * 60
    assert (result["instance"][padding] == 0).all()
    assert (result["instance"][~padding] == 7).all()
    # Rounding the mean to a byte leaves at most half a grey level over the deviation.
    assert result["image"][:, padding].abs().max() < 0.5 / 255 / 0.224


def test_a_crop_larger_than_the_image_in_one_direction_pads_only_that(sample):
    result = TrainTransform(crop=(50, 30), flip=0)(sample, 0)
    assert result["image"].shape == (3, 50, 30)
    assert (result["label"] == 255).all(dim=1).sum() == 10


def test_a_flip_mirrors_image_label_and_instance_together(sample):
    kept = TrainTransform(flip=0)(sample, 0)
    flipped = TrainTransform(flip=1)(sample, 0)
    for key in ("image", "label", "instance"):
        assert torch.equal(kept[key].flip(-1), flipped[key])


def test_label_and_image_stay_aligned_under_scale():
    # A label that says in which half a pixel lies, and an image that says the same.
    label = np.zeros((64, 64), dtype=np.uint8)
    label[:, 32:] = 1
    raw = {
        "image": np.repeat(label[..., None] * 255, 3, axis=2),
        "label": label,
        "instance": label.astype(np.int32),
        "name": "x",
    }
    for scale in (0.5, 1.5, 3.0):
        result = TrainTransform(scale=(scale, scale), flip=0, **PLAIN)(raw, 0)
        edge_of_image = (result["image"][0] < 0.5).float().sum(dim=1).mean()
        edge_of_label = (result["label"] == 0).float().sum(dim=1).mean()
        assert abs(edge_of_image - edge_of_label) <= 0.5


def test_short_side_and_scale_are_one_factor(sample):
    sides = {
        min(TrainTransform(short_side=20, scale=(0.5, 2.0))(sample, seed)["label"].shape)
        for seed in range(60)
    }
    assert min(sides) >= 10
    assert max(sides) <= 40
    assert len(sides) > 20


def test_scale_without_short_side_is_relative_to_the_image(sample):
    assert TrainTransform(scale=(2.0, 2.0))(sample, 0)["label"].shape == (80, 120)


def test_colour_changes_the_image_only(sample):
    kept = TrainTransform(flip=0)(sample, 0)
    changed = TrainTransform(flip=0, color=0.5)(sample, 0)
    assert not torch.equal(kept["image"], changed["image"])
    assert torch.equal(kept["label"], changed["label"])


def test_normalisation_is_that_of_imagenet_by_default(sample):
    image = TrainTransform(flip=0)(sample)["image"]
    expected = (torch.from_numpy(sample["image"]).double() / 255 - torch.tensor([0.485, 0.456, 0.406])) / (
        torch.tensor([0.229, 0.224, 0.225])
    )
    torch.testing.assert_close(image, expected.permute(2, 0, 1).float())


def test_the_same_seed_gives_the_same_sample(sample):
    transform = TrainTransform(scale=(0.5, 2.0), crop=(30, 30), color=0.5)
    first, other, again = transform(sample, 1), transform(sample, 2), transform(sample, 1)
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(first["image"], other["image"])


def test_without_a_seed_pytorchs_generator_is_used(sample):
    transform = TrainTransform(scale=(0.5, 2.0), crop=(30, 30))
    torch.manual_seed(0)
    first, second = transform(sample), transform(sample)
    torch.manual_seed(0)
    again = transform(sample)
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(first["image"], second["image"])


def test_the_sample_is_not_modified(sample):
    before = {key: np.copy(sample[key]) for key in ("image", "label", "instance")}
    TrainTransform(flip=1, color=1)(sample, 0)
    EvalTransform()(sample)["image"].zero_()
    for key, value in before.items():
        assert (sample[key] == value).all()


def test_evaluation_resizes_the_image_only(sample):
    result = EvalTransform(short_side=20)(sample)
    assert result["image"].shape == (3, 20, 30)
    assert torch.equal(result["label"], torch.from_numpy(sample["label"].astype(np.int64)))
    assert torch.equal(result["instance"], torch.from_numpy(sample["instance"].astype(np.int64)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": (2.0, 1.0)}, r"scale=\[2.0, 1.0\]: must be \[smallest, largest\]"),
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"crop": (0, 10)}, r"crop=\[0, 10\]"),
        ({"flip": 1.5}, "flip=1.5: must be a probability"),
        ({"color": -0.1}, "color=-0.1"),
        ({"short_side": 0}, "short_side=0"),
        ({"std": (1.0, 1.0, 0.0)}, "std"),
    ],
)
def test_an_illegal_argument_is_named_with_what_is_legal(arguments, message):
    with pytest.raises(ConfigError, match=message):
        TrainTransform(**arguments)


def test_importing_the_data_package_opens_no_connection():
    # albumentations asks its package index for updates on import unless it is told not to.
    program = (
        "import socket\n"
        "def refuse(*arguments, **options): raise AssertionError('network')\n"
        "socket.getaddrinfo = socket.socket.connect = refuse\n"
        "import deformlab.data, sys\n"
        "import albumentations.check_version as check\n"
        "assert check.opener is None\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
