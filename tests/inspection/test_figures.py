"""Content and legibility of the figures."""

import numpy as np
import pytest

from deformlab.inspection import MapPanel, OffsetPanel, SamplingPanel, SupportPanels, UnitMark, predict
from deformlab.inspection.figures import (
    dilation_figure,
    holding,
    offset_colours,
    offset_figure,
    prediction_figure,
    sampling_figure,
    support_figure,
)

IMAGE = np.full((60, 80, 3), 128, dtype=np.uint8)
UNIT = UnitMark(np.array([30.0, 40.0]), (32.0, 48.0, 36.0, 24.0))
REGIONS = np.repeat(np.arange(8), 10)[None].repeat(60, 0)
EXTENT = (-8.0, 72.0, 56.0, -8.0)


def sampling_panel(points):
    points = np.asarray(points, dtype=float)
    return SamplingPanel(
        "small object: Car", UNIT, points, points[:, 0] >= 0, np.ones(len(points)), effective_dilation=2.5
    )


def sampling():
    row = ("deformable, seed 0", [sampling_panel([[10, 20], [30, 70], [-9, 5]])])
    return sampling_figure(IMAGE, [row, ("atrous, seed 0", row[1])], "image: sampling locations")


RISING = np.arange(20.0).reshape(4, 5)


def dilation(values=RISING):
    return dilation_figure(IMAGE, [("run", [MapPanel("layer4.0.conv2", values, EXTENT)])], "image: dilation")


def offsets(shift=(1.0, 0.5)):
    field = np.zeros((9, 2, 4, 5)) + np.reshape(shift, (1, 2, 1, 1))
    panel = OffsetPanel("run: layer4.0.conv2", field, (3, 3), EXTENT)
    return offset_figure(IMAGE, [panel], "image: offsets", REGIONS)


def support():
    field = np.zeros((30, 40))
    field[10:20, 10:20] = 1
    samples = [
        ("layer4.0.conv2", np.array([[10.0, 20.0], [30.0, 70.0]]), np.array([1.0, 0.001])),
        ("layer4.1.conv2", np.array([[20.0, 20.0]]), np.array([0.5])),
    ]
    row = SupportPanels("run\nunit on Car", UNIT, samples, field, field > 0, "8 % of the image")
    return support_figure(IMAGE, [row], "image: support")


@pytest.fixture
def prediction(network, scene):
    data = network.data
    return prediction_figure(
        scene, [("run", predict(network, scene))], data.classes, data.palette, "image: prediction"
    )


def points_of(axes):
    return [collection.get_offsets()[:, ::-1].tolist() for collection in axes.collections]


def test_samples_are_at_their_positions_and_zero_samples_look_different():
    axes = sampling().axes[0]
    counted, zero = axes.collections
    assert points_of(axes) == [[[10, 20], [30, 70]], [[-9, 5]]]
    assert counted.get_paths()[0].vertices.shape != zero.get_paths()[0].vertices.shape


def test_a_sampling_panel_names_unit_and_dilation():
    assert sampling().axes[0].get_title() == "small object: Car\neffective dilation 2.50 cells, 1 zero sample"


def test_networks_are_named_beside_their_rows():
    assert [axes.texts[0].get_text() for axes in sampling().axes] == ["deformable, seed 0", "atrous, seed 0"]


def test_the_unit_is_marked_by_its_centre_and_its_cell():
    axes = sampling().axes[0]
    assert (axes.lines[0].get_ydata()[0], axes.lines[0].get_xdata()[0]) == (30, 40)
    assert axes.patches[0].get_bbox().bounds == (32, 24, 16, 12)


def test_objects_are_outlined_where_neighbours_belong_to_different_ones():
    figure = sampling_figure(IMAGE, [("run", [sampling_panel([[10, 20]])])], "image", REGIONS)
    lines = figure.axes[0].images[1].get_array()[..., 3]
    assert (lines > 0).any(0).nonzero()[0].tolist() == [10, 20, 30, 40, 50, 60, 70]
    assert len(sampling().axes[0].images) == 1


def test_a_dilation_map_covers_its_cells():
    figure = dilation()
    heat = figure.axes[0].images[1]
    assert tuple(heat.get_extent()) == EXTENT
    assert heat.get_clim() == (0, 19)
    assert "mean 9.50, 0.00 to 19.00 cells" in figure.axes[0].get_title()


def test_networks_may_have_different_numbers_of_layers():
    panel = MapPanel("layer", RISING, EXTENT)
    figure = dilation_figure(IMAGE, [("deformable", [panel]), ("atrous", [panel, panel])], "image: dilation")
    assert len(figure.axes) == 3 + 1  # the colour bar


def test_a_map_of_one_value_has_a_scale_around_it():
    assert dilation(np.full((4, 5), 2.0)).axes[0].images[1].get_clim() == (1.5, 2.5)


def test_no_offset_is_white_and_longer_ones_are_darker():
    shades = offset_colours(np.array([[0.0, 0.0], [0.0, 0.5], [0.0, 1.0], [0.0, 9.0]]), 1.0)
    luminance = shades @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(shades[0], 1, atol=1e-6)
    assert luminance[0] > luminance[1] > luminance[2]
    assert shades[2].tolist() == shades[3].tolist()


def test_opposite_directions_have_opposite_hues():
    right, left = offset_colours(np.array([[0.0, 1.0], [0.0, -1.0]]), 1.0)
    assert right[0] > max(right[1], right[2])
    assert left[0] < min(left[1], left[2])


@pytest.mark.parametrize("length", [0.3, 1.0])
def test_the_lightness_of_an_offset_depends_on_its_length_only(length):
    angles = np.linspace(0, 2 * np.pi, 36)
    shades = offset_colours(length * np.stack([np.sin(angles), np.cos(angles)], -1), 1.0)
    linear = np.where(shades <= 0.04045, shades / 12.92, ((shades + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    # Lightness 100 for none, 55 for the longest, by its definition.
    np.testing.assert_allclose(116 * np.cbrt(luminance) - 16, 100 - 45 * length, atol=0.1)


def test_arrows_point_where_offsets_do():
    arrows = offsets((1.0, 0.5)).subfigs[0].subfigs[0].axes[0].collections[0]
    assert (arrows.V == 1.0).all()
    assert (arrows.U == 0.5).all()


def test_the_offset_figure_has_a_panel_per_tap_and_a_wheel_in_cells():
    (figure,) = offsets().subfigs
    assert len(figure.subfigs[1].axes) == 9
    labels = [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.subfigs[2].axes]
    assert labels == [("dx (cells)", "dy (cells)")] * 2


def test_offsets_that_are_all_zero_can_be_drawn(tmp_path):
    offsets((0.0, 0.0)).savefig(tmp_path / "zero.png")


def test_faint_samples_are_left_out_and_layers_differ_in_their_marker():
    axes = support().axes[0]
    assert points_of(axes) == [[[10, 20]], [[20, 20]]]
    first, second = (collection.get_paths()[0].vertices for collection in axes.collections)
    assert first.shape != second.shape


def test_holding_selects_the_fewest_elements_with_the_share():
    weights = np.array([[4.0, 1.0], [3.0, 2.0]])
    assert holding(weights, 0.7).tolist() == [[True, False], [True, False]]
    assert holding(weights, 0.71).tolist() == [[True, False], [True, True]]
    assert holding(weights, 1.0).all()
    assert not holding(np.zeros((2, 2)), 0.5).any()


def test_the_prediction_is_beside_label_error_and_entropy(prediction):
    titles = [axes.get_title() for axes in prediction.axes if axes.get_title()]
    assert titles[:3] == ["image", "label", "prediction"]
    assert titles[3].startswith("error: wrong pixels dark")
    assert titles[4].startswith("entropy")
    assert prediction.axes[5].images[0].get_clim() == (0, pytest.approx(np.log(4)))


@pytest.mark.parametrize("figure", [sampling, dilation, offsets, support])
def test_every_panel_has_units_and_the_figure_a_title(figure):
    drawn = figure()
    assert drawn.get_suptitle().startswith("image: ")
    labels = {text for axes in drawn.axes for text in (axes.get_xlabel(), axes.get_ylabel()) if text}
    assert {"x (pixels)", "y (pixels)"} <= labels
    assert all("(" in label for label in labels)


@pytest.mark.parametrize("figure", [sampling, dilation, offsets, support])
def test_every_figure_can_be_written_as_png_and_pdf(figure, tmp_path):
    for suffix in ("png", "pdf"):
        figure().savefig(tmp_path / f"figure.{suffix}")
