import csv
import gzip

import numpy as np
import pandas as pd
import pytest

from deformlab.errors import RunFolderError
from deformlab.records import REGIONS, ObjectMeasurement, PositionRecords, SizeRule
from deformlab.run_folder import objects_path, read_objects, write_objects

CLASSES = ("road", "car", "pole")


def positions_of(records, dilation=(1.5, 2, 2.5)):
    """Three filters of the layer in two images."""
    return PositionRecords(
        layer="conv",
        images=np.array(records.images),
        map_size=np.array([[9, 9], [9, 12]]),
        image=np.array([0, 0, 1]),
        position=np.array([40, 41, 100]),
        dilation=np.array(dilation, dtype=np.float32),
        object=np.array([1, 0, 2]),
        label=np.array([1, -1, 0]),
    )


def written(records, folder, positions=()):
    write_objects(folder, ObjectMeasurement(records, tuple(positions)), CLASSES)
    return folder / "objects.csv.gz"


@pytest.fixture
def table(tmp_path, records, unpack_objects):
    """The records as a table that a test can edit, without a digest of it."""
    written(records, tmp_path)
    return unpack_objects(tmp_path)


def assert_same_records(ours, expected):
    for name, column, other in zip(expected._fields, ours, expected, strict=True):
        parts = [(column, other)]
        if name == "sums":
            parts = [pair for region in REGIONS for pair in zip(column[region], other[region], strict=True)]
        for part, expected_part in parts:
            if np.asarray(expected_part).dtype.kind == "f":
                np.testing.assert_allclose(part, expected_part, rtol=1e-11, err_msg=name)
            else:
                assert np.array_equal(part, expected_part), name


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_records_are_read_as_they_were_written(tmp_path, make_records, modulated, groups):
    rows = [
        {"image": "a, b", "object": 33001, "label": 1, "area": 50, "dilation": [1.25, 2], "scale": 0.25},
        {"image": "c", "pixels": 7, "hits": 3, "false": 2, "dilation": [1 / 3, 4, 5], "distance": [2, 0, 1]},
    ]
    records = make_records(rows, ("layer4.0.conv1", "layer4.0.conv2"), modulated, groups)
    written(records, tmp_path)
    assert_same_records(read_objects(tmp_path, CLASSES).records, records)


def test_an_object_whose_size_is_a_threshold_has_the_same_size_when_it_is_read(tmp_path, make_records):
    objects = enumerate((7, 5, 3, 1), start=1)
    records = make_records([{"image": "a", "object": i, "area": area, "scale": 1 / 9} for i, area in objects])
    written(records, tmp_path)
    again = read_objects(tmp_path, CLASSES).records
    rule = SizeRule("thirds", pixels="network")
    recorded = SizeRule.from_description(rule.describe(records, "mask"))
    assert recorded.sizes(again).tolist() == rule.sizes(records).tolist()


def test_unpredicted_scores_stay_unknown(tmp_path, make_records):
    written(make_records([{"image": "a", "object": 1, "label": -1, "false": -1}]), tmp_path)
    again = read_objects(tmp_path, CLASSES).records
    assert not again.scored
    assert again.label.tolist() == [-1]


def test_the_file_is_a_table_that_others_can_read(tmp_path, records):
    header, first, *_ = gzip.decompress(written(records, tmp_path).read_bytes()).decode().splitlines()
    assert header == (
        "image,object,class,box_area,mask_area,scale,pixels,hits,false_positives,"
        "conv:filters,conv:sum,conv:sum_of_squares,"
        "conv:interior_filters,conv:interior_sum,conv:interior_sum_of_squares,"
        "conv:ring0_filters,conv:ring0_sum,conv:ring1_filters,conv:ring1_sum"
    )
    assert first == "a,0,road,0,0,1,100,90,10,4,8,18,1,1,1,2,4,1,3"


def test_pandas_reads_the_file_as_it_is(tmp_path, records):
    table = pd.read_csv(written(records, tmp_path))
    assert table["conv:sum"].tolist() == pytest.approx(records.sums["all"].total[:, 0])


def test_the_file_has_neither_a_time_nor_a_name(tmp_path, records):
    path = written(records, tmp_path)
    content = path.read_bytes()
    assert content[:10] == b"\x1f\x8b\x08\0" + bytes(4) + b"\x02\xff"
    assert written(records, tmp_path / "other").read_bytes() == content


def test_the_table_of_an_older_version_is_read_and_replaced(tmp_path, records, unpack_objects):
    written(records, tmp_path, [positions_of(records)])
    older = unpack_objects(tmp_path)
    assert objects_path(tmp_path) == older
    again = read_objects(tmp_path, CLASSES)
    assert_same_records(again.records, records)
    assert len(again.positions) == 1
    path = written(records, tmp_path, [positions_of(records)])
    assert objects_path(tmp_path) == path
    assert not older.exists()


def test_of_two_tables_the_compressed_one_counts(tmp_path, records):
    written(records, tmp_path)
    (tmp_path / "objects.csv").write_text("of an older validation")
    assert_same_records(read_objects(tmp_path, CLASSES).records, records)


def test_columns_of_measurement_version_2_are_read(tmp_path, records, table):
    table.write_text(table.read_text().replace(":interior_", ":inside_"))
    assert_same_records(read_objects(tmp_path, CLASSES).records, records)


def test_a_file_without_interior_filters_is_read_and_says_so(tmp_path, records, table):
    lines = [",".join(line.split(",")[:12]) for line in table.read_text().splitlines()]
    table.write_text("".join(line + "\n" for line in lines))
    old = table.read_bytes()
    again = read_objects(tmp_path, CLASSES).records
    assert (records.has_interior, again.has_interior) == (True, False)
    assert np.array_equal(again.sums["all"].total, records.sums["all"].total)
    assert again.sums["interior"].filters.sum() == again.ring_filters.size == 0
    assert gzip.decompress(written(again, tmp_path).read_bytes()) == old


def test_positions_are_read_as_they_were_written(tmp_path, records):
    positions = positions_of(records)
    written(records, tmp_path, [positions])
    (again,) = read_objects(tmp_path, CLASSES).positions
    for name, ours, expected in zip(positions._fields, again, positions, strict=True):
        assert np.array_equal(ours, expected), name


def test_equal_positions_give_equal_bytes(tmp_path, records):
    for folder in ("one", "other"):
        written(records, tmp_path / folder, [positions_of(records)])
    one, other = ((tmp_path / folder / "positions.npz").read_bytes() for folder in ("one", "other"))
    assert one == other


def test_a_network_without_deformable_layers_has_no_positions(tmp_path, records):
    written(records, tmp_path, [positions_of(records)])
    written(records, tmp_path)
    assert read_objects(tmp_path, CLASSES).positions == ()
    assert not (tmp_path / "positions.npz").exists()


def test_a_table_without_its_last_row_is_refused(tmp_path, records, unpack_objects):
    written(records, tmp_path, [positions_of(records)])
    path = unpack_objects(tmp_path)
    shorter = "".join(path.read_text().splitlines(keepends=True)[:-1])
    path.write_text(shorter)
    message = r"positions\.npz: belongs to another validation than objects\.csv;"
    with pytest.raises(RunFolderError, match=message):
        read_objects(tmp_path, CLASSES)
    (tmp_path / "objects.csv.gz").write_bytes(gzip.compress(shorter.encode()))
    with pytest.raises(
        RunFolderError, match=r"positions\.npz: belongs to another validation than objects\.csv\.gz"
    ):
        read_objects(tmp_path, CLASSES)


@pytest.mark.parametrize("cut", [1, 8, 9, 60])
def test_a_compressed_table_that_is_cut_is_one_line(tmp_path, records, cut):
    path = written(records, tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(RunFolderError, match=r"objects\.csv\.gz: not readable as CSV") as error:
        read_objects(tmp_path, CLASSES)
    assert "\n" not in str(error.value)


def test_every_changed_byte_of_the_compressed_rows_is_noticed(tmp_path, records):
    path = written(records, tmp_path)
    content = path.read_bytes()
    for position in range(10, len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :])
        with pytest.raises(RunFolderError, match=r"objects\.csv\.gz: "):
            read_objects(tmp_path, CLASSES)


def test_positions_of_another_validation_are_refused(tmp_path, records):
    written(records, tmp_path, [positions_of(records)])
    kept = (tmp_path / "positions.npz").read_bytes()
    written(records._replace(hits=records.hits * 0), tmp_path, [positions_of(records)])
    (tmp_path / "positions.npz").write_bytes(kept)
    with pytest.raises(
        RunFolderError, match=r"positions\.npz: belongs to another validation than objects\.csv\.gz"
    ):
        read_objects(tmp_path, CLASSES)


@pytest.mark.parametrize("content", [b"", b"PK", b"\0" * 1000])
def test_positions_that_are_no_archive_are_one_line(tmp_path, records, content):
    written(records, tmp_path, [positions_of(records)])
    (tmp_path / "positions.npz").write_bytes(content)
    with pytest.raises(RunFolderError, match=r"positions\.npz: not readable") as error:
        read_objects(tmp_path, CLASSES)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cut", [100, 500, 1200])
def test_positions_that_are_cut_are_one_line(tmp_path, records, cut):
    written(records, tmp_path, [positions_of(records)])
    path = tmp_path / "positions.npz"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(RunFolderError, match=r"positions\.npz: not readable"):
        read_objects(tmp_path, CLASSES)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"position": np.array([40, 81, 100])}, "outside its map"),
        ({"image": np.array([0, 0, 2])}, "in no image"),
        ({"position": np.array([41, 40, 100])}, "not sorted"),
        ({"dilation": np.array([1, np.nan, 2], dtype=np.float32)}, "not a number of cells"),
        ({"object": np.array([1, -1, 2])}, "below 0"),
        ({"label": np.array([1, 1])}, "not columns of one length"),
        ({"map_size": np.ones((3, 2), dtype=int)}, "do not fit"),
    ],
)
def test_positions_that_cannot_be_are_one_line(tmp_path, records, changed, message):
    written(records, tmp_path, [positions_of(records)._replace(**changed)])
    with pytest.raises(RunFolderError, match=message) as error:
        read_objects(tmp_path, CLASSES)
    assert "\n" not in str(error.value)


def test_positions_of_other_images_are_refused(tmp_path, records):
    written(records, tmp_path, [positions_of(records)._replace(images=np.array(["a", "x"]))])
    with pytest.raises(RunFolderError, match=r"images or layers that are not in objects\.csv\.gz"):
        read_objects(tmp_path, CLASSES)


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
@pytest.mark.parametrize("name", ["objects.csv", "objects.csv.gz"])
def test_a_broken_file_is_one_line(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    with pytest.raises(RunFolderError, match=message) as error:
        read_objects(tmp_path, CLASSES)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(RunFolderError, match="no such file"):
        read_objects(tmp_path, CLASSES)


@pytest.mark.parametrize("name", ["=cmd.png", "+a", "@x", "'quoted", "-1", "a,b\n"])
def test_names_of_images_and_classes_are_no_formulas_and_are_read_as_they_were(tmp_path, make_records, name):
    classes = ("road", f"={name}")
    measurement = ObjectMeasurement(make_records([{"image": name, "object": 1, "label": 1}]))
    write_objects(tmp_path, measurement, classes)
    with gzip.open(tmp_path / "objects.csv.gz", "rt", newline="") as file:
        _, first = csv.reader(file)
    assert not first[0].startswith(("=", "+", "@"))
    assert first[2].startswith("'=")
    again = read_objects(tmp_path, classes).records
    assert (again.image.tolist(), again.label.tolist()) == ([name], [1])


def test_a_file_that_is_cut_within_a_row_is_one_line(tmp_path, table):
    table.write_text(table.read_text()[:-20])
    with pytest.raises(RunFolderError, match=r"has \d+ values for \d+ columns"):
        read_objects(tmp_path, CLASSES)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("pixels", "-4", "-4 is below 0"),
        ("pixels", "", "not readable"),
        ("pixels", "9" * 40, "not readable"),
        ("pixels", "2.5", "not readable"),
        ("pixels", "1", "more hits than pixels"),
        ("hits", "", "only one of hits and false_positives"),
        ("box_area", "nan", "nan is not a finite number"),
        ("scale", "inf", "inf is not a finite number"),
        ("conv:sum", "-1", "-1.0 is not a finite number"),
        ("conv:filters", "", "not readable"),
        ("conv:filters", "400", "neither interior nor in a ring"),
        ("conv:ring0_filters", "7", "neither interior nor in a ring"),
    ],
)
def test_a_number_that_cannot_be_is_one_line(tmp_path, table, column, value, message):
    header, first, *others = (line.split(",") for line in table.read_text().splitlines())
    first[header.index(column)] = value
    table.write_text("".join(",".join(line) + "\n" for line in (header, first, *others)))
    with pytest.raises(RunFolderError, match=message) as error:
        read_objects(tmp_path, CLASSES)
    assert "\n" not in str(error.value)


def test_a_row_that_is_there_twice_is_one_line(tmp_path, table):
    table.write_text(table.read_text() + table.read_text().splitlines()[1] + "\n")
    with pytest.raises(RunFolderError, match="two rows have the same image, object and class"):
        read_objects(tmp_path, CLASSES)
