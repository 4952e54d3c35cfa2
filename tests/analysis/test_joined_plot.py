import pandas as pd
import pytest

from deformlab.analysis import dilation_and_iou_by_size, read_runs


def drawn(sweep):
    figure = dilation_and_iou_by_size(read_runs(sweep.folder).joined)
    return {axes.get_title(): axes for axes in figure.axes}


def line(axes, name):
    return next(line for line in axes.get_lines() if line.get_label().startswith(name))


def test_layers_stand_beside_iou_and_its_gain(compared):
    assert list(drawn(compared)) == ["layer4.1.conv2", "IoU", "layer4.0.conv2", "IoU gained over atrous-2"]


def test_points_are_the_numbers_of_the_table(compared):
    panels = drawn(compared)
    assert line(panels["layer4.1.conv2"], "deformable-2").get_ydata() == pytest.approx((2.75, 4.25))
    assert line(panels["layer4.1.conv2"], "atrous-2").get_ydata() == pytest.approx((2, 2))
    assert line(panels["IoU"], "deformable-2").get_ydata()[1] == pytest.approx(100 * 75 / 110)
    gain = line(panels["IoU gained over atrous-2"], "deformable-2").get_ydata()
    assert gain == pytest.approx((0, 100 * 25 / 110))


def test_filters_away_from_the_border_have_a_dotted_line_of_their_own(sweep):
    sweep.add_objects(sweep.deformable(), dilation=(2.0, 4.0), border=(0, 0, 1))
    axes = drawn(sweep)["layer4.1.conv2"]
    away = next(line for line in axes.get_lines() if line.get_label().endswith("), away from the border"))
    assert away.get_ydata() == pytest.approx((2, 4))
    assert away.get_linestyle() == ":"
    assert line(axes, "deformable-2").get_ydata() == pytest.approx((2, 4.5))


def test_layers_share_an_axis_that_holds_them_all(sweep):
    path = sweep.add_objects(sweep.deformable()) / "objects.csv"
    (path.parent / "effective_dilation.csv").unlink()
    objects = pd.read_csv(path)
    objects["layer4.0.conv2:sum"] += 7 * objects["layer4.0.conv2:filters"]
    objects.to_csv(path, index=False)
    panels = drawn(sweep)
    limits = panels["layer4.1.conv2"].get_ylim()
    assert limits == panels["layer4.0.conv2"].get_ylim()
    assert (limits[0] < 2, limits[1] > 9) == (True, True)


def test_bars_are_intervals_and_dots_are_seeds(compared):
    axes = drawn(compared)["layer4.1.conv2"]
    bars = [bar for container in axes.containers for bar in container.lines[2][0].get_segments()]
    assert any(bar[:, 1] == pytest.approx((4.0, 4.5), abs=0.1) for bar in bars)
    dots = [tuple(line.get_ydata()) for line in axes.get_lines() if line.get_marker() == "."]
    assert (3.0, 5.5) in dots


def test_of_the_atrous_trials_the_best_and_that_of_the_same_dilation_are_drawn(compared):
    (axes, *_) = drawn(compared).values()
    shown = {line.get_label().split(" (")[0] for line in axes.get_lines() if "(" in line.get_label()}
    assert shown == {"atrous-2", "deformable-2"}


def test_lines_differ_without_colour(compared):
    axes = drawn(compared)["IoU"]
    atrous, deformable = line(axes, "atrous-2"), line(axes, "deformable-2")
    assert atrous.get_linestyle() != deformable.get_linestyle()
    assert atrous.get_marker() != deformable.get_marker()
    assert (atrous.get_markerfacecolor(), deformable.get_markerfacecolor()) == (
        "white",
        deformable.get_color(),
    )


def test_sizes_say_where_they_begin(compared):
    ticks = [tick.get_text() for tick in drawn(compared)["IoU"].get_xticklabels()]
    assert ticks == ["small\n< 96²", "medium", "large\n> 224²", "back-\nground"]
    assert "mask" not in drawn(compared)["IoU"].get_xlabel()


def test_a_layer_that_is_deformable_in_no_network_has_no_panel(sweep):
    sweep.add_objects(sweep.deformable())
    atrous = sweep.add_objects(sweep.atrous(2))
    for name in ("objects.csv", "objects.json", "effective_dilation.csv"):
        path = atrous / name
        path.write_text(path.read_text().replace("layer4.0.conv2", "layer3.1.conv2"))
    assert list(drawn(sweep)) == ["layer4.1.conv2", "IoU", "layer4.0.conv2", "IoU gained over atrous-2"]


def test_atrous_trials_alone_can_be_drawn(sweep):
    sweep.add_objects(sweep.atrous(2))
    assert list(drawn(sweep)) == ["layer4.1.conv2", "IoU", "layer4.0.conv2"]
