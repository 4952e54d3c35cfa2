import base64
import io

import pytest
from PIL import Image

from deformlab.analysis import read_trials, write_report
from deformlab.analysis.gallery import MAX_SHOWN, gallery


def seen(sweep):
    return gallery(read_trials(sweep.folder).trials, sweep.folder / "report")


def shown_on_page(sweep):
    page = write_report(sweep.folder).page.read_text()
    return (
        page.split("<summary>Predictions and figures</summary>")[1]
        if "<summary>Predictions and figures" in page
        else ""
    )


def draw(folder, kind, name, size=(300, 50), colours=("red", "lime", "blue")):
    picture = Image.new("RGB", size)
    third = size[0] // 3
    for i, colour in enumerate(colours):
        picture.paste(colour, (i * third, 0, (i + 1) * third, size[1]))
    (folder / kind).mkdir(exist_ok=True)
    picture.save(folder / kind / name)


def colour(picture):
    data = base64.b64decode(picture.uri.removeprefix("data:image/jpeg;base64,"))
    return Image.open(io.BytesIO(data)).getpixel((2, 2))


@pytest.fixture
def two(sweep):
    return sweep.atrous(2), sweep.deformable()


def test_image_and_label_are_shown_once_and_predictions_per_trial(sweep, two):
    for folder in two:
        draw(folder, "predictions", "00-street.png")
    ((title, pictures),) = seen(sweep).predictions
    assert title == "00-street"
    assert [picture.caption for picture in pictures] == [
        "image",
        "label",
        "atrous-2, seed 0",
        "deformable-2, seed 0",
    ]
    assert [max(range(3), key=colour(picture).__getitem__) for picture in pictures] == [0, 1, 2, 2]


def test_figures_of_show_are_grouped_by_kind_and_image(sweep, two):
    for folder in two:
        draw(folder, "pictures", "sampling-street.png", (3000, 600))
    draw(two[1], "pictures", "offsets-street.png")
    shown = dict(seen(sweep).shown)
    assert [picture.trial for picture in shown["sampling-street"]] == ["atrous-2", "deformable-2"]
    assert [picture.trial for picture in shown["offsets-street"]] == ["deformable-2"]


def test_figures_beyond_the_limit_are_named(sweep, two, no_figures):
    for i in range(MAX_SHOWN + 2):
        draw(two[0], "pictures", f"{i}.png")
    assert seen(sweep).left_out == (f"{MAX_SHOWN}.png", f"{MAX_SHOWN + 1}.png")
    assert f"Not shown here, but in the run folders: {MAX_SHOWN}.png" in shown_on_page(sweep)


def test_a_broken_image_is_named_and_that_of_another_seed_shown(sweep, two):
    other = sweep.deformable(seed=1)
    draw(other, "predictions", "a.png")
    (two[1] / "predictions").mkdir()
    (two[1] / "predictions" / "a.png").write_bytes(b"no picture")
    found = seen(sweep)
    assert found.broken == ("deformable-2-seed0/predictions/a.png",)
    assert found.predictions[0][1][-1].caption == "deformable-2, seed 1"


def test_interactive_pages_are_linked(sweep, two, no_figures):
    (two[1] / "units of a street.html").write_text("")
    assert seen(sweep).pages == (
        ("deformable-2, seed 0: units of a street.html", "../deformable-2-seed0/units of a street.html"),
    )
    assert 'href="../deformable-2-seed0/units%20of%20a%20street.html"' in shown_on_page(sweep)


def test_the_legend_names_the_classes_that_occur_in_labels_and_predictions(sweep, no_figures):
    palette = ["#0000ff", "#00ff00", "#123456"]
    classes = ["Sky", "Road & kerb", "Not seen"]
    for rate, colours in ((2, ("red", "black", "lime")), (4, ("red", "black", "blue"))):
        iou = dict.fromkeys(classes, 0.5)
        folder = sweep.atrous(rate, classes=classes, palette=palette, iou=iou)
        draw(folder, "predictions", "a.png", colours=colours)
    found = seen(sweep)
    # Black is no class here: it is what the label leaves open. Red is in the photograph only.
    assert found.legend == (("Sky", "#0000ff"), ("Road & kerb", "#00ff00"), ("ignored", "#000000"))
    page = shown_on_page(sweep)
    assert page.count('<ul class="legend">') == 1
    assert '<span class="swatch" style="background:#00ff00"></span>Road &amp; kerb</li>' in page


def test_a_black_class_shares_its_colour_with_ignored_pixels(sweep):
    iou = {"background": 0.5, "cat": 0.5}
    folder = sweep.atrous(2, classes=[*iou], palette=["#000000", "#0000ff"], iou=iou)
    draw(folder, "predictions", "a.png", colours=("red", "black", "blue"))
    assert seen(sweep).legend == (("background, or ignored", "#000000"), ("cat", "#0000ff"))


def test_runs_without_a_palette_have_no_legend(sweep, two, no_figures):
    draw(two[0], "predictions", "a.png")
    assert seen(sweep).legend == ()
    assert "legend" not in shown_on_page(sweep)


def test_without_images_there_is_no_section(sweep, two, no_figures):
    assert shown_on_page(sweep) == ""
