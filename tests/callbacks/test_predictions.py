import numpy as np
import pytest
from PIL import Image

from deformlab.callbacks import colourise
from deformlab.cli import main

PALETTE = np.array([(10, 20, 30), (40, 50, 60)], dtype=np.uint8)


def test_classes_get_their_colours_and_ignored_pixels_are_black():
    painted = colourise(np.array([[0, 1, 255]]), PALETTE)
    assert painted.tolist() == [[[10, 20, 30], [40, 50, 60], [0, 0, 0]]]


def test_a_picture_shows_image_label_and_prediction_side_by_side(trained_run):
    picture = Image.open(trained_run / "predictions" / "00-val_00000.png")
    assert picture.size == (3 * 64, 64)


def test_predict_segments_a_folder_of_images_at_their_own_size(trained_run, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for name, (height, width) in {"a.jpg": (50, 70), "b.png": (40, 33)}.items():
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(images / name)
    output = tmp_path / "out"
    arguments = ["predict", "--run_dir", str(trained_run), "--data.predict_root", str(images)]
    assert main([*arguments, "--output", str(output)]) == 0
    assert sorted(path.name for path in output.iterdir()) == ["a.png", "a_color.png", "b.png", "b_color.png"]
    classes = np.asarray(Image.open(output / "a.png"))
    assert classes.shape == (50, 70)
    assert classes.max() < 4


@pytest.fixture
def predict(trained_run, tmp_path, capsys):
    """Predicts on a folder of images, given by name; returns the exit code, the error and the output."""
    images = tmp_path / "images"
    images.mkdir()

    def run(pictures, output="out"):
        for name, picture in pictures.items():
            picture.save(images / name, **picture.info)
        arguments = ["predict", "--run_dir", str(trained_run), "--data.predict_root", str(images)]
        code = main([*arguments, "--output", str(tmp_path / output)])
        return code, capsys.readouterr().err, tmp_path / output

    return run


def test_dots_in_a_name_are_kept(predict):
    _, _, output = predict({f"frame.{number}.png": Image.new("RGB", (33, 40)) for number in (1, 2)})
    names = [f"frame.{number}{end}.png" for number in (1, 2) for end in ("", "_color")]
    assert sorted(path.name for path in output.iterdir()) == sorted(names)


@pytest.mark.parametrize("names", [("a.jpg", "a.png"), ("a.png", "a_color.png")])
def test_two_images_whose_class_maps_have_the_same_name_are_refused(predict, names):
    code, error, output = predict({name: Image.new("RGB", (33, 40)) for name in names})
    assert code == 2
    assert names[0] in error
    assert "would both be written to a" in error
    assert not output.exists()


def test_images_are_not_overwritten_by_their_results(predict):
    picture = Image.new("RGB", (33, 40), (200, 0, 0))
    code, error, folder = predict({"a.png": picture}, output="images")
    assert code == 2
    assert "is the folder of the images" in error
    assert Image.open(folder / "a.png").getpixel((0, 0)) == (200, 0, 0)


def test_a_class_map_matches_the_image_as_a_viewer_shows_it(predict):
    picture = Image.new("RGB", (33, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.info["exif"] = exif.tobytes()
    _, _, output = predict({"phone.jpg": picture})
    assert Image.open(output / "phone.png").size == (40, 33)
