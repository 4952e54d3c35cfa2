import pytest

from deformlab.analysis import Estimate, read_trials
from deformlab.analysis.export import comma_separated, markdown, text
from deformlab.analysis.published import published
from deformlab.analysis.tables import build_tables, definitions
from deformlab.run_folder import ClassScores, Evaluation, MeasuredSizes, Measurement, Score, write_evaluation


def table(sweep, name):
    return next((table for table in build_tables(read_trials(sweep.folder)) if table.name == name), None)


def rows(sweep, name):
    return [[text(cell) for cell in row] for row in table(sweep, name).rows]


def test_table_3_has_atrous_rates_and_deformable_variants_over_seeds(sweep):
    for seed, score in enumerate((0.44, 0.46, 0.48)):
        sweep.atrous(2, score, seed)
    sweep.atrous(4, 0.47)
    sweep.deformable(0.485)
    sweep.run("mdcn", 0.49, model={"conv5": "modulated", "num_deformable_layers": "all"})
    found = table(sweep, "table3_atrous_against_deformable")
    assert markdown(found.standalone()) == (
        "### Atrous rates against deformable convolution\n\n| Variant | Trial | mIoU (%) | Seeds |\n| :-- | "
        ":-- | --: | --: |\n| atrous, d = 2 | atrous-2 | 46.0 ± 2.0 | 3 |\n| atrous, d = 4 | atrous-4 | 47.0 "
        "| 1 |\n| deformable, 3 layers, d = 2 | deformable-2 | 48.5 | 1 |\n| modulated, all layers, d = 2 | "
        "mdcn | 49.0 | 1 |\n\nmIoU in percent after the last epoch, on the validation images. Mean ± "
        "standard deviation over seeds; no ± for a single seed.\n"
    )


@pytest.mark.parametrize(("dataset", "column"), [("voc", "V"), ("cityscapes", "C")])
def test_published_scores_are_beside_ours_on_the_papers_data_sets(sweep, dataset, column):
    sweep.atrous(2, dataset=dataset)
    sweep.atrous(3, dataset=dataset)
    sweep.atrous(6, dataset=dataset)
    sweep.deformable(dataset=dataset)
    sweep.deformable(dataset=dataset, trial="d1", model={"num_deformable_layers": 1})
    expected = {"V": ["69.7", "–", "73.6", "–", "75.3"], "C": ["70.4", "–", "72.7", "–", "75.2"]}[column]
    found = table(sweep, "table3_atrous_against_deformable")
    assert found.header[-1] == f"Published mIoU@{column} (%)"
    assert [text(row[-1]) for row in found.rows] == expected
    layers = table(sweep, "table1_deformable_layers")
    expected = {"V": ["69.7", "73.9", "75.2"], "C": ["70.4", "73.5", "75.2"]}[column]
    assert [text(row[-1]) for row in layers.rows] == expected


def test_no_published_scores_on_other_data_sets(sweep):
    sweep.deformable()
    assert "Published" not in " ".join(table(sweep, "table1_deformable_layers").header)
    assert table(sweep, "published_effective_dilation") is None


def test_published_effective_dilation_is_a_separate_table_that_names_its_task(sweep):
    sweep.deformable(dataset="voc")
    found = table(sweep, "published_effective_dilation")
    assert "R-FCN" in found.note
    assert "VOC 2007" in found.note
    assert [text(cell) for cell in found.rows[0]] == [
        "res5c",
        "5.3 ± 3.3",
        "5.8 ± 3.5",
        "8.4 ± 4.5",
        "6.2 ± 3.0",
    ]


def test_table_1_counts_deformable_layers_beside_the_atrous_network_of_the_same_rate(sweep):
    sweep.atrous(2, 0.40)
    sweep.atrous(4, 0.41)
    for number in ("all", 6, 3, 2, 1):
        sweep.deformable(0.45, trial=f"d{number}", model={"num_deformable_layers": number})
    found = rows(sweep, "table1_deformable_layers")
    assert [row[0] for row in found] == ["none", "1", "2", "3", "6", "all"]
    assert found[0] == ["none", "atrous", "2", "atrous-2", "40.0", "1", "11,234,567"]


def test_without_deformable_trials_there_is_no_table_1(sweep):
    sweep.atrous(2)
    assert table(sweep, "table1_deformable_layers") is None


def test_table_2_pools_filters_over_seeds_and_lists_the_last_layer_first(sweep):
    for seed, small in enumerate((2.0, 4.0)):
        sweep.measure(sweep.deformable(seed=seed), {"small": small, "large": 3.0}, noise=0)
    found = rows(sweep, "table2_effective_dilation")
    assert [row[1] for row in found] == ["layer4.1.conv2", "layer4.0.conv2"]
    assert found[0][2].startswith("3.00 ± 1.00 (n = ")
    assert found[0][3] == "–"  # no medium objects


def test_table_2_has_the_rate_of_atrous_layers(sweep):
    sweep.measure(sweep.atrous(6), rate=6)
    assert {cell.split(" (")[0] for cell in rows(sweep, "table2_effective_dilation")[0][2:]} == {
        "6.00 ± 0.00"
    }


def test_table_2_names_the_thresholds_of_object_size(sweep):
    measurement = Measurement(3, {}, MeasuredSizes((1024.0, 5000.0)))
    sweep.measure(sweep.deformable(measurement=measurement))
    note = table(sweep, "table2_effective_dilation").standalone().note
    assert "small below 32² pixels, large above 5,000" in note


def test_runs_without_records_have_no_table_by_object(sweep):
    sweep.deformable()
    names = {found.name for found in build_tables(read_trials(sweep.folder))}
    assert not {name for name in names if "dilation" in name or "place" in name}


def test_the_effect_at_the_same_position_has_a_row_per_layer_and_contrast(compared):
    found = table(compared, "same_position_effect")
    assert [row[:3] for row in found.rows] == [
        ("deformable-2", layer, contrast)
        for layer in ("layer4.1.conv2", "layer4.0.conv2")
        for contrast in ("large minus small", "large minus background")
    ]
    cells = [text(cell) for cell in found.rows[0]]
    assert cells[3].startswith("+1.49 ± 0.71 [+1.48, ")
    assert cells[4].startswith("+1.32 ± 0.71 [")
    assert cells[-1] == "24"
    assert "At the same position (cells) low" in comma_separated(found)


def test_dilation_is_beside_scores_in_the_last_layer(compared):
    found = table(compared, "dilation_and_iou_by_size")
    assert [row[0] for row in found.rows] == ["atrous-2"] * 4 + ["atrous-4"] * 4 + ["deformable-2"] * 3
    cells = dict(zip(found.header, map(text, found.rows[-2]), strict=True))
    assert (cells["Trial"], cells["Size"]) == ("deformable-2", "large")
    assert cells["Interior filters (cells)"].startswith("3.66 ± 1.41 [")
    assert (cells["Objects"], cells["Objects with filters"]) == ("24", "24")
    assert cells["Gain over atrous-2 (points)"] == "+22.7 ± 6.4 [+22.7, +22.7]"
    assert (found.row_sources[-1], found.column_sources[-1]) == ("deformable-2", "atrous-2")
    assert "IoU (%),IoU (%) std,IoU (%) low,IoU (%) high" in comma_separated(found).splitlines()[0]


def test_an_atrous_rate_has_no_interval(compared):
    assert text(table(compared, "dilation_and_iou_by_size").rows[0][2]) == "2.00"


def test_other_layers_and_classes_have_separate_tables(compared):
    layers = [row[1] for row in rows(compared, "dilation_by_layer_and_size")]
    assert layers == ["layer4.1.conv2"] * 3 + ["layer4.0.conv2"] * 3
    assert {row[1] for row in rows(compared, "dilation_and_iou_by_class")} == {"Sky", "Road_mark"}
    assert {row[0] for row in rows(compared, "size_and_dilation")} == {"deformable-2"}
    assert {row[1] for row in rows(compared, "size_and_dilation_by_class")} == {"Road_mark"}


def test_distance_from_the_border_is_a_row_per_layer(sweep):
    sizes = {"small": 2.0, "large": 2.0}
    sweep.measure(sweep.deformable(), sizes, noise=0, border=1)
    sweep.measure(sweep.atrous(2), rate=2)
    found = table(sweep, "dilation_by_distance")
    assert found.header == (
        *("Trial", "Layer", "Outermost ring", "Interior filters (cells)", "Filters", "Interior filters"),
    )
    last = ("deformable-2", "layer4.1.conv2", "3.00 [3.00, 3.00]", "2.00 [2.00, 2.00]", "2,880", "1,440")
    assert tuple(map(text, found.rows[0])) == last
    assert [row[1] for row in found.rows] == ["layer4.1.conv2", "layer4.0.conv2"]


def test_records_without_interior_filters_have_dashes(sweep):
    sweep.forget_interior(sweep.measure(sweep.deformable()))
    assert table(sweep, "dilation_by_distance") is None
    assert {row[3] for row in rows(sweep, "dilation_and_iou_by_size")} == {"–"}


def test_without_an_atrous_trial_there_is_no_gain(sweep):
    sweep.measure(sweep.deformable())
    assert not table(sweep, "dilation_and_iou_by_size").header[-1].startswith("Gain")


def test_without_a_deformable_trial_scores_by_size_remain(sweep):
    sweep.measure(sweep.atrous(2), rate=2)
    names = [found.name for found in build_tables(read_trials(sweep.folder)) if "dilation" in found.name]
    assert names == ["dilation_and_iou_by_size", "table2_effective_dilation"]


def test_scores_on_other_data_have_their_drop_seed_by_seed(sweep):
    classes = ClassScores("iou", {"Sky": 0.4, "Road_mark": 0.2})
    checkpoint = {"file": "checkpoints/last.ckpt", "epochs": 2}
    for seed, (score, fog) in enumerate(((0.5, 0.3), (0.6, 0.2), (0.7, None))):
        folder = sweep.atrous(2, score, seed)
        if fog is not None:
            write_evaluation(folder, Evaluation("fog", "val", Score("miou", fog), classes, 3, {}, checkpoint))
    sweep.atrous(4, 0.4)
    found = table(sweep, "evaluations")
    assert found.header == ("Trial", "Validation mIoU (%)", "fog: mIoU (%)", "fog: drop (points)")
    assert [tuple(map(text, row)) for row in found.rows] == [
        ("atrous-2", "60.0 ± 10.0 (n = 3)", "25.0 ± 7.1 (n = 2)", "30.0 ± 14.1 (n = 2)"),
        ("atrous-4", "40.0 (n = 1)", "–", "–"),
    ]


def test_without_evaluations_there_is_no_table_of_other_data(sweep):
    sweep.atrous(2)
    assert table(sweep, "evaluations") is None


def test_terms_are_explained_once(compared):
    terms = [term for term, _ in definitions(read_trials(compared.folder))]
    assert len(terms) == len(set(terms))
    assert {"Interior filters", "At the same position", "Gain", "mIoU"} <= set(terms)


def test_iou_per_class_has_a_dash_where_the_class_is_absent(sweep):
    sweep.atrous(2, 0.5, seed=0)
    sweep.atrous(2, 0.7, seed=1, iou={"Sky": 0.8, "Road_mark": None})
    assert rows(sweep, "iou_per_class") == [
        ["Sky", "70.0 ± 14.1"],
        ["Road_mark", "40.0"],
        ["mean", "60.0 ± 14.1"],
    ]


def test_a_class_that_no_seed_has_is_a_dash(sweep):
    sweep.atrous(2, iou={"Sky": 0.8, "Road_mark": None})
    assert rows(sweep, "iou_per_class")[1] == ["Road_mark", "–"]


def test_cost_counts_the_epochs_of_pretraining(sweep):
    sweep.run("pretrain", role="pretraining", curve=(0.1,) * 14)
    sweep.deformable(init_from="pretrain", curve=(0.1,) * 8)
    sweep.atrous(2, init_from="lost", curve=(0.1,) * 8)
    assert rows(sweep, "cost") == [
        ["atrous-2", "11,234,567", "? + 8", "30.0", "2.0", "1024"],
        ["deformable-2", "11,234,567", "14 + 8", "30.0", "2.0", "1024"],
    ]


def test_every_run_has_its_provenance(sweep):
    sweep.run("pretrain", 0.4, seed=3, role="pretraining")
    folder = sweep.deformable(0.45, seed=3, git_revision=None, init_from="pretrain")
    sweep.rewrite(folder, score=Score("miou", 0.45, 0.46))
    (folder / "config.yaml").write_text("")
    ours, before = rows(sweep, "runs")
    assert ours == [
        "deformable-2",
        "3",
        "45.0",
        "46.0",
        "unknown",
        "deformable-2-seed3/config.yaml",
        "pretrain",
        "deformlab 0.1.0, torch 2.13.0",
        "a machine, 2 cores",
        "native",
        "32-true",
    ]
    assert before[:2] == ["pretrain", "3"]
    assert before[4:6] == ["abc123", "missing"]


def test_every_number_names_its_trial(sweep):
    sweep.atrous(2)
    sweep.deformable()
    for found in build_tables(read_trials(sweep.folder)):
        for i, row in enumerate(found.rows):
            sources = {
                found.source(i, column)
                for column, cell in enumerate(row)
                if isinstance(cell, float | Estimate)
            }
            assert sources <= {"atrous-2", "deformable-2"}, found.name


def test_the_published_numbers_ship_with_the_package():
    assert published()["dcnv1_table2"]["res5c"]["mean"] == [5.3, 5.8, 8.4, 6.2]


def test_a_detectors_tables_have_ap_at_two_thresholds_beside_the_papers(sweep):
    sweep.detector("plain", {"ap50": 0.70, "ap70": 0.50})
    sweep.detector("pooling", {"ap50": 0.71, "ap70": 0.55}, roi_pooling="deformable")
    sweep.detector("conv", {"ap50": 0.72, "ap70": 0.54}, conv5="deformable")
    sweep.detector("both", {"ap50": 0.73, "ap70": 0.58}, conv5="deformable", roi_pooling="deformable")
    found = table(sweep, "table3_atrous_against_deformable")
    assert found.header == (
        *("Variant", "Trial", "AP50 (%)", "AP70 (%)", "Seeds"),
        *("Published AP50 (%)", "Published AP70 (%)"),
    )
    assert [[text(cell) for cell in row] for row in found.rows] == [
        ["atrous, d = 2", "plain", "70.0", "50.0", "1", "80.0", "61.8"],
        ["atrous, d = 2, deformable RoI pooling", "pooling", "71.0", "55.0", "1", "81.2", "65.0"],
        ["deformable, 3 layers, d = 2", "conv", "72.0", "54.0", "1", "81.4", "64.7"],
        ["deformable, 3 layers, d = 2, deformable RoI pooling", "both", "73.0", "58.0", "1", "82.6", "68.5"],
    ]
    layers = table(sweep, "table1_deformable_layers")
    # Table 1 has plain RoI pooling only.
    assert [[text(cell) for cell in row[-2:]] for row in layers.rows] == [
        ["80.0", "61.8"],
        ["–", "–"],
        ["81.4", "64.7"],
        ["–", "–"],
    ]


def test_table_5_has_every_measured_ap_and_published_columns_on_coco_only(sweep):
    scores = {"ap": 0.30, "ap50": 0.50, "ap_small": 0.10, "ap_medium": None, "ap_large": 0.45}
    sweep.detector("plain", scores, dataset="coco")
    both = {"conv5": "deformable", "roi_pooling": "deformable"}
    sweep.detector("both", scores, dataset="coco", **both)
    sweep.detector("small", scores, dataset="coco", **both | {"backbone": "resnet18"})
    found = rows(sweep, "table5_detection")
    assert table(sweep, "table5_detection").header[1:5] == (
        "AP (%)",
        "AP50 (%)",
        "AP small (%)",
        "AP large (%)",
    )
    assert [row[6:] for row in found] == [
        ["30.8", "52.6", "11.8", "44.8"],
        ["34.5", "55.0", "14.0", "50.3"],
        ["–", "–", "–", "–"],
    ]


def test_table_5_of_other_data_has_no_published_column(sweep):
    sweep.detector("plain", {"ap50": 0.7, "ap75": 0.4}, dataset="boxes")
    assert table(sweep, "table5_detection").header == ("Trial", "AP50 (%)", "AP75 (%)", "Seeds")


def test_networks_that_detect_nothing_have_no_table_5(sweep):
    sweep.atrous(2)
    assert table(sweep, "table5_detection") is None
