from itertools import combinations

import numpy as np
import pytest

from deformlab.figure_style import (
    COLOURS,
    LINES,
    finish_axes,
    legend_below,
    line_style,
    panels,
    plain,
    save_figure,
)

# What is left of linear RGB without the red or the green cone: Machado, Oliveira and Fernandes 2009, table 1.
PROTANOPIA = [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
]
DEUTERANOPIA = [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.011820, 0.042940, 0.968881],
]
RGB_TO_XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
]


def seen_as_lab(colour, vision):
    """CIELAB of a colour as someone of that vision sees it."""
    shown = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    rgb = np.clip(vision @ linear, 0, 1)
    xyz = RGB_TO_XYZ @ rgb / np.sum(RGB_TO_XYZ, axis=1)
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def drawn(label):
    figure, (axes,) = panels(1, 2.0, legend_lines=1)
    axes.plot([0, 1], [0, 1], label=plain(label), **line_style(0))
    finish_axes(axes)
    legend_below(figure)
    return figure


def test_a_figure_is_saved_for_pages_and_for_papers_with_the_same_bytes_each_time(tmp_path):
    figure = drawn("a")
    png, pdf = save_figure(figure, tmp_path, "figure")
    before = pdf.read_bytes()
    save_figure(figure, tmp_path, "figure")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert pdf.read_bytes() == before


@pytest.mark.parametrize("vision", [np.eye(3), PROTANOPIA, DEUTERANOPIA], ids=["all", "no red", "no green"])
def test_colour_blind_readers_can_distinguish_the_colours(vision):
    seen = {colour: seen_as_lab(colour, np.asarray(vision)) for colour in COLOURS}
    # Two colours side by side differ from about 2 on; several times as much is clear in thin lines.
    nearest = min(np.linalg.norm(seen[a] - seen[b]) for a, b in combinations(COLOURS, 2))
    assert nearest > 15


def test_lines_can_be_distinguished_without_colour():
    looks = [(line_style(i)["linestyle"], line_style(i)["marker"]) for i in range(len(LINES))]
    assert all(a[0] != b[0] and a[1] != b[1] for a, b in combinations(looks, 2))


@pytest.mark.parametrize("name", ["$\\frac$", "$x$", "_a", "a$"])
def test_figures_show_names_literally(tmp_path, name):
    figure = drawn(name)
    (shown,) = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown.replace(r"\$", "$").strip() == name
    save_figure(figure, str(tmp_path), "scores")


def test_a_figure_without_labels_has_no_legend():
    figure, _ = panels(3, 2.0)
    legend_below(figure)
    assert (figure.legends, len(figure.axes)) == ([], 3)
