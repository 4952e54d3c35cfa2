import csv

import numpy as np
import pytest

from deformlab.errors import RunFolderError
from deformlab.run_folder.objects import read_records, records_text

CLASSES = ("road", "car", "pole")


def written(records, folder):
    path = folder / "objects.csv"
    path.write_text(records_text(records, CLASSES))
    return path


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_what_is_written_is_read(tmp_path, make_records, modulated, groups):
    rows = [
        {"image": "a, b", "object": 33001, "label": 1, "area": 50, "dilation": [1.25, 2], "scale": 0.25},
        {"image": "c", "pixels": 7, "hits": 3, "false": 2, "dilation": [1 / 3, 4, 5], "distance": [2, 0, 1]},
    ]
    records = make_records(rows, ("layer4.0.conv1", "layer4.0.conv2"), modulated, groups)
    again = read_records(written(records, tmp_path), CLASSES)
    for name, ours, expected in zip(records._fields, again, records, strict=True):
        parts = (
            [(ours, expected)] if name not in ("everywhere", "inside") else zip(ours, expected, strict=True)
        )
        for part, expected_part in parts:
            if np.asarray(expected_part).dtype.kind == "f":
                np.testing.assert_allclose(part, expected_part, rtol=1e-11, err_msg=name)
            else:
                assert np.array_equal(part, expected_part), name


def test_what_was_not_predicted_stays_unknown(tmp_path, make_records):
    records = make_records([{"image": "a", "object": 1, "label": -1, "false": -1}])
    again = read_records(written(records, tmp_path), CLASSES)
    assert not again.scored
    assert again.label.tolist() == [-1]


def test_the_file_is_a_table_that_others_can_read(tmp_path, records):
    header, first, *_ = written(records, tmp_path).read_text().splitlines()
    assert header == (
        "image,object,class,box_area,mask_area,scale,pixels,hits,false_positives,"
        "conv:filters,conv:sum,conv:sum_of_squares,"
        "conv:inside_filters,conv:inside_sum,conv:inside_sum_of_squares,"
        "conv:ring0_filters,conv:ring0_sum,conv:ring1_filters,conv:ring1_sum"
    )
    assert first == "a,0,road,0,0,1,100,90,10,4,8,18,1,1,1,2,4,1,3"


def test_a_file_without_distances_is_read_and_says_so(tmp_path, records):
    path = written(records, tmp_path)
    path.write_text("".join(",".join(line.split(",")[:12]) + "\n" for line in path.read_text().splitlines()))
    again = read_records(path, CLASSES)
    assert (records.knows_border, again.knows_border) == (True, False)
    assert np.array_equal(again.everywhere.total, records.everywhere.total)
    assert again.inside.filters.sum() == again.ring_filters.size == 0
    assert records_text(again, CLASSES) == path.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,object,class\n", "has no rows"),
        ("", "lacks the column image"),
        ("[1, 2]", "lacks the column image"),
        ("\0" * 1000, "lacks the column image"),
        ("\x89PNG\r\n\x1a\n", "lacks the column image"),
        ("image,object,class\na,1,car\n", "lacks the column or class 'box_area'"),
        ("image,object,class,box_area\na,1,tram,4\n", "lacks the column or class"),
        ("image,object,class\na,1\n", "line 2 has 2 values for 3 columns"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path, text, message):
    path = tmp_path / "objects.csv"
    path.write_text(text)
    with pytest.raises(RunFolderError, match=message) as error:
        read_records(path, CLASSES)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(RunFolderError, match="no such file"):
        read_records(tmp_path / "objects.csv", CLASSES)


@pytest.mark.parametrize("name", ["=cmd.png", "+a", "@x", "'quoted", "-1", "a,b\n"])
def test_names_of_images_and_classes_are_no_formulas_and_are_read_as_they_were(tmp_path, make_records, name):
    classes = ("road", f"={name}")
    path = tmp_path / "objects.csv"
    path.write_text(
        records_text(make_records([{"image": name, "object": 1, "label": 1}]), classes), newline=""
    )
    first = next(csv.reader(path.read_text().splitlines(keepends=True)[1:]))
    assert not first[0].startswith(("=", "+", "@"))
    assert first[2].startswith("'=")
    again = read_records(path, classes)
    assert (again.image.tolist(), again.label.tolist()) == ([name], [1])


def test_a_file_that_is_cut_within_a_row_is_one_line(tmp_path, records):
    path = written(records, tmp_path)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(RunFolderError, match=r"has \d+ values for \d+ columns"):
        read_records(path, CLASSES)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("pixels", "-4", "-4 is below 0"),
        ("pixels", "", "not readable"),
        ("pixels", "9" * 40, "not readable"),
        ("pixels", "2.5", "not readable"),
        ("pixels", "1", "more hits than pixels"),
        ("hits", "", "only one of hits and false_positives"),
        ("box_area", "nan", "nan is no finite number"),
        ("scale", "inf", "inf is no finite number"),
        ("conv:sum", "-1", "-1.0 is no finite number"),
        ("conv:filters", "", "not readable"),
        ("conv:filters", "400", "neither near the border nor away from it"),
        ("conv:ring0_filters", "7", "neither near the border nor away from it"),
    ],
)
def test_a_number_that_cannot_be_is_one_line(tmp_path, records, column, value, message):
    path = written(records, tmp_path)
    header, first, *others = (line.split(",") for line in path.read_text().splitlines())
    first[header.index(column)] = value
    path.write_text("".join(",".join(line) + "\n" for line in (header, first, *others)))
    with pytest.raises(RunFolderError, match=message) as error:
        read_records(path, CLASSES)
    assert "\n" not in str(error.value)


def test_a_row_that_is_there_twice_is_one_line(tmp_path, records):
    path = written(records, tmp_path)
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(RunFolderError, match="two rows are of the same image, object and class"):
        read_records(path, CLASSES)
