import pytest

from deformlab.analysis import results


def test_there_is_a_row_per_trial_seed_layer_and_size(compared):
    frame = results(compared.folder)
    keys = frame[["trial", "seed", "layer", "size"]]
    assert not keys.duplicated().any()
    # Every run has two layers of four sizes.
    assert len(frame) == 5 * 2 * 4
    (large,) = frame.query(
        "trial == 'deformable-2' and seed == 1 and layer == 'layer4.1.conv2' and size == 'large'"
    ).to_dict("records")
    assert large["score"] == pytest.approx(48)
    assert large["iou"] == pytest.approx(100 * 80 / 110)
    assert large["recall"] == pytest.approx(80)
    assert large["interior_effective_dilation"] == pytest.approx(4.66, abs=0.02)
    assert (large["filters"], large["objects"]) == (2 * large["interior_filters"], 24)


def test_a_run_without_records_has_one_row_with_its_score(sweep):
    sweep.atrous(2, 0.45)
    (row,) = results(sweep.folder).to_dict("records")
    assert (row["trial"], row["seed"], row["score"], row["layer"], row["size"]) == (
        "atrous-2",
        0,
        45,
        None,
        None,
    )


def test_seeds_and_counts_are_integers_although_some_are_missing(compared):
    compared.deformable(trial="not measured")
    frame = results(compared.folder)
    assert {str(frame[name].dtype) for name in ("seed", "filters", "objects", "parameters")} == {"Int64"}


def test_interior_filters_that_were_not_recorded_are_missing(sweep):
    sweep.forget_interior(sweep.measure(sweep.deformable()))
    frame = results(sweep.folder)
    assert frame["interior_filters"].isna().all()
    assert frame["filters"].notna().all()
