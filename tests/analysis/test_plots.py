import pytest

from deformlab.analysis import read_runs
from deformlab.analysis.plots import (
    effective_dilation_by_size,
    learning_curves,
    miou_over_dilation,
    miou_over_layers,
    save_figure,
)


def trials(sweep):
    return read_runs(sweep.folder).trials


def test_miou_over_dilation_shows_the_means_and_the_deformable_lines(sweep):
    for seed, shift in enumerate((-0.01, 0.01)):
        sweep.atrous(4, 0.46 + shift, seed)
        sweep.atrous(2, 0.45 + shift, seed)
        sweep.deformable(0.48 + shift, seed)
    figure = miou_over_dilation(trials(sweep))
    shown = {container.get_label(): container.lines[0] for container in figure.axes[0].containers}
    assert shown["atrous"].get_xdata().tolist() == [2, 4]
    assert shown["atrous"].get_ydata() == pytest.approx([45, 46])
    assert shown["deformable-2 (deformable, 3 layers, d = 2)"].get_ydata() == pytest.approx([48])
    levels = [line.get_ydata() for line in figure.axes[0].get_lines() if len(line.get_ydata()) == 2]
    assert any(level == pytest.approx([48, 48]) for level in levels)


def test_lines_differ_in_more_than_colour(sweep):
    sweep.atrous(2)
    for i in range(3):
        sweep.deformable(trial=f"d{i}", model={"dilation": i + 1})
    shown = [container.lines[0] for container in miou_over_dilation(trials(sweep)).axes[0].containers]
    assert len({line.get_marker() for line in shown}) == len({line.get_linestyle() for line in shown}) == 4


@pytest.mark.parametrize("only", ["atrous", "deformable"])
def test_one_kind_alone_can_be_drawn(sweep, only, tmp_path):
    sweep.atrous(2) if only == "atrous" else sweep.deformable()
    save_figure(miou_over_dilation(trials(sweep)), tmp_path, "figure")


def test_miou_over_layers_starts_at_the_atrous_network_of_the_same_rate(sweep):
    sweep.atrous(2, 0.40)
    sweep.atrous(4, 0.41)
    for number, miou in (("all", 0.44), (6, 0.43), (1, 0.42)):
        sweep.deformable(miou, trial=f"d{number}", model={"num_deformable_layers": number})
    (axes,) = miou_over_layers(trials(sweep)).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["none", "1", "6", "all"]
    assert axes.containers[0].lines[0].get_ydata() == pytest.approx([40, 42, 43, 44])


def test_miou_over_layers_needs_two_numbers_of_layers(sweep):
    sweep.atrous(2)
    sweep.deformable()
    assert miou_over_layers(trials(sweep)) is None


def test_effective_dilation_leaves_out_sizes_without_filters(sweep):
    sweep.deformable(counts=(0, 500, 500, 500))
    (axes,) = effective_dilation_by_size(trials(sweep)).axes
    shown = {c.get_label(): c.lines[0].get_ydata().tolist() for c in axes.containers if c.get_label()}
    assert shown["layer4.1.conv2"] == [2.9, 4.2]


def test_effective_dilation_has_a_panel_per_deformable_trial(sweep):
    sweep.atrous(2)
    for i in range(4):
        sweep.deformable(trial=f"d{i}")
    assert len(effective_dilation_by_size(trials(sweep)).axes) == 4


def test_learning_curves_have_a_panel_per_trial_and_a_line_per_seed(sweep):
    sweep.atrous(2, seed=0, curve=(0.1, 0.2))
    sweep.atrous(2, seed=1, curve=(0.1, 0.3))
    sweep.deformable()
    figure = learning_curves(trials(sweep), "val/miou", "mIoU (%)", scale=100)
    assert [axes.get_title() for axes in figure.axes] == ["atrous-2", "deformable-2"]
    shown = {line.get_label(): line.get_ydata() for line in figure.axes[0].get_lines()}
    assert shown["seed 1"] == pytest.approx([10, 30])


def test_no_learning_curves_without_the_column(sweep):
    sweep.atrous(2)
    assert learning_curves(trials(sweep), "val/loss", "loss") is None


def test_every_axis_has_a_label(sweep):
    sweep.atrous(2)
    sweep.deformable()
    shown = trials(sweep)
    for figure in (
        miou_over_dilation(shown),
        effective_dilation_by_size(shown),
        learning_curves(shown, "train/loss", "cross-entropy (nat)"),
    ):
        assert all(axes.get_xlabel() for axes in figure.axes)
        assert figure.axes[0].get_ylabel()


def test_a_figure_is_saved_for_pages_and_for_papers_with_the_same_bytes_each_time(sweep, tmp_path):
    sweep.atrous(2)
    figure = miou_over_dilation(trials(sweep))
    png, pdf = save_figure(figure, tmp_path, "figure")
    before = pdf.read_bytes()
    save_figure(figure, tmp_path, "figure")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert pdf.read_bytes() == before
