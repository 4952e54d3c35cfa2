from deformlab.analysis import read_runs
from deformlab.analysis.plots import figures


def test_every_axis_has_a_label(compared):
    for name, (_, figure) in figures(read_runs(compared.folder)).items():
        assert all(axes.get_xlabel() for axes in figure.axes), name
        assert figure.axes[0].get_ylabel(), name


def test_all_figures_are_as_wide_as_a_column(compared):
    assert {figure.get_figwidth() for _, figure in figures(read_runs(compared.folder)).values()} == {5.2}


def test_what_was_not_measured_is_not_drawn(sweep):
    sweep.atrous(2)
    assert list(figures(read_runs(sweep.folder))) == [
        "miou_over_dilation",
        "learning_curves",
        "training_loss",
    ]
