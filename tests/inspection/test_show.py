"""`deformlab show` from the command line."""

import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from deformlab.cli import main
from deformlab.inspection import KINDS, Show, show, views
from deformlab.inspection.show import TimeLeft, about

IMAGE = "val_00001"


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """Runs `show` with a mistake in it; returns the one line that says so."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        assert main(["show", *map(str, arguments)]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("deformlab: error: ")
        assert not list(tmp_path.glob("*.png"))
        return lines[0]

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_writes_png_and_pdf_and_says_where(kind, trained_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["show", kind, str(trained_run), IMAGE, "--at", "30,30"]) == 0
    png, pdf = (tmp_path / f"{kind}-{IMAGE}.{suffix}" for suffix in ("png", "pdf"))
    assert f"wrote {png.name} and {pdf.name}" in capsys.readouterr().out
    assert np.asarray(Image.open(png)).std() > 1
    assert pdf.read_bytes().startswith(b"%PDF")


def test_all_of_an_atrous_network_leaves_out_what_it_does_not_have(atrous_run, tmp_path, capsys):
    arguments = ["show", "all", str(atrous_run), IMAGE, "--at", "30,30"]
    assert main([*arguments, "--output", str(tmp_path / "pictures")]) == 0
    written = {path.name for path in (tmp_path / "pictures").glob("*.png")}
    assert written == {f"{kind}-{IMAGE}.png" for kind in ("sampling", "support", "prediction")}
    assert "left out offsets: no deformable layers in tiny, seed 0" in capsys.readouterr().out


def test_a_file_name_gets_both_endings(trained_run, tmp_path):
    output = tmp_path / "new" / "figure.pdf"
    assert main(["show", "dilation", str(trained_run), IMAGE, "--output", str(output)]) == 0
    assert {path.name for path in output.parent.iterdir()} == {"figure.pdf", "figure.png"}


def test_an_image_of_another_size_is_shown_as_in_the_evaluation(
    trained_run, photograph, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["show", "sampling", str(trained_run), str(photograph)]) == 0
    printed = capsys.readouterr().out
    assert "street: 90x50 pixels" in printed
    assert "sees 90x50, at its own size as in its evaluation" in printed
    assert "no label here: units are chosen by the prediction" in printed


def test_two_networks_are_drawn_in_two_rows(trained_run, atrous_run):
    figure = Show(trained_run, IMAGE, compare=atrous_run, at=["10,20", "40,50"]).figure("sampling")
    assert len(figure.axes) == 4
    assert figure.axes[0].get_title().startswith("pixel y 10, x 20")


def test_offsets_of_two_networks_are_drawn_below_each_other(trained_run):
    figure = Show(trained_run, IMAGE, compare=trained_run / "checkpoints" / "last.ckpt").figure("offsets")
    assert len(figure.subfigs) == 2
    assert figure.subfigs[1].subfigs[0].axes[0].get_title().startswith("tiny, seed 0: layer4.0.conv2")


def test_a_network_without_offsets_is_left_out_beside_one_that_has_them(trained_run, atrous_run):
    lines = []
    show = Show(trained_run, IMAGE, compare=atrous_run, say=lines.append)
    assert len(show.figure("offsets").subfigs) == 1
    assert lines[-1] == "offsets: tiny, seed 0 has none and is left out"


def test_effective_dilation_of_two_networks_is_that_of_the_same_layers(trained_run, atrous_run):
    figure = Show(atrous_run, IMAGE, compare=trained_run).figure("dilation")
    titles = [axes.get_title().split("\n") for axes in figure.axes[:-1]]
    assert [layer for layer, _ in titles] == ["layer4.0.conv1", "layer4.0.conv2"] * 2
    assert [spread for _, spread in titles][:2] == ["mean 2.00, 2.00 to 2.00 cells"] * 2


def test_undeformed_samples_are_centred_on_the_unit(atrous_run):
    show = Show(atrous_run, IMAGE, at=["32,32"])
    (panel,) = views.sampling_panels(show.network, show.scene, show.units)
    # Output stride 16 at the image's own size: cell (2, 2) has its centre on pixel (32, 32).
    assert panel.unit.centre.tolist() == [32, 32]
    assert panel.points.mean(0).tolist() == [32, 32]
    # The last three convolutions, of dilation 1 in layer3 and 2 in layer4, reach 1 + 2 + 2 cells.
    assert panel.points.max(0).tolist() == [32 + 5 * 16] * 2
    assert panel.effective_dilation == 2


def test_the_gradient_lies_around_the_unit(atrous_run):
    show = Show(atrous_run, IMAGE, at=["32,32"])
    panels = views.support_panels(show.network, show.scene, show.units[0], layer="layer1.0.conv1")
    rows, columns = panels.receptive_field.nonzero()
    # conv1 (7), pooling (3) and layer1.0.conv1 (3) at strides 1, 2 and 4: 7 + 2·2 + 2·4 pixels.
    assert rows.max() - rows.min() + 1 <= 19
    assert columns.max() - columns.min() + 1 <= 19


@pytest.mark.parametrize("kind", ["offsets", "dilation"])
def test_a_network_without_deformable_layers_says_what_can_be_drawn(kind, refused, atrous_run):
    line = refused(kind, atrous_run, IMAGE)
    assert "no deformable layers" in line
    assert "sampling, support and prediction can be drawn" in line


def test_a_point_outside_the_image_says_how_large_it_is(refused, trained_run):
    assert "y goes from 0 to 63 and x from 0 to 63" in refused("sampling", trained_run, IMAGE, "--at", "64,3")
    assert "outside the image" in refused("sampling", trained_run, IMAGE, "--at=-1,3")


@pytest.mark.parametrize("text", ["12", "1.5,2", "a,b", "1,2,3"])
def test_a_malformed_point_shows_how_to_write_one(text, refused, trained_run):
    assert f"--at {text}: must be Y,X in pixels of the image, for example --at 120,200" in refused(
        "sampling", trained_run, IMAGE, "--at", text
    )


def test_an_unknown_picture_suggests_the_closest_one(refused, trained_run):
    pictures = "sampling, offsets, dilation, support, prediction"
    line = refused("samplin", trained_run, IMAGE)
    assert f"unknown KIND 'samplin'; did you mean sampling? Choose one of {pictures}, units, all" in line
    line = refused("zzz", trained_run, IMAGE)
    assert f"unknown KIND 'zzz'; choose one of {pictures}, units, all" in line


def test_an_unknown_layer_lists_the_layers(refused, trained_run):
    line = refused("offsets", trained_run, IMAGE, "--layer", "layer9")
    assert "layer1.0.conv1" in line
    assert "layer4.0.conv2" in line


def test_a_layer_that_is_not_deformable_lists_those_that_are(refused, trained_run):
    line = refused("offsets", trained_run, IMAGE, "--layer", "layer1.0.conv1")
    assert "those that are: layer4.0.conv1, layer4.0.conv2" in line


def test_an_unknown_kind_lists_the_kinds(refused, trained_run):
    assert ", ".join(KINDS) in refused("heatmap", trained_run, IMAGE)


def test_a_file_of_another_type_is_refused(refused, trained_run):
    assert ".png or .pdf" in refused("sampling", trained_run, IMAGE, "--output", "figure.jpg")


def test_a_file_that_cannot_be_written_is_named(refused, trained_run, tmp_path):
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "figure.png"
    assert str(output) in refused("offsets", trained_run, IMAGE, "--output", output)


@pytest.mark.parametrize(("option", "value"), [("--levels", "0"), ("--levels", "5"), ("--error-bound", "1")])
def test_a_number_out_of_range_is_named(option, value, refused, trained_run):
    assert f"{option} {value}" in refused("sampling", trained_run, IMAGE, option, value)


def test_a_missing_run_and_a_missing_image_are_named(refused, trained_run, tmp_path):
    assert "nowhere" in refused("sampling", tmp_path / "nowhere", IMAGE)
    assert "nowhere.png" in refused("sampling", trained_run, "nowhere.png")


def test_an_unreadable_image_is_named(refused, trained_run, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    assert "broken.jpg: cannot be read" in refused("prediction", trained_run, tmp_path / "broken.jpg")


@pytest.fixture(scope="module")
def run_without_things(tmp_path_factory, tiny_config):
    """A run on a data set without countable objects, whose images are called a."""
    folder = tmp_path_factory.mktemp("without-things")
    data = folder / "data"
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (data / split / kind).mkdir(parents=True)
            pixels = np.zeros((32, 32, 3) if kind == "images" else (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(data / split / kind / "a.png")
    (data / "classes.txt").write_text("ground\nleaf\n")
    config = yaml.safe_load(tiny_config.read_text())
    config["data"] = {"dataset": "folder", "root": str(data), "batch_size": 1}
    config["trainer"]["max_epochs"] = 1
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    run = folder / "run"
    arguments = ["fit", "--config", str(folder / "config.yaml"), "--run_dir", str(run), "--wandb", "off"]
    assert main(arguments) == 0
    return run


def test_networks_of_other_classes_are_not_compared(refused, trained_run, run_without_things):
    assert "other classes" in refused("sampling", trained_run, IMAGE, "--compare", run_without_things)


def test_a_data_set_without_instances_has_a_unit_on_the_background_and_says_how_to_choose(run_without_things):
    said = []
    show = Show(run_without_things, "a", say=said.append)
    assert said[-1] == (
        "the data set 'folder' has no classes of countable objects: choose units with --at Y,X"
    )
    assert [unit.name for unit in show.units] == ["background: ground"]


def test_an_image_without_objects_says_how_to_choose_units(trained_run, photograph, monkeypatch):
    nothing = SimpleNamespace(classes=np.zeros((50, 90), dtype=np.uint8))
    monkeypatch.setattr("deformlab.inspection.views.predict", lambda network, scene: nothing)
    said = []
    Show(trained_run, str(photograph), say=said.append)
    assert said[-1] == "it shows no countable objects: choose units with --at Y,X"


def test_an_interruption_is_one_line(trained_run, monkeypatch, capsys):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Show, "figure", interrupt)
    assert main(["show", "sampling", str(trained_run), IMAGE]) == 130
    assert capsys.readouterr().err == "deformlab: interrupted; the picture being drawn was not written\n"


def test_help_does_not_wait_for_torch():
    code = (
        "import sys; from deformlab.cli import main\n"
        "try: main(['show', '--help'])\n"
        "except SystemExit: sys.exit('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0
    assert all(kind in found.stdout for kind in KINDS)


def test_support_tells_how_many_forward_passes_are_done(trained_run):
    told = []
    show = Show(
        trained_run,
        IMAGE,
        at=["30,30", "20,20"],
        say=lambda line: None,
        progress=lambda text, done=0, total=None: told.append((text, done, total)),
    )
    show.figure("support")
    done = [step for _, step, _ in told]
    assert done == sorted(done)
    text, last, total = told[-1]
    assert last <= total
    assert total % 2 == 0  # two searches
    assert "pixel y 20, x 20" in text


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_the_time_left_is_measured_on_the_passes_of_the_first_search():
    clock = Clock()
    left = TimeLeft(3, clock)
    clock.now += 20  # setting up, and the first pass
    assert left.after(0, 3, 300) is None
    clock.now += 10
    assert left.after(0, 53, 300) == pytest.approx(0.2 * 247 + 2 * 60)


def test_the_time_left_follows_the_searches_that_are_done():
    clock = Clock()
    left = TimeLeft(3, clock)
    left.after(0, 3, 300)
    clock.now += 30
    assert left.after(1, 3, 300) == pytest.approx(30 + 30)
    clock.now += 10
    assert left.after(1, 90, 300) == pytest.approx(20 + 30)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "about 10 seconds"), (44, "about 40 seconds"), (200, "about 3 minutes"), (9000, "about 2.5 hours")],
)
def test_durations_are_rounded(seconds, words):
    assert about(seconds) == words


def test_without_a_terminal_a_long_wait_is_announced_on_standard_error(
    monkeypatch, capsys, tmp_path, trained_run
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(show, "FIRST_LINE", 0.0)
    assert main(["show", "support", str(trained_run), IMAGE, "--at", "30,30"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.fullmatch(r"support 1 of 1 \(.*\): about \d+ seconds left", lines[0])
