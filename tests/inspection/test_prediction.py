"""Entropy and errors of predictions."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from deformlab.inspection import entropy, predict


def test_the_entropy_of_a_uniform_prediction_is_log_c():
    torch.testing.assert_close(entropy(torch.full((11, 2, 3), 1 / 11)), torch.full((2, 3), math.log(11)))


def test_the_entropy_of_a_sure_prediction_is_zero():
    sure = torch.zeros(5, 2, 3)
    sure[3] = 1
    assert not entropy(sure).any()


def test_the_entropy_of_two_equal_classes_is_log_2():
    assert entropy(torch.tensor([0.5, 0.5, 0.0])).item() == pytest.approx(math.log(2))


def test_a_prediction_is_as_large_as_its_image_and_agrees_with_its_label_where_it_is_right(network, scene):
    found = predict(network, scene)
    assert found.classes.shape == found.entropy.shape == scene.size
    assert found.accuracy == pytest.approx((found.classes == scene.label).mean())
    assert np.array_equal(found.wrong, found.classes != scene.label)
    assert found.entropy.min() >= 0
    assert found.entropy.max() <= math.log(4) + 1e-6


def test_ignored_pixels_are_neither_right_nor_wrong(network, scene):
    label = predict(network, scene).classes.copy()
    label[:10] = 255
    label[-1] = (label[-1] + 1) % 4
    found = predict(network, replace(scene, label=label))
    assert not found.wrong[:10].any()
    assert found.accuracy == pytest.approx(1 - 1 / (scene.size[0] - 10))


def test_without_a_label_there_are_no_errors(network, scene):
    found = predict(network, replace(scene, label=None, instance=None))
    assert (found.wrong, found.accuracy) == (None, None)
