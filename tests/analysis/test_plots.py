import pandas as pd
import pytest

from deformlab.analysis import (
    dilation_and_iou_by_size,
    dilation_by_layer,
    learning_curves,
    read_trials,
    same_position_effect,
    score_over_dilation,
    score_over_layers,
    trial_styles,
)
from deformlab.analysis.plots import figures
from deformlab.figure_style import save_figure


def trials(sweep):
    return read_trials(sweep.folder).trials


def by_size(sweep):
    figure = dilation_and_iou_by_size(read_trials(sweep.folder).by_object)
    return {axes.get_title(): axes for axes in figure.axes}


def line(axes, name):
    return next(line for line in axes.get_lines() if line.get_label().startswith(name))


class TestAllFigures:
    def test_every_axis_has_a_label(self, compared):
        for name, (_, figure) in figures(read_trials(compared.folder)).items():
            assert all(axes.get_xlabel() for axes in figure.axes), name
            assert figure.axes[0].get_ylabel(), name

    def test_all_are_as_wide_as_a_column(self, compared):
        drawn = figures(read_trials(compared.folder))
        assert {figure.get_figwidth() for _, figure in drawn.values()} == {5.2}
        assert list(drawn)[:3] == ["score_over_dilation", "same_position_effect", "dilation_and_iou_by_size"]

    def test_what_was_not_measured_is_not_drawn(self, sweep):
        sweep.atrous(2)
        drawn = figures(read_trials(sweep.folder))
        assert list(drawn) == ["score_over_dilation", "learning_curves", "training_loss"]

    def test_a_legend_has_one_entry_per_trial(self, compared):
        count = len(trials(compared))
        for name, (_, figure) in figures(read_trials(compared.folder)).items():
            for legend in figure.legends:
                assert len(legend.get_texts()) <= count, name

    def test_a_trial_has_one_colour_and_marker_in_all_of_them(self, compared):
        seen = set()
        for _, figure in figures(read_trials(compared.folder)).values():
            for axes in figure.axes:
                handles, labels = axes.get_legend_handles_labels()
                for handle, label in zip(handles, labels, strict=True):
                    drawn = getattr(handle, "lines", [handle])[0]
                    if label.startswith("deformable-2"):
                        seen.add((drawn.get_color(), drawn.get_marker()))
                if axes.get_title() == "deformable-2":
                    assert {entry.get_color() for entry in axes.get_legend().get_lines()} == {"#0072B2"}
        assert seen == {("#0072B2", "o")}

    def test_no_two_trials_look_alike(self, sweep):
        for rate in range(1, 8):
            sweep.atrous(rate)
            sweep.deformable(trial=f"d{rate}", model={"dilation": rate})
        styles = trial_styles(trials(sweep)).values()
        looks = {(s["color"], s["marker"], s.get("markerfacecolor")) for s in styles}
        assert len(looks) == 14
        assert {s["color"] for s in styles if "markerfacecolor" not in s}.isdisjoint(
            s["color"] for s in styles if "markerfacecolor" in s
        )


class TestScoreOverDilation:
    def test_shows_the_means_and_the_deformable_lines(self, sweep):
        for seed, shift in enumerate((-0.01, 0.01)):
            sweep.atrous(4, 0.46 + shift, seed)
            sweep.atrous(2, 0.45 + shift, seed)
            sweep.deformable(0.48 + shift, seed)
        (axes,) = score_over_dilation(trials(sweep)).axes
        atrous = line(axes, "atrous trials")
        assert (atrous.get_xdata().tolist(), list(atrous.get_ydata())) == ([2, 4], pytest.approx([45, 46]))
        levels = [found.get_ydata() for found in axes.get_lines() if len(found.get_ydata()) == 2]
        assert any(level == pytest.approx([48, 48]) for level in levels)
        assert axes.get_ylabel().startswith("mIoU on the validation set")

    @pytest.mark.parametrize("only", ["atrous", "deformable"])
    def test_one_kind_alone_can_be_drawn(self, sweep, only, tmp_path):
        sweep.atrous(2) if only == "atrous" else sweep.deformable()
        save_figure(score_over_dilation(trials(sweep)), tmp_path, "figure")


class TestScoreOverLayers:
    def test_starts_at_the_atrous_network_of_the_same_rate(self, sweep):
        sweep.atrous(2, 0.40)
        sweep.atrous(4, 0.41)
        for number, score in (("all", 0.44), (6, 0.43), (1, 0.42)):
            sweep.deformable(score, trial=f"d{number}", model={"num_deformable_layers": number})
        (axes,) = score_over_layers(trials(sweep)).axes
        assert [label.get_text() for label in axes.get_xticklabels()] == ["none", "1", "6", "all"]
        (joined,) = [found for found in axes.get_lines() if len(found.get_xdata()) == 4]
        assert joined.get_ydata() == pytest.approx([40, 42, 43, 44])

    def test_needs_two_numbers_of_layers(self, sweep):
        sweep.atrous(2)
        sweep.deformable()
        assert score_over_layers(trials(sweep)) is None

    def test_trials_with_the_same_number_of_layers_are_not_joined(self, sweep):
        for trial, layers, score in (("a", 3, 0.4), ("b", 3, 0.5), ("c", 6, 0.6)):
            sweep.deformable(score, trial=trial, model={"num_deformable_layers": layers})
        (axes,) = score_over_layers(trials(sweep)).axes
        assert max(len(found.get_xdata()) for found in axes.get_lines()) == 1


class TestEffectAtTheSamePosition:
    def test_has_a_row_per_layer_with_the_smallest_effect_as_a_band(self, compared):
        figure = same_position_effect(read_trials(compared.folder).by_object, smallest_effect=0.2)
        (axes,) = figure.axes
        assert [tick.get_text() for tick in axes.get_yticklabels()] == ["layer4.0.conv2", "layer4.1.conv2"]
        values = [container.lines[0].get_xdata()[0] for container in axes.containers]
        assert values == pytest.approx([1.49, 1.49], abs=0.01)
        (band,) = axes.patches
        assert (band.get_x(), band.get_width()) == pytest.approx((-0.2, 0.4))

    def test_is_not_drawn_without_positions(self, sweep):
        sweep.measure(sweep.deformable(), positions=False)
        assert same_position_effect(read_trials(sweep.folder).by_object) is None


class TestDilationAndIouBySize:
    def test_layers_are_beside_iou_and_its_gain(self, compared):
        titles = ["layer4.1.conv2", "IoU", "layer4.0.conv2", "IoU gain over atrous-2"]
        assert list(by_size(compared)) == titles

    def test_points_are_the_numbers_of_interior_filters(self, sweep):
        sweep.measure(sweep.deformable(), {"small": 2.0, "large": 4.0}, noise=0, border=1)
        axes = by_size(sweep)["layer4.1.conv2"]
        assert line(axes, "deformable-2").get_ydata() == pytest.approx((2, 4))
        assert len({found.get_label() for found in axes.get_lines() if "(" in found.get_label()}) == 1

    def test_all_filters_are_drawn_if_interior_ones_were_not_recorded(self, sweep):
        folder = sweep.measure(sweep.deformable(), {"small": 2.0, "large": 4.0}, noise=0, border=1)
        sweep.forget_interior(folder)
        axes = by_size(sweep)["layer4.1.conv2"]
        assert line(axes, "deformable-2").get_ydata() == pytest.approx((2.5, 4.5))

    def test_layers_share_an_axis_that_covers_all_values(self, sweep):
        sweep.measure(sweep.deformable(), {"small": 2.0, "large": 2.0}, first={"small": 9.0}, noise=0)
        panels = by_size(sweep)
        limits = panels["layer4.1.conv2"].get_ylim()
        assert limits == panels["layer4.0.conv2"].get_ylim()
        assert (limits[0] < 2, limits[1] > 9) == (True, True)

    def test_bars_are_intervals_and_dots_are_seeds(self, compared):
        axes = by_size(compared)["IoU"]
        dots = [tuple(found.get_ydata()) for found in axes.get_lines() if found.get_marker() == "."]
        assert pytest.approx((100 * 70 / 110, 100 * 80 / 110)) in dots
        axes = by_size(compared)["layer4.1.conv2"]
        bars = [bar for container in axes.containers for bar in container.lines[2][0].get_segments()]
        assert any(bar[1, 1] - bar[0, 1] > 0.01 for bar in bars)

    def test_only_the_best_atrous_trial_and_those_of_the_same_dilation_are_drawn(self, compared):
        axes = by_size(compared)["IoU"]
        shown = {found.get_label().split(" (")[0] for found in axes.get_lines() if "(" in found.get_label()}
        assert shown == {"atrous-2", "deformable-2"}

    def test_sizes_are_labelled_with_their_thresholds(self, compared):
        ticks = [tick.get_text() for tick in by_size(compared)["IoU"].get_xticklabels()]
        assert ticks == ["small\n< 96²", "medium", "large\n> 224²", "back-\nground"]
        assert "mask" not in by_size(compared)["IoU"].get_xlabel()

    def test_a_layer_without_offsets_in_any_network_has_no_panel(self, sweep, unpack_objects):
        sweep.measure(sweep.deformable())
        path = unpack_objects(sweep.measure(sweep.atrous(2), rate=2))
        path.write_text(path.read_text().replace("layer4.0.conv2", "layer3.1.conv2"))
        titles = ["layer4.1.conv2", "IoU", "layer4.0.conv2", "IoU gain over atrous-2"]
        assert list(by_size(sweep)) == titles

    def test_atrous_trials_alone_can_be_drawn(self, sweep):
        sweep.measure(sweep.atrous(2), rate=2)
        assert list(by_size(sweep)) == ["layer4.1.conv2", "IoU", "layer4.0.conv2"]


def test_more_layers_than_fit_beside_iou_get_a_separate_figure(sweep):
    path = sweep.measure(sweep.deformable(), positions=False) / "objects.csv.gz"
    assert dilation_by_layer(read_trials(sweep.folder).by_object) is None
    table = pd.read_csv(path)
    for layer in range(2, 5):
        columns = [name for name in table if name.startswith("layer4.1")]
        for name in columns:
            table[name.replace("layer4.1", f"layer4.{layer}")] = table[name]
    table.to_csv(path, index=False)
    figure = dilation_by_layer(read_trials(sweep.folder).by_object)
    assert [axes.get_title() for axes in figure.axes] == [f"layer4.{i}.conv2" for i in (4, 3, 2, 1, 0)]


class TestLearningCurves:
    def test_have_a_panel_per_trial_and_a_line_per_seed(self, sweep):
        sweep.atrous(2, 0.2, seed=0, curve=(0.1, 0.2))
        sweep.atrous(2, 0.3, seed=1, curve=(0.1, 0.3))
        sweep.deformable()
        figure = learning_curves(trials(sweep), "val/miou", "mIoU (%)", scale=100)
        assert [axes.get_title() for axes in figure.axes] == ["atrous-2", "deformable-2"]
        shown = {found.get_label(): found for found in figure.axes[0].get_lines()}
        assert shown["seed 1"].get_ydata() == pytest.approx([10, 30])
        assert shown["seed 0"].get_linestyle() != shown["seed 1"].get_linestyle()

    def test_need_the_column(self, sweep):
        sweep.atrous(2)
        assert learning_curves(trials(sweep), "val/loss", "loss") is None
