import pytest

from deformlab.analysis import learning_curves, read_runs


def trials(sweep):
    return read_runs(sweep.folder).trials


def test_learning_curves_have_a_panel_per_trial_and_a_line_per_seed(sweep):
    sweep.atrous(2, 0.2, seed=0, curve=(0.1, 0.2))
    sweep.atrous(2, 0.3, seed=1, curve=(0.1, 0.3))
    sweep.deformable()
    figure = learning_curves(trials(sweep), "val/miou", "mIoU (%)", scale=100)
    assert [axes.get_title() for axes in figure.axes] == ["atrous-2", "deformable-2"]
    shown = {line.get_label(): line.get_ydata() for line in figure.axes[0].get_lines()}
    assert shown["seed 1"] == pytest.approx([10, 30])


def test_no_learning_curves_without_the_column(sweep):
    sweep.atrous(2)
    assert learning_curves(trials(sweep), "val/loss", "loss") is None
