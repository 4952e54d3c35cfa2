import pytest

from deformlab.analysis import Measure, read_runs
from deformlab.analysis.export import markdown, text
from deformlab.analysis.published import published
from deformlab.analysis.tables import build_tables


def table(sweep, name):
    return next((table for table in build_tables(read_runs(sweep.folder)) if table.name == name), None)


def rows(sweep, name):
    return [[text(cell) for cell in row] for row in table(sweep, name).rows]


def test_table_3_has_atrous_rates_and_deformable_variants_over_seeds(sweep):
    for seed, miou in enumerate((0.44, 0.46, 0.48)):
        sweep.atrous(2, miou, seed)
    sweep.atrous(4, 0.47)
    sweep.deformable(0.485)
    sweep.run("mdcn", 0.49, model={"conv5": "modulated", "num_deformable_layers": "all"})
    found = table(sweep, "table3_atrous_against_deformable")
    assert markdown(found) == (
        "### Atrous rates against deformable convolution\n"
        "\n"
        "| Variant | Trial | mIoU (%) | Seeds |\n"
        "| :-- | :-- | --: | --: |\n"
        "| atrous, d = 2 | atrous-2 | 46.0 ± 2.0 | 3 |\n"
        "| atrous, d = 4 | atrous-4 | 47.0 | 1 |\n"
        "| deformable, 3 layers, d = 2 | deformable-2 | 48.5 | 1 |\n"
        "| modulated, all layers, d = 2 | mdcn | 49.0 | 1 |\n"
        "\n"
        "mIoU in percent after the last epoch on the validation images at their original resolution; "
        "mean ± standard deviation over seeds, no ± for a single seed.\n"
    )


@pytest.mark.parametrize(("dataset", "column"), [("voc", "V"), ("cityscapes", "C")])
def test_published_scores_stand_beside_ours_on_the_papers_data_sets(sweep, dataset, column):
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


def test_the_published_effective_dilation_stands_apart_and_says_what_it_was_measured_on(sweep):
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
    # Means 2 and 4 with deviation 1, 100 and 300 filters: mean 3.5, variance 1 + 1/4·1.5² + 3/4·0.5² = 1.75.
    sweep.deformable(seed=0, means=(2, 3, 4, 3), counts=(100,) * 4)
    sweep.deformable(seed=1, means=(4, 3, 4, 3), counts=(300,) * 4)
    found = rows(sweep, "table2_effective_dilation")
    assert [row[1] for row in found] == ["layer4.1.conv2", "layer4.0.conv2"]
    assert found[0][2] == "3.50 ± 1.32 (n = 400)"


def test_table_2_says_the_rate_for_atrous_layers(sweep):
    sweep.atrous(6)
    assert rows(sweep, "table2_effective_dilation") == [
        ["atrous-6", "layer4.1.conv2", *["6.00 ± 0.00 (n = 500)"] * 4]
    ]


def test_table_2_names_the_thresholds_of_object_size(sweep):
    sweep.deformable(thresholds=[1024, 5000])
    note = table(sweep, "table2_effective_dilation").note
    assert "small under 32² pixels, large over 5,000" in note


def test_without_effective_dilations_there_is_no_table_2(sweep):
    sweep.run("atrous-2")
    assert table(sweep, "table2_effective_dilation") is None


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
    folder = sweep.deformable(0.45, seed=3, best_miou=0.46, git_revision=None, init_from="pretrain")
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
    for found in build_tables(read_runs(sweep.folder)):
        for i, row in enumerate(found.rows):
            sources = {
                found.source(i, column)
                for column, cell in enumerate(row)
                if isinstance(cell, float | Measure)
            }
            assert sources <= {"atrous-2", "deformable-2"}, found.name


def test_effective_dilation_over_seeds_has_the_spread_of_their_means(sweep):
    sweep.atrous(2)
    sweep.deformable(seed=0, means=(2, 3, 4, 3), counts=(100,) * 4)
    assert table(sweep, "effective_dilation_over_seeds") is None
    sweep.deformable(seed=1, means=(4, 3, 4, 3), counts=(300,) * 4)
    assert rows(sweep, "effective_dilation_over_seeds")[0] == [
        "deformable-2",
        "layer4.1.conv2",
        "3.00 ± 1.41",
        "3.00 ± 0.00",
        "4.00 ± 0.00",
        "3.00 ± 0.00",
    ]


def test_the_published_numbers_ship_with_the_package():
    assert published()["dcnv1_table2"]["res5c"]["mean"] == [5.3, 5.8, 8.4, 6.2]
