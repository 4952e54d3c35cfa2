import numpy as np
import pytest
from PIL import Image

from deformlab.data.reading import read_image, read_integers, read_label
from deformlab.errors import DatasetError


def test_a_grey_image_is_read_as_rgb(tmp_path):
    Image.fromarray(np.full((3, 4), 7, dtype=np.uint8)).save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png").tolist() == np.full((3, 4, 3), 7).tolist()


def test_a_palette_label_keeps_its_indices(tmp_path):
    palette = Image.new("P", (4, 3), 5)
    palette.putpalette([200] * 768)
    palette.save(tmp_path / "label.png")
    assert (read_label(tmp_path / "label.png") == 5).all()


def test_a_16_bit_map_keeps_its_values(tmp_path):
    Image.fromarray(np.full((3, 4), 33001, dtype=np.uint16)).save(tmp_path / "ids.png")
    ids = read_integers(tmp_path / "ids.png")
    assert ids.dtype == np.int32
    assert (ids == 33001).all()


def test_a_coloured_label_map_is_refused_by_name(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "label.png")
    with pytest.raises(DatasetError, match=r"label\.png: has 3 channels.*not colours"):
        read_label(tmp_path / "label.png")


def test_a_16_bit_label_map_is_refused_by_name(tmp_path):
    Image.fromarray(np.full((3, 4), 300, dtype=np.uint16)).save(tmp_path / "label.png")
    with pytest.raises(DatasetError, match=r"label\.png: is a uint16 image"):
        read_label(tmp_path / "label.png")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_image_is_one_line_that_names_it(tmp_path, suffix):
    file = tmp_path / f"image.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DatasetError) as caught:
        read_image(file)
    assert str(caught.value).startswith(f"{file}: cannot be read (")
    assert "replace or remove the file" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_image_is_one_line_that_names_it(tmp_path):
    (tmp_path / "image.png").write_text("hello")
    with pytest.raises(DatasetError, match=r"image\.png: cannot be read"):
        read_image(tmp_path / "image.png")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"image\.png: file is missing"):
        read_image(tmp_path / "image.png")
