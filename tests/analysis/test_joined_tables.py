from deformlab.analysis.joined_tables import joined_tables

from deformlab.analysis import read_runs
from deformlab.analysis.export import comma_separated, text


def tables(sweep):
    return {table.name: table for table in joined_tables(read_runs(sweep.folder).joined)}


def test_dilation_stands_beside_scores_in_the_last_layer(compared):
    table = tables(compared)["dilation_and_iou_by_size"]
    assert [row[0] for row in table.rows] == ["atrous-2"] * 3 + ["atrous-4"] * 3 + ["deformable-2"] * 3
    cells = [text(cell) for cell in table.rows[-2]]
    assert cells[:2] == ["deformable-2", "large"]
    assert cells[2].startswith("4.25 ± 1.77 [")
    assert cells[3:8] == ["4.25 ± 1.77 [4.00, 4.50]", "24", "12", "3", "3"]
    assert cells[10] == "+22.7 ± 6.4 [+22.7, +22.7]"
    assert table.header[-1] == "Gain over atrous-2 (points)"
    assert (table.row_sources[-1], table.column_sources[-1]) == ("deformable-2", "atrous-2")


def test_an_atrous_rate_is_no_estimate(compared):
    assert text(tables(compared)["dilation_and_iou_by_size"].rows[0][2]) == "2.00"


def test_other_layers_and_classes_have_tables_of_their_own(compared):
    found = tables(compared)
    layers = [row[1] for row in found["dilation_by_layer_and_size"].rows]
    assert layers == ["layer4.1.conv2"] * 3 + ["layer4.0.conv2"] * 3
    assert {row[1] for row in found["dilation_and_iou_by_class"].rows} == {"Sky", "Road_mark"}
    assert {row[0] for row in found["size_and_dilation"].rows} == {"deformable-2"}
    assert {row[1] for row in found["size_and_dilation_by_class"].rows} == {"Road_mark"}


def test_distance_from_the_border_is_a_row_per_layer(sweep):
    sweep.add_objects(sweep.deformable(), dilation=(2.0, 2.0), border=(1, 1, 1))
    sweep.add_objects(sweep.atrous(2))
    table = tables(sweep)["dilation_by_distance"]
    assert table.header == (
        "Trial",
        "Layer",
        "Outermost ring",
        "Away from the border (cells)",
        "Filters",
        "Filters away from it",
    )
    last = ("deformable-2", "layer4.1.conv2", "3.00 [3.00, 3.00]", "2.00 [2.00, 2.00]", "168", "84")
    assert tuple(map(text, table.rows[0])) == last
    assert [row[1] for row in table.rows] == ["layer4.1.conv2", "layer4.0.conv2"]


def test_records_without_distances_have_dashes_and_no_such_table(sweep):
    sweep.forget_distances(sweep.add_objects(sweep.deformable()))
    found = tables(sweep)
    assert "dilation_by_distance" not in found
    assert [row[3] for row in found["dilation_and_iou_by_size"].rows] == [None] * 3


def test_values_spreads_and_bounds_are_columns_of_the_csv(compared):
    header = comma_separated(tables(compared)["dilation_and_iou_by_size"]).splitlines()[0]
    assert "IoU (%),IoU (%) std,IoU (%) low,IoU (%) high" in header


def test_without_an_atrous_trial_there_is_no_gain(sweep):
    sweep.add_objects(sweep.deformable())
    assert not tables(sweep)["dilation_and_iou_by_size"].header[-1].startswith("Gain")


def test_without_a_deformable_trial_scores_are_left(sweep):
    sweep.add_objects(sweep.atrous(2))
    assert list(tables(sweep)) == ["dilation_and_iou_by_size"]


def test_runs_of_an_older_version_have_no_such_table(sweep):
    sweep.atrous(2)
    sweep.deformable()
    assert tables(sweep) == {}
