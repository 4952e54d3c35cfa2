import pytest

from deformlab.analysis import read_runs, save_figure
from deformlab.analysis.score_plots import miou_over_dilation, miou_over_layers


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


def test_trials_of_as_many_layers_are_not_joined_by_a_line(sweep):
    for trial, layers, miou in (("a", 3, 0.4), ("b", 3, 0.5), ("c", 6, 0.6)):
        sweep.deformable(miou, trial=trial, model={"num_deformable_layers": layers})
    (axes,) = miou_over_layers(read_runs(sweep.folder).trials).axes
    (container,) = axes.containers
    assert container.lines[0].get_linestyle() == "None"
