"""Effective dilation and scores by object size, compared between trials."""

import numpy as np
import pytest

from deformlab.analysis import ObjectComparison, read_trials
from deformlab.records import ALL, DetectionSums
from deformlab.run_folder import read_objects, read_result, write_objects

LAST = "layer4.1.conv2"


def comparison(sweep):
    return ObjectComparison(read_trials(sweep.folder).trials)


def named(found, name):
    return next(trial for trial in found.trials if trial.name == name)


def row(sweep, trial, size, label=ALL, layer=LAST, region="all"):
    found = comparison(sweep)
    rows = found.rows(named(found, trial), region)
    (only,) = [r for r in rows if (r.layer, r.size, r.label) == (layer, size, label)]
    return only


def effect(sweep, size="large", reference="small"):
    found = comparison(sweep)
    return found.effect(named(found, "deformable-2"), size, reference)


def test_seeds_are_merged_and_objects_counted_once(sweep):
    for seed, large in enumerate((3.0, 5.0)):
        sweep.measure(sweep.deformable(seed=seed), {"small": 2.0, "large": large}, noise=0)
    large = row(sweep, "deformable-2", "large")
    assert (large.dilation.value, large.objects, large.seen) == (pytest.approx(4), 24, 24)
    assert large.dilation.seeds == pytest.approx((3, 5))
    assert large.dilation.std == pytest.approx(2**0.5)


@pytest.mark.parametrize("pair", [("huge", "small"), ("small", "large"), ("large", "medium")])
def test_an_unknown_contrast_names_the_legal_ones(compared, pair):
    legal = "large-small, medium-small, background-medium, large-background"
    with pytest.raises(ValueError, match=f"one of {legal}, got {'-'.join(pair)}"):
        effect(compared, *pair)


@pytest.mark.parametrize("rows", ["rows", "last_layer", "correlations"])
def test_an_unknown_region_names_the_legal_ones(compared, rows):
    found = comparison(compared)
    with pytest.raises(ValueError, match="region must be one of all, interior, got 'outer'"):
        getattr(found, rows)(found.trials[0], "outer")


@pytest.mark.parametrize("name", ["rule", "thresholds", "images"])
def test_a_comparison_of_no_trials_says_that_it_needs_one(name):
    with pytest.raises(ValueError, match="needs at least one trial"):
        getattr(ObjectComparison([]), name)


def test_intervals_come_from_resampling_images(sweep):
    sweep.measure(sweep.deformable(), {"small": 2.0, "large": 3.0}, noise=0.2)
    found = row(sweep, "deformable-2", "large").dilation
    # The mean of 24 images with a deviation of 0.2.
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.2 / 24**0.5, rel=0.4)
    assert found.low < found.value < found.high


def test_a_region_selects_the_filters(sweep):
    sweep.measure(sweep.deformable(), {"small": 2.0, "large": 4.0}, noise=0, border=1)
    all_ = row(sweep, "deformable-2", "large")
    interior = row(sweep, "deformable-2", "large", region="interior")
    # Half of the filters are near the border and look a cell further.
    assert (all_.dilation.value, interior.dilation.value) == pytest.approx((4.5, 4))
    assert all_.filters == 2 * interior.filters


def test_rings_are_by_distance_from_the_border(sweep):
    for seed, border in enumerate((1.0, 2.0)):
        sizes = {"small": 2.0, "large": 2.0}
        sweep.measure(sweep.deformable(seed=seed), sizes, noise=0, border=border)
    found = comparison(sweep)
    rows = found.rings(found.trials[0])
    assert [(r.layer, r.distance, r.interior) for r in rows] == [
        (LAST, 0, False),
        (LAST, 2, True),
        ("layer4.0.conv2", 0, False),
        ("layer4.0.conv2", 2, True),
    ]
    assert [r.filters for r in rows] == [2 * 24 * 60] * 4
    assert rows[0].dilation.seeds == pytest.approx((3, 4))
    assert (rows[0].dilation.value, rows[1].dilation.value) == pytest.approx((3.5, 2))


def test_correlation_is_by_region_and_averages_seeds_per_object(sweep):
    for seed in range(2):
        sweep.measure(sweep.deformable(seed=seed), {"small": 2.0, "medium": 3.0, "large": 4.0}, noise=0)
    found = comparison(sweep)
    for region in ("all", "interior"):
        first, *others = found.correlations(found.trials[0], region)
        assert (first.layer, first.label, first.spearman.value) == (LAST, ALL, pytest.approx(1))
        assert (first.objects, first.spearman.seeds) == (72, pytest.approx((1, 1)))
        assert {r.label for r in others} == {ALL, "Road_mark"}


def test_constant_effective_dilation_has_no_correlation(sweep):
    sweep.measure(sweep.atrous(2), rate=2)
    found = comparison(sweep)
    assert {r.spearman for r in found.correlations(found.trials[0], "all")} == {None}


def test_effective_dilation_of_an_atrous_network_is_its_rate(compared):
    small = row(compared, "atrous-4", "small").dilation
    assert (small.value, small.low, small.high) == (4, 4, 4)
    assert row(compared, "atrous-4", "small").std == 0


def test_the_gain_is_relative_to_the_best_atrous_trial(compared):
    assert comparison(compared).baseline.name == "atrous-2"
    large = row(compared, "deformable-2", "large")
    assert large.recall.value == pytest.approx(75)
    assert large.iou.value == pytest.approx(100 * 75 / 110)
    assert large.gain.value == pytest.approx(100 * (75 - 50) / 110)
    # Every image gains the same, so that the paired interval has no width.
    assert large.gain.low == pytest.approx(large.gain.high)
    assert large.gain.seeds == pytest.approx((100 * 20 / 110, 100 * 30 / 110))
    assert row(compared, "deformable-2", "background", "Sky").iou.value == pytest.approx(57, abs=0.1)
    assert row(compared, "atrous-2", "large").gain is None


def test_the_gain_of_a_seed_is_relative_to_the_baseline_of_the_same_seed(compared):
    compared.measure(compared.deformable(0.47, seed=7), {"small": 2.0, "large": 2.0})
    gain = row(compared, "deformable-2", "large").gain
    assert gain.seeds[:2] == pytest.approx((100 * 20 / 110, 100 * 30 / 110))
    assert gain.seeds[2] is None


def test_objects_without_filters_are_still_scored(sweep, unpack_objects):
    folder = sweep.measure(sweep.deformable(), {"small": 2.0, "large": 3.0}, positions=False)
    path = unpack_objects(folder)
    lines = path.read_text().splitlines()
    unseen = [
        ",".join(line.split(",")[:9] + ["0"] * (len(line.split(",")) - 9)) if ",1,Road" in line else line
        for line in lines
    ]
    path.write_text("\n".join(unseen) + "\n")
    small = row(sweep, "deformable-2", "small")
    assert (small.dilation, small.std, small.filters, small.seen, small.objects) == (None, None, 0, 0, 24)
    assert small.recall.value == pytest.approx(50)


def test_the_effect_at_the_same_position_leaves_out_what_position_explains(sweep):
    # Small objects are where filters look further; size itself does nothing.
    for seed in range(2):
        sweep.measure(
            sweep.deformable(seed=seed), {"small": 4.0, "large": 4.0, "background": 4.0}, place=-2.0
        )
    found = effect(sweep)
    assert found.controlled.value == pytest.approx(0, abs=0.03)
    assert found.controlled.low < 0 < found.controlled.high
    assert found.raw.value < -0.3
    assert found.position_share > 0.9
    assert found.images == 24


def test_the_effect_at_the_same_position_keeps_what_size_explains(sweep):
    sweep.measure(sweep.deformable(), {"small": 4.0, "large": 5.0, "background": 4.0}, place=-2.0)
    assert effect(sweep).controlled.value == pytest.approx(1, abs=0.05)
    assert effect(sweep).raw.value < 0.7


def test_the_effect_of_several_seeds_is_their_mean(sweep):
    for seed, large in enumerate((3.0, 4.0)):
        sweep.measure(sweep.deformable(seed=seed), {"small": 2.0, "large": large})
    found = effect(sweep).controlled
    assert found.seeds == pytest.approx((1, 2), abs=0.05)
    assert found.value == pytest.approx(np.mean(found.seeds))


def test_a_size_that_no_image_has_has_no_effect(sweep):
    sweep.measure(sweep.deformable(), {"small": 2.0, "large": 3.0})
    found = effect(sweep, "medium", "small")
    assert (found.controlled, found.raw) == (None, None)


def test_without_positions_of_every_seed_there_is_no_effect(sweep):
    for seed in range(2):
        sweep.measure(sweep.deformable(seed=seed), {"small": 2.0, "large": 3.0}, positions=seed == 0)
    assert effect(sweep) is None


def test_records_without_interior_filters_are_still_compared(sweep):
    sweep.forget_interior(sweep.measure(sweep.deformable(), {"small": 2.0, "large": 3.0}, noise=0))
    assert row(sweep, "deformable-2", "large").dilation.value == pytest.approx(3)
    interior = row(sweep, "deformable-2", "large", region="interior")
    assert (interior.dilation, interior.filters) == (None, None)
    found = comparison(sweep)
    assert not found.records_interior(found.trials[0])
    assert found.rings(found.trials[0]) == []
    assert found.correlations(found.trials[0], "interior")[0].objects is None


def test_a_trial_with_incompatible_seeds_is_left_out(compared):
    compared.forget_interior(compared.folder / "deformable-2-seed1")
    assert [trial.name for trial in comparison(compared).trials] == ["atrous-2", "atrous-4"]
    assert [trial.name for trial in comparison(compared).incompatible] == ["deformable-2"]


def test_a_trial_on_other_images_is_left_out(compared):
    compared.measure(compared.atrous(8), rate=8, prefix="other")
    assert [trial.name for trial in comparison(compared).trials] == ["atrous-2", "atrous-4", "deformable-2"]
    assert [trial.name for trial in comparison(compared).other_images] == ["atrous-8"]


def test_a_trial_with_a_seed_without_records_is_left_out(compared):
    (compared.folder / "deformable-2-seed1" / "objects.csv.gz").unlink()
    assert [trial.name for trial in comparison(compared).trials] == ["atrous-2", "atrous-4"]


def test_a_detectors_recall_counts_objects_and_its_gain_is_over_plain_pooling(sweep):
    for trial, found, score in (("plain", 1, 0.5), ("pooled", 2, 0.6)):
        pooling = "plain" if trial == "plain" else "deformable"
        for seed in range(2):
            folder = sweep.detector(trial, {"ap": score}, seed=seed, roi_pooling=pooling)
            sweep.measure(folder, rate=2)
            result = read_result(folder)
            measured = read_objects(folder, result.classes)
            records = measured.records
            is_large = records.object == 3
            sums = DetectionSums.zeros(len(records.object))._replace(
                counted=records.is_object.astype(np.int64),
                # Of the 24 large objects, every second one or all are found.
                found50=(is_large & (np.cumsum(is_large) % (3 - found) == 0)).astype(np.int64),
                best_iou=np.where(records.is_object, 0.7, 0.0),
            )
            nothing = np.full(len(records.object), -1)
            records = records._replace(
                detections=sums, pixels=0 * nothing, hits=nothing, false_positives=nothing
            )
            write_objects(folder, measured._replace(records=records), result.classes)
    comparison = read_trials(sweep.folder).by_object
    assert comparison.baseline.name == "plain"
    rows = {
        (row.trial, row.size): row
        for trial in comparison.trials
        for row in comparison.rows(trial, "all")
        if row.label == ALL and row.layer == trial.layers[0]
    }
    assert rows["plain", "large"].objects == 24  # the same objects in both seeds
    assert rows["plain", "large"].recall.value == pytest.approx(50)
    assert rows["pooled", "large"].recall.value == pytest.approx(100)
    assert rows["pooled", "large"].gain.value == pytest.approx(50)
    assert rows["pooled", "small"].recall.value == 0
    assert rows["pooled", "large"].iou.value == pytest.approx(70)
