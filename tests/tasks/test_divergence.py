"""`LossWatch`: a diverged training stops, and is told the step at which it did."""

import pytest
import torch

from deformlab.errors import TrainingError
from deformlab.tasks.divergence import LossWatch


def watched(*losses: float) -> LossWatch:
    watch = LossWatch()
    for step, loss in enumerate(losses):
        watch.observe(torch.tensor(loss, requires_grad=True), step)
    return watch


def test_finite_losses_pass():
    LossWatch().check()
    watched(0.0, 1e30, -1.0).check()


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf")])
def test_the_first_step_without_a_finite_loss_is_named(loss):
    with pytest.raises(TrainingError, match="at step 2"):
        watched(3.0, 2.0, loss, 1.0, float("nan")).check()


def test_step_0_counts():
    with pytest.raises(TrainingError, match="at step 0"):
        watched(float("nan"), 1.0).check()


def test_another_training_begins_anew():
    watch = watched(float("nan"))
    with pytest.raises(TrainingError):
        watch.check()
    watch.observe(torch.tensor(1.0), 0)
    watch.check()


def test_observing_reads_nothing_back():
    watch = LossWatch()
    watch.observe(torch.ones((), device="meta"), 0)
