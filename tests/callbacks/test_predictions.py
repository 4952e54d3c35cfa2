import numpy as np
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
