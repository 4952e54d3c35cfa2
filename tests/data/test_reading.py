import struct
import zlib

import cv2
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
def test_a_truncated_image_is_named_in_one_line(tmp_path, suffix):
    file = tmp_path / f"image.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DatasetError) as caught:
        read_image(file)
    assert str(caught.value).startswith(f"{file}: cannot be read (")
    assert "replace or remove the file" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_an_image_is_named_in_one_line(tmp_path):
    (tmp_path / "image.png").write_text("hello")
    with pytest.raises(DatasetError, match=r"image\.png: cannot be read"):
        read_image(tmp_path / "image.png")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"image\.png: file is missing"):
        read_image(tmp_path / "image.png")


@pytest.fixture
def photograph():
    """A grey and a colour image that use all of 8 bits."""
    colour = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    colour[0, 0] = 255
    return {"grey": colour[..., 0], "colour": colour}


@pytest.mark.parametrize("factor", [257, 256], ids=["scaled", "shifted"])
@pytest.mark.parametrize("kind", ["grey", "colour"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_16_bit_image_equals_its_8_bit_version(tmp_path, photograph, suffix, kind, factor):
    cv2.imwrite(str(tmp_path / f"16.{suffix}"), photograph[kind].astype(np.uint16) * factor)
    cv2.imwrite(str(tmp_path / "8.png"), photograph[kind])
    assert (read_image(tmp_path / f"16.{suffix}") == read_image(tmp_path / "8.png")).all()


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_a_16_bit_camera_image_with_unknown_white_level_is_refused(tmp_path, photograph, kind, bits):
    cv2.imwrite(str(tmp_path / "raw.png"), photograph[kind].astype(np.uint16) << (bits - 8))
    with pytest.raises(DatasetError, match=r"raw\.png: is a 16-bit image that uses at most 14 bits.*8 bits"):
        read_image(tmp_path / "raw.png")


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_a_32_bit_image_is_refused(tmp_path, photograph, dtype):
    Image.fromarray(photograph["grey"].astype(dtype)).save(tmp_path / "heights.tif")
    with pytest.raises(DatasetError, match=r"heights\.tif: has 32-bit or signed values"):
        read_image(tmp_path / "heights.tif")


def test_a_16_bit_image_that_stores_white_as_0_is_refused(tmp_path, photograph):
    grey = Image.fromarray(photograph["grey"].astype(np.uint16) * 257)
    grey.save(tmp_path / "scan.tif", tiffinfo={262: 0})
    with pytest.raises(DatasetError, match=r"scan\.tif: stores white as 0"):
        read_image(tmp_path / "scan.tif")


def test_a_1_bit_image_is_black_and_white(tmp_path, photograph):
    Image.fromarray(photograph["grey"] > 100).save(tmp_path / "scan.png")
    expected = np.where(photograph["grey"] > 100, 255, 0)
    assert (read_image(tmp_path / "scan.png") == expected[..., None]).all()


def _with_alpha(mode, alpha):
    image = Image.new("RGB", (4, 3), (200, 10, 10))
    if mode == "P":
        image = image.quantize(2)
        image.info["transparency"] = bytes([alpha] * 2)
        return image
    image = image.convert(mode)
    image.putalpha(alpha)
    return image


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_refused_and_opaque_ones_are_not(tmp_path, mode):
    _with_alpha(mode, 255).save(tmp_path / "opaque.png")
    assert read_image(tmp_path / "opaque.png").shape == (3, 4, 3)
    _with_alpha(mode, 100).save(tmp_path / "glass.png")
    with pytest.raises(DatasetError, match=r"glass\.png: has transparent pixels"):
        read_image(tmp_path / "glass.png")


@pytest.mark.parametrize("read", [read_image, read_label])
def test_an_image_of_several_pages_is_refused(tmp_path, photograph, read):
    page = Image.fromarray(photograph["grey"])
    page.save(tmp_path / "scan.tif", save_all=True, append_images=[page])
    with pytest.raises(DatasetError, match=r"scan\.tif: has 2 pages"):
        read(tmp_path / "scan.tif")


def test_a_smaller_copy_in_a_tiff_does_not_count_as_a_page(tmp_path, photograph):
    page, copy = (Image.fromarray(photograph["colour"][::step, ::step]) for step in (1, 2))
    copy.encoderinfo = {"tiffinfo": {254: 1}}
    page.save(tmp_path / "map.tif", save_all=True, append_images=[copy])
    assert (read_image(tmp_path / "map.tif") == photograph["colour"]).all()


TURNED = {
    1: lambda shown: shown,
    2: np.fliplr,
    3: lambda shown: np.rot90(shown, 2),
    4: np.flipud,
    5: lambda shown: np.swapaxes(shown, 0, 1),
    6: np.rot90,
    7: lambda shown: np.rot90(np.swapaxes(shown, 0, 1), 2),
    8: lambda shown: np.rot90(shown, -1),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_an_image_is_turned_as_a_viewer_turns_it(tmp_path, photograph, kind, suffix, orientation):
    shown = photograph[kind]
    _save_turned(TURNED[orientation](shown), tmp_path / f"phone.{suffix}", orientation)
    expected = np.broadcast_to(shown.reshape(24, 32, -1), (24, 32, 3))
    assert (read_image(tmp_path / f"phone.{suffix}") == expected).all()


def test_a_16_bit_image_is_turned_too(tmp_path, photograph):
    _save_turned(np.rot90(photograph["grey"].astype(np.uint16) * 257), tmp_path / "camera.png", 6)
    assert (read_image(tmp_path / "camera.png") == photograph["grey"][..., None]).all()


def test_an_image_whose_exif_data_is_broken_is_read_as_stored(tmp_path, photograph, recwarn):
    exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x05\x01\x12"
    Image.fromarray(photograph["colour"]).save(tmp_path / "phone.jpg", exif=exif)
    assert read_image(tmp_path / "phone.jpg").shape == (24, 32, 3)
    assert not recwarn.list


def test_a_label_map_is_turned_likewise(tmp_path, photograph):
    _save_turned(np.rot90(photograph["grey"]), tmp_path / "label.png", 6)
    assert (read_label(tmp_path / "label.png") == photograph["grey"]).all()


def _save_turned(stored, file, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored))
    if file.suffix == ".tif":
        image.save(file, tiffinfo={274: orientation})
    else:
        image.save(file, exif=exif)


def test_a_label_map_of_1_bit_is_refused_because_readers_scale_its_values(tmp_path):
    cv2.imwrite(str(tmp_path / "label.png"), np.eye(4, dtype=np.uint8), [cv2.IMWRITE_PNG_BILEVEL, 1])
    with pytest.raises(DatasetError, match=r"label\.png: stores its values as '1'.*8-bit PNG"):
        read_label(tmp_path / "label.png")


def test_an_inverted_label_map_is_refused(tmp_path, photograph):
    Image.fromarray(photograph["grey"]).save(tmp_path / "label.tif", tiffinfo={262: 0})
    with pytest.raises(DatasetError, match=r"label\.tif: stores its values as 'L;I'"):
        read_label(tmp_path / "label.tif")


def test_a_jpeg_is_refused_as_label_map_with_any_suffix(tmp_path, photograph):
    Image.fromarray(photograph["grey"]).save(tmp_path / "label.png", format="JPEG")
    with pytest.raises(DatasetError, match=r"label\.png: uses lossy compression"):
        read_label(tmp_path / "label.png")


def test_a_label_map_of_floats_is_refused_as_instance_map(tmp_path, photograph):
    Image.fromarray(photograph["grey"].astype(np.float32)).save(tmp_path / "ids.tif")
    with pytest.raises(DatasetError, match=r"ids\.tif: is a float32 image"):
        read_integers(tmp_path / "ids.tif")


@pytest.mark.parametrize("size", [(13_000, 13_000), (20_000, 20_000)])
@pytest.mark.parametrize("read", [read_image, read_label])
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, size, read, recwarn):
    # A header and no pixels: whoever decodes it finds it broken.
    chunk = b"IHDR" + struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0)
    header = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "map.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + b"\0\0\0\0IDAT\x35\xaf\x06\x1e")
    with pytest.raises(DatasetError, match=r"map\.png: has .*pixels.*cut the image into tiles"):
        read(tmp_path / "map.png")
    assert not recwarn.list
