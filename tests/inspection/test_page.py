"""The page of units contains what the functions compute, in one small file."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from deformlab.cli import main
from deformlab.errors import ConfigError
from deformlab.inspection import Scene, Unit, sampling_panels, unit_page
from deformlab.inspection.page import Levels, levels_of, sampling_grid

VOID = {"meta", "link", "img", "br", "input"}


def decoded(view):
    """Units by (row, column): points in pixels, weights, dilation and centre, as the script reads it."""

    def array(name, kind, *shape):
        return np.frombuffer(base64.b64decode(view[name]), kind).reshape(-1, *shape)

    count = 9 ** view["levels"]
    points = array("points", "<i2", count, 2) * view["step"]
    weights = array("weights", "u1", count) / 255 * view["weight_scale"]
    cells = [(row, column) for row in view["rows"] for column in view["columns"]]
    rest = array("dilation", "<f4"), array("centres", "<f4", 2)
    return dict(zip(cells, zip(points, weights, *rest, strict=True), strict=True))


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


@pytest.fixture(scope="module")
def page(network, scene):
    return unit_page([network], [scene])


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_what_a_click_shows_is_what_the_functions_compute(network, scene, page, levels):
    views = data_of(page)["images"][0]["networks"][0]["views"]
    view = next(view for view in views if view["levels"] == levels)
    units = decoded(view)
    for cell in list(units)[:: max(1, len(units) // 7)]:
        panel = sampling_panels(network, scene, [Unit("", (0, 0), cell)], levels, view["layer"])[0]
        points, weights, dilation, centre = units[cell]
        np.testing.assert_allclose(points, panel.points, atol=0.51 * view["step"])
        np.testing.assert_allclose(weights, np.where(panel.inside, panel.weight, 0), atol=0.5 / 255)
        assert dilation == pytest.approx(panel.effective_dilation, rel=1e-6)
        np.testing.assert_allclose(centre, panel.unit.centre, atol=1e-3)


def test_points_are_exact_to_a_quarter_of_a_pixel_in_a_large_image(network):
    large = Scene("large", np.zeros((1024, 2048, 3), np.uint8))
    assert sampling_grid(network, large, levels_of(network)[0], 4)["step"] < 0.26


def test_each_layer_can_be_looked_at_and_the_last_one_followed_down(network):
    names = list(network.layers)[-3:]
    last = names[-1]
    alone = [Levels(name, 1) for name in (names[1], names[0])]
    assert levels_of(network) == [Levels(last, 1), Levels(last, 2), Levels(last, 3), *alone]


@pytest.mark.parametrize("most", [4, 5, 16, 10_000])
def test_a_grid_keeps_to_its_number_of_units_and_covers_the_map(network, scene, most):
    view = sampling_grid(network, scene, Levels(list(network.layers)[-1], 1), most)
    rows, columns = view["rows"], view["columns"]
    assert len(rows) * len(columns) <= most
    for cells, size in ((rows, view["map"][0]), (columns, view["map"][1])):
        assert len(set(np.diff(cells))) <= 1
        assert 0 <= cells[0] <= size / len(cells)
        assert size - size / len(cells) - 1 <= cells[-1] < size
    if most == 10_000:
        assert [len(rows), len(columns)] == view["map"]


def test_a_runaway_sample_is_drawn_far_outside(network, scene, monkeypatch):
    def runaway(*arguments):
        panel = sampling_panels(*arguments)[0]
        points = panel.points.copy()
        points[0], points[1], points[2] = np.nan, 1e10, -np.inf
        return [replace(panel, points=points)]

    monkeypatch.setattr("deformlab.inspection.page.sampling_panels", runaway)
    view = sampling_grid(network, scene, levels_of(network)[0], 1)
    ((points, *_),) = decoded(view).values()
    far = 4 * max(scene.size)
    np.testing.assert_allclose(points[:3], [[0, 0], [far, far], [-far, -far]])


def test_the_page_is_well_formed_and_needs_no_network(page):
    open_elements = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag not in VOID:
                open_elements.append(tag)
            for name, value in attributes:
                assert name not in ("src", "href") or (value or "").startswith(("data:", "#"))

        def handle_endtag(self, tag):
            assert open_elements.pop() == tag

    Reader().feed(page)
    assert open_elements == []
    assert not re.search(r"https?://|@import|url\(", page)


def test_names_cannot_break_the_page(network, scene):
    evil = '</script><script>alert("&")</script>'
    page = unit_page([replace(network, name=evil)], [replace(scene, name=evil)])
    assert page.count("</script>") == 2
    assert data_of(page)["images"][0]["name"] == evil
    assert "&lt;/script&gt;" in page


def test_the_more_images_the_coarser_the_grid_and_never_over_the_limit(network, scene, monkeypatch):
    monkeypatch.setattr("deformlab.inspection.page.MAX_BYTES", 250_000)
    monkeypatch.setattr("deformlab.inspection.page.FEWEST_UNITS", 1)
    sizes = []
    for number in (1, 3):
        page = unit_page([network], [scene] * number)
        assert len(page.encode()) < 250_000
        views = data_of(page)["images"][0]["networks"][0]["views"]
        sizes.append(sum(len(view["rows"]) * len(view["columns"]) for view in views))
    assert sizes[0] > sizes[1]


def test_single_filters_have_a_finer_grid_than_those_that_are_followed_down(network, monkeypatch):
    monkeypatch.setattr("deformlab.inspection.page.MAX_BYTES", 400_000)
    large = Scene("large", np.zeros((256, 256, 3), np.uint8))
    views = data_of(unit_page([network], [large]))["images"][0]["networks"][0]["views"]
    units = {view["levels"]: len(view["rows"]) * len(view["columns"]) for view in views}
    assert units[1] > units[3]


def test_too_many_images_are_one_line(network, scene):
    with pytest.raises(ConfigError, match=r"100 images and 1 networks leave room for .* give fewer images"):
        unit_page([network], [scene] * 100, levels=4)


def test_the_command_writes_one_page_for_several_images(trained_run, tmp_path, capsys):
    output = tmp_path / "new" / "units.html"
    images = ["val_00000", "val_00001"]
    assert main(["show", "units", str(trained_run), *images, "--output", str(output)]) == 0
    assert f"wrote {output} (" in capsys.readouterr().out
    assert [image["name"] for image in data_of(output.read_text())["images"]] == images


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["units", "val_00001", "--at", "3,3"], "--at: cannot be used with show units"),
        (["units", "val_00001", "--levels", "9"], "--levels 9: choose 1 to 4"),
        (["units", "val_00001", "--output", "units.png"], "--output units.png: must end in .html"),
        (["sampling", "val_00000", "val_00001"], "show sampling: draws one image, but 2 are given"),
    ],
)
def test_wrong_options_are_one_line(arguments, message, trained_run, capsys):
    kind, *rest = arguments
    assert main(["show", kind, str(trained_run), *rest]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"deformlab: error: {message}")
