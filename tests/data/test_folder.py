import os
import pickle

import numpy as np
import pytest
from PIL import Image

from deformlab.data import Folder, SegmentationDataModule, check_dataset
from deformlab.errors import ConfigError, DatasetError
from deformlab.records import SizeRule


def test_images_and_label_maps_are_paired_by_stem(folder_root):
    data = Folder(folder_root, "train")
    assert data.names == ["a", "b"]
    sample = data[0]
    assert sample["image"].shape == (24, 32, 3)
    assert np.unique(sample["label"]).tolist() == [0, 1, 255]


def test_classes_come_from_the_folder(folder_root):
    data = Folder(folder_root, "val")
    assert (data.classes, data.things) == (("background", "leaf"), ("leaf",))
    assert data.palette.shape == (2, 3)


def test_two_folders_keep_their_own_classes(folder_root, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "classes.txt").write_text("sky\nroad\ncar\n")
    assert Folder.for_root(tmp_path / "other").classes == ("sky", "road", "car")
    assert Folder.for_root(folder_root).classes == ("background", "leaf")


def test_objects_are_connected_components_of_things(folder_root):
    instance = Folder(folder_root, "train")[0]["instance"]
    assert 0 < instance[3, 3] != instance[3, 25] > 0
    assert (instance == 0).sum() == 24 * 32 - 6 * 6 - 6 * 10


def test_without_things_there_are_no_objects(folder_root):
    (folder_root / "things.txt").unlink()
    data = Folder(folder_root, "train")
    assert data.things == ()
    assert not data[0]["instance"].any()


def test_the_data_module_knows_the_classes_before_it_reads_an_image(folder_root):
    module = SegmentationDataModule("folder", root=str(folder_root), batch_size=1)
    assert module.num_classes == len(module.palette) == 2
    assert module.things == ("leaf",)


def test_the_data_module_loads_batches(folder_root):
    module = SegmentationDataModule(
        "folder", root=str(folder_root), batch_size=2, options={"cache": True}, num_workers=1
    )
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    assert batch["image"].shape == (2, 3, 24, 32)
    assert int(batch["instance"].max()) == 2


def test_an_unknown_option_lists_the_legal_ones(folder_root):
    with pytest.raises(ConfigError, match=r"'folder' has no option 'size'; it has cache$"):
        SegmentationDataModule("folder", root=str(folder_root), options={"size": 3})


def test_it_can_be_sent_to_a_worker_process(folder_root):
    data = pickle.loads(pickle.dumps(Folder(folder_root, "val", cache=True)))
    assert (data.classes, data.split, data.names) == (("background", "leaf"), "val", ["c"])
    assert data[0]["label"].shape == (24, 32)


def test_a_complete_folder_passes_the_check(folder_root):
    report = check_dataset("folder", folder_root, rule=SizeRule((40, 50)))
    assert report.problems == []
    assert report.classes == ("background", "leaf")
    assert report.object_areas()["leaf"].tolist() == [36, 36, 36, 60, 60, 60]


def test_the_check_reports_a_missing_list_of_classes(folder_root):
    (folder_root / "classes.txt").unlink()
    problems = check_dataset("folder", folder_root).problems
    assert problems == [
        f"{folder_root / 'classes.txt'}: no such file; write one class name per line, in label order"
    ]


def test_a_label_value_without_a_class_is_named(folder_root):
    file = folder_root / "train" / "labels" / "b.png"
    Image.fromarray(np.full((24, 32), 2, dtype=np.uint8)).save(file)
    with pytest.raises(DatasetError, match=r"b\.png: label values 2 are illegal.*has 0 to 1"):
        Folder(folder_root, "train")[1]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("classes.txt", "\n\n", "classes.txt: contains no class"),
        ("classes.txt", "leaf\nleaf\n", "classes.txt: 'leaf' is listed 2 times"),
        (
            "classes.txt",
            "\n".join(map(str, range(256))),
            "classes.txt: has 256 classes; an 8-bit",
        ),
        ("things.txt", "tree\n", "things.txt: 'tree' is not in classes.txt; choose from background, leaf"),
    ],
)
def test_a_wrong_list_is_one_line(folder_root, file, text, message):
    (folder_root / file).write_text(text)
    with pytest.raises(DatasetError, match=message):
        Folder(folder_root, "train")


def test_a_missing_root_says_what_it_must_contain(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere: no such folder.*classes\.txt, train/images/"):
        SegmentationDataModule("folder", root=str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match=r"data\.root is not set: data set 'folder'"):
        SegmentationDataModule("folder")


def _label(folder, name, values):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(folder / name)


def test_an_empty_line_among_the_classes_is_refused_with_its_number(folder_root):
    (folder_root / "classes.txt").write_text("background\n\nleaf\n")
    with pytest.raises(DatasetError, match=r"classes\.txt: line 2 is empty"):
        Folder(folder_root, "train")


def test_empty_lines_after_the_classes_and_a_byte_order_mark_change_nothing(folder_root):
    (folder_root / "classes.txt").write_bytes(b"\xef\xbb\xbfbackground\r\nleaf \r\n\r\n \r\n")
    assert Folder(folder_root, "train").classes == ("background", "leaf")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("classes.txt", "# plants\nbackground\nleaf\n", r"classes\.txt: line 1 is '# plants'"),
        ("classes.txt", "background\n1\tleaf\n", r"classes\.txt: line 2 is '1\\tleaf'"),
        ("classes.txt", "background,leaf\n", r"classes\.txt: contains one class, 'background,leaf'"),
        ("classes.txt", "background\nall\n", r"classes\.txt: line 2: 'all' has another meaning in reports"),
        ("ignore.txt", "void\n", r"ignore\.txt: line 1 is 'void'; write one label value per line"),
        ("ignore.txt", "7\n256\n", r"ignore\.txt: line 2 is '256'"),
        ("ignore.txt", "1\n", r"ignore\.txt: line 1: 1 is the label value of class 'leaf'"),
    ],
)
def test_a_list_that_would_be_misread_is_refused(folder_root, file, text, message):
    (folder_root / file).write_text(text)
    with pytest.raises(DatasetError, match=message):
        Folder(folder_root, "train")


def test_values_of_the_ignore_list_become_255(folder_root):
    label = np.zeros((24, 32), dtype=np.uint8)
    label[:5], label[5:9] = 11, 200
    _label(folder_root / "val" / "labels", "c.png", label)
    (folder_root / "ignore.txt").write_text("11\n200\n")
    expected = np.where(label > 0, 255, 0)
    assert (Folder(folder_root, "val")[0]["label"] == expected).all()
    assert check_dataset("folder", folder_root).problems == []


def test_a_value_without_a_class_names_the_ignore_list(folder_root):
    _label(folder_root / "val" / "labels", "c.png", np.full((24, 32), 11, dtype=np.uint8))
    with pytest.raises(DatasetError, match=r"values 11 are illegal.*255 \(ignored\).*ignore\.txt"):
        Folder(folder_root, "val")[0]


def test_other_ignored_values_make_another_fingerprint(folder_root):
    first = Folder(folder_root, "train").fingerprint()
    (folder_root / "ignore.txt").write_text("11\n")
    assert Folder(folder_root, "train").fingerprint() != first


@pytest.mark.parametrize("suffix", ["PNG", "tif", "TIFF", "webp", "bmp", "JPG"])
def test_images_with_other_suffixes_are_found(folder_root, suffix):
    images = folder_root / "val" / "images"
    Image.open(images / "c.png").save(images / f"c.{suffix}")
    (images / "c.png").unlink()
    assert Folder(folder_root, "val")[0]["image"].shape == (24, 32, 3)


@pytest.mark.parametrize("suffix", ["PNG", "tif", "TIFF"])
def test_label_maps_with_other_suffixes_are_found(folder_root, suffix):
    labels = folder_root / "val" / "labels"
    Image.open(labels / "c.png").save(labels / f"c.{suffix}")
    if suffix != "PNG" or not (labels / "c.png").samefile(labels / "c.PNG"):
        (labels / "c.png").unlink()
    assert Folder(folder_root, "val")[0]["label"].max() == 255


def _problem(root):
    """The one line of the check, after making sure that a training says the same."""
    with pytest.raises(DatasetError) as caught:
        Folder(root, "val")[0]
    problems = [line for line in check_dataset("folder", root).problems if str(root / "val") in line]
    assert str(caught.value) in problems
    return str(caught.value)


def test_two_images_with_the_same_name_are_refused(folder_root):
    images = folder_root / "val" / "images"
    Image.open(images / "c.png").save(images / "c.jpg")
    assert "c.png: is a second image with the name of c.jpg; keep one" in _problem(folder_root)


def test_a_label_map_of_another_format_is_named(folder_root):
    labels = folder_root / "val" / "labels"
    (labels / "c.png").rename(labels / "c.gif")
    assert "c.gif: not a supported label map format (.png, .tif, .tiff)" in _problem(folder_root)


def test_an_image_of_another_format_is_named(folder_root):
    images = folder_root / "val" / "images"
    (images / "c.png").rename(images / "c.heic")
    assert "c.heic: not a supported image format" in _problem(folder_root)


def test_images_in_subfolders_are_refused(folder_root):
    images = folder_root / "val" / "images"
    (images / "night").mkdir()
    Image.new("RGB", (32, 24)).save(images / "night" / "d.png")
    assert "night: this subfolder contains images" in _problem(folder_root)


def test_hidden_files_are_left_out(folder_root):
    for kind in ("images", "labels"):
        (folder_root / "val" / kind / "._c.png").write_text("what macOS writes beside a file")
    (folder_root / "val" / "images" / ".thumbnails").mkdir()
    (folder_root / "val" / "images" / ".thumbnails" / "c.png").touch()
    assert Folder(folder_root, "val").names == ["c"]


def test_an_image_that_exif_turns_has_a_label_map_as_a_viewer_shows_it(folder_root):
    file = folder_root / "val" / "images" / "c.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    shown = np.asarray(Image.open(file))
    Image.fromarray(np.ascontiguousarray(np.rot90(shown))).save(file, exif=exif)
    assert (Folder(folder_root, "val")[0]["image"] == shown).all()
    assert check_dataset("folder", folder_root).notes == []
    _label(folder_root / "val" / "labels", "c.png", np.zeros((32, 24), dtype=np.uint8))
    assert "24x32 but its image is 32x24; rotate it to match the image" in _problem(folder_root)


@pytest.mark.parametrize("name", [b"a\nb", b"\xff"])
def test_a_name_that_tables_cannot_contain_is_refused(folder_root, name):
    for kind in ("images", "labels"):
        folder = folder_root / "val" / kind
        os.rename(folder / "c.png", os.fsencode(folder) + b"/" + name + b".png")
    with pytest.raises(DatasetError, match="rename its files in plain text") as caught:
        Folder(folder_root, "val")
    assert str(caught.value).isprintable()


def test_a_link_to_itself_is_a_missing_file(folder_root):
    file = folder_root / "val" / "images" / "c.png"
    file.unlink()
    file.symlink_to(file)
    assert "c.png: the image is missing" in _problem(folder_root)
