"""Records of a detector: recall by size and class, several seeds, the file and the text."""

import numpy as np
import pytest

from deformlab.errors import RunFolderError
from deformlab.records import (
    DetectionSums,
    ObjectMeasurement,
    SizeRule,
    alike,
    detection_cells,
    draws,
    join_scores,
    measurement_lines,
    merge_records,
    recall_difference,
)
from deformlab.run_folder import read_objects, write_objects

CLASSES = ["cell", "platelet"]
RULE = SizeRule((100, 400))


@pytest.fixture
def make_detector(make_records):
    """Records of a detector from rows like those of `make_records`, with the columns of `DetectionSums`."""

    def make(rows, **options):
        rows = [{"counted": int(row.get("object", 0) > 0), "false": -1, "hits": -1, **row} for row in rows]
        columns = {
            name: np.array([row.get(name, 0) for row in rows], dtype=like.dtype)
            for name, like in DetectionSums.zeros(0)._asdict().items()
        }
        return make_records(rows, **options)._replace(detections=DetectionSums(**columns))

    return make


@pytest.fixture
def detector(make_detector):
    """Image a: two small cells, one found, and a large one; image b: a large cell and a platelet."""
    found = {"found50": 1, "best_iou": 0.6, "score50": 0.9}
    well = {"found50": 1, "found70": 1, "best_iou": 0.8, "score50": 0.9, "score70": 0.9}
    return make_detector(
        [
            {"image": "a", "false50": 1, "false70": 2, "label": 0},
            {"image": "a", "object": 1, "area": 50, **found, "dilation": [1, 2]},
            {"image": "a", "object": 2, "area": 50, "best_iou": 0.1, "dilation": [2]},
            {"image": "a", "object": 3, "area": 500, **well, "dilation": [3, 4]},
            {"image": "b", "object": 1, "area": 600, **well, "dilation": [5]},
            {"image": "b", "object": 2, "area": 40, "label": 1, "dilation": [1]},
            {"image": "b", "object": 3, "area": 40, "label": 0, "counted": 0},
        ]
    )


def test_recall_by_size_and_class(detector):
    cells = detection_cells(detector, 50, RULE, 2, draws(2))
    nan = np.nan
    expected = [[1 / 2, 0, 1 / 4], [nan] * 3, [1, nan, 1], [nan] * 3]
    np.testing.assert_allclose(cells.recall, expected)
    assert cells.objects[:, -1].tolist() == [3, 0, 2, 0]
    at70 = detection_cells(detector, 70, RULE, 2, draws(2))
    np.testing.assert_allclose(at70.recall[0], [0, 0, 0])
    np.testing.assert_allclose(at70.recall[2], [1, nan, 1])
    np.testing.assert_allclose(cells.best_iou[0], [0.35, 0, 0.175])


def test_precision_by_class(detector):
    # Three cells found and one false positive; no detection of a platelet at all.
    precision = detection_cells(detector, 50, RULE, 2, draws(2)).precision
    np.testing.assert_allclose(precision, [3 / 4, np.nan, 3 / 4])
    precision = detection_cells(detector, 70, RULE, 2, draws(2)).precision
    np.testing.assert_allclose(precision, [2 / 4, np.nan, 2 / 4])


def test_intervals_resample_images(make_detector):
    rows = [
        {"image": f"{i}", "object": k, "area": 50, "found50": int(i < 5)} for i in range(10) for k in (1, 2)
    ]
    drawn = draws(10)
    cells = detection_cells(make_detector(rows), 50, RULE, 1, drawn)
    # Objects of one image are found or missed together: the share of images drawn from the first five.
    low, high = np.quantile(drawn[:, :5].sum(1) / 10, (0.025, 0.975))
    assert (cells.recall[0, 0], cells.recall_low[0, 0], cells.recall_high[0, 0]) == (0.5, low, high)


def test_recall_difference_is_paired_by_image(make_detector):
    rows = [
        {"image": f"{i}", "object": k, "area": 50, "found50": int(k <= i % 4)}
        for i in range(8)
        for k in (1, 2, 3, 4)
    ]
    better = [{**row, "found50": int(row["object"] <= int(row["image"]) % 4 + 1)} for row in rows]
    drawn = draws(8)
    cells = [detection_cells(make_detector(part), 50, RULE, 1, drawn) for part in (better, rows)]
    difference, bounds = recall_difference(*cells, drawn)
    # One more object of four in every image, so no resample differs.
    assert difference[0, 0] == 0.25
    np.testing.assert_allclose(bounds[:, 0, 0], 0.25)


def test_seeds_add_up(detector):
    merged = merge_records([detector, detector])
    for double, single in zip(merged.detections, detector.detections, strict=True):
        np.testing.assert_allclose(double, 2 * single)
    assert merged.hits.tolist() == detector.hits.tolist()
    cells = [detection_cells(records, 50, RULE, 2, draws(2)) for records in (merged, detector)]
    np.testing.assert_allclose(cells[0].recall, cells[1].recall)


def test_a_detector_is_not_merged_with_a_segmentation_network(detector):
    other = detector._replace(detections=None)
    assert not alike(detector, other)
    with pytest.raises(ValueError, match="all or none must be records of detectors"):
        merge_records([detector, other])
    with pytest.raises(ValueError, match="not those of a detector"):
        detection_cells(other, 50, RULE, 2, draws(2))


def test_renaming_and_joining_keep_the_rows_together(detector, make_detector):
    renamed = detector.named({"a": "z"})
    assert renamed.image.tolist() == ["b"] * 3 + ["z"] * 4
    assert renamed.detections.false50.tolist() == [0, 0, 0, 1, 0, 0, 0]
    filters = detector._replace(detections=None)
    only = make_detector([{"image": "a", "object": 2, "found50": 1}])
    joined = join_scores(filters, only)
    assert joined.detections.found50.tolist() == [0, 0, 1, 0, 0, 0, 0]
    assert joined.sums["all"].filters[:, 0].tolist() == [0, 2, 1, 2, 1, 1, 0]
    assert joined.hits.tolist() == [-1] * 7


def test_records_are_read_as_they_were_written(tmp_path, detector):
    write_objects(tmp_path, ObjectMeasurement(detector), CLASSES)
    again = read_objects(tmp_path, CLASSES).records
    assert again.detections._fields == detector.detections._fields
    for ours, expected in zip(again.detections, detector.detections, strict=True):
        assert ours.dtype == expected.dtype
        np.testing.assert_allclose(ours, expected, rtol=1e-11)
    assert not again.scored
    assert again.hits.tolist() == [-1] * 7
    assert again.pixels.tolist() == [0] * 7


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("found50", 1, "2", "more objects found than there are"),
        ("found70", 2, "1", "more objects found than there are"),
        ("false50", 1, "1", "an object has false positives"),
        ("counted", 0, "1", "the background has objects to find"),
        ("best_iou", 1, "1.5", "an IoU above 1"),
        ("score50", 1, "nan", "not a finite number"),
        ("found50", 1, "one", "not readable"),
    ],
)
def test_damaged_files_are_one_line(tmp_path, detector, unpack_objects, column, row, value, message):
    write_objects(tmp_path, ObjectMeasurement(detector), CLASSES)
    table = unpack_objects(tmp_path)
    lines = [line.split(",") for line in table.read_text().splitlines()]
    lines[row + 1][lines[0].index(column)] = value
    table.write_text("\n".join(",".join(line) for line in lines) + "\n")
    with pytest.raises(RunFolderError, match=message):
        read_objects(tmp_path, CLASSES)


def test_a_file_without_one_of_the_columns_is_refused(tmp_path, detector, unpack_objects):
    write_objects(tmp_path, ObjectMeasurement(detector), CLASSES)
    table = unpack_objects(tmp_path)
    table.write_text(table.read_text().replace("found70", "found75"))
    with pytest.raises(RunFolderError, match="lacks the column or class 'found70'; validate the run again"):
        read_objects(tmp_path, CLASSES)


def test_versions_without_detectors_refuse_the_file(tmp_path, detector, unpack_objects):
    """They need the column `pixels`, and say so."""
    write_objects(tmp_path, ObjectMeasurement(detector), CLASSES)
    table = unpack_objects(tmp_path)
    header = table.read_text().splitlines()[0].split(",")
    assert not {"pixels", "hits", "false_positives"} & set(header)
    assert set(DetectionSums._fields) <= set(header)


def test_the_text_shows_the_objects_found(detector):
    lines = measurement_lines(ObjectMeasurement(detector), RULE, CLASSES)
    start = next(i for i, line in enumerate(lines) if line.startswith("objects found in percent"))
    small, large = lines[start + 3].split(), lines[start + 4].split()
    assert small[:3] == ["small", "3", "25.0"]
    assert large[:3] == ["large", "2", "100.0"]
    assert all(len(line) <= 80 for line in lines)
