"""The joined table: how far the network looks on objects of a size, and what it gains there."""

import json

import pytest

from deformlab.analysis import Joined, read_runs


def joined(sweep):
    return Joined(read_runs(sweep.folder).trials)


def row(sweep, trial, size, label="all", layer="layer4.1.conv2"):
    found = joined(sweep)
    (trial,) = [candidate for candidate in found.trials if candidate.name == trial]
    (only,) = [r for r in found.rows(trial) if (r.layer, r.size, r.label) == (layer, size, label)]
    return only


def test_seeds_are_put_together_and_objects_counted_once(compared):
    large = row(compared, "deformable-2", "large")
    # Seed 0: 3; seed 1: 5, 5.5 and 6; four filters an object.
    assert large.dilation.value == pytest.approx((3 * 3 + 5 + 5.5 + 6) / 6)
    assert large.dilation.low == pytest.approx(4, abs=0.1)
    assert large.dilation.high == pytest.approx(4.5, abs=0.1)
    assert (large.filters, large.objects, large.seen) == (24, 3, 3)


def test_filters_away_from_the_border_stand_beside_all(sweep):
    sweep.add_objects(sweep.deformable(), dilation=(2.0, 4.0), border=(0, 0, 1))
    large = row(sweep, "deformable-2", "large")
    # Of the four filters on each large object two are near the border and look a cell further.
    assert (large.dilation.value, large.inside.value) == (4.5, 4)
    assert (large.filters, large.inside_filters) == (12, 6)
    assert (large.inside.low, large.inside.high, large.inside.seeds) == (4, 4, (4,))


def test_distance_from_the_border_by_layer(sweep):
    for seed, border in enumerate((1.0, 2.0)):
        sweep.add_objects(sweep.deformable(seed=seed), dilation=(2.0, 2.0), border=(border,) * 3)
    found = joined(sweep)
    rows = found.border(found.trials[0])
    assert [(r.layer, r.distance, r.inside) for r in rows] == [
        ("layer4.1.conv2", 0, False),
        ("layer4.1.conv2", 2, True),
        ("layer4.0.conv2", 0, False),
        ("layer4.0.conv2", 2, True),
    ]
    # An image has 50 filters on the background, 2 and 4 on its objects: half of them in the outermost ring.
    assert [r.filters for r in rows] == [2 * 3 * 28] * 4
    assert rows[0].dilation.seeds == (3, 4)
    assert (rows[0].dilation.value, rows[1].dilation.value) == (3.5, 2)


def test_correlation_away_from_the_border(sweep):
    # Large objects look less far inside, but so much further at the border that they seem to look further.
    sweep.add_objects(sweep.deformable(), dilation=(3.0, 2.0), border=(0, 0, 6))
    found = joined(sweep)
    only = next(r for r in found.correlations(found.trials[0]) if r.label == "all")
    assert (only.spearman.value, only.inside.value) == (pytest.approx(1), pytest.approx(-1))
    assert (only.objects, only.inside_objects) == (6, 6)


def test_an_atrous_network_says_its_rate(compared):
    small = row(compared, "atrous-4", "small")
    assert (small.dilation.value, small.dilation.low, small.dilation.high, small.std) == (4, 4, 4, 0)


def test_the_gain_is_over_the_best_atrous_trial(compared):
    assert joined(compared).baseline.name == "atrous-2"
    large = row(compared, "deformable-2", "large")
    assert large.recall.value == pytest.approx(75)
    assert large.iou.value == pytest.approx(100 * 75 / 110)
    assert large.gain.value == pytest.approx(100 * (75 - 50) / 110)
    # Every image gains the same, so that the paired interval has no width.
    assert large.gain.low == pytest.approx(large.gain.high)
    assert row(compared, "deformable-2", "small").gain.value == 0
    assert row(compared, "deformable-2", "background", "Sky").iou.value == pytest.approx(57, abs=0.1)
    assert row(compared, "atrous-2", "large").gain is None
    assert row(compared, "atrous-4", "large").gain.value > 0


def test_each_seed_stands_beside_all_of_them(compared):
    large = row(compared, "deformable-2", "large")
    assert large.dilation.seeds == pytest.approx((3, 5.5))
    assert large.dilation.std == pytest.approx(2.5 / 2**0.5)
    assert large.gain.seeds == pytest.approx((100 * 20 / 110, 100 * 30 / 110))
    assert row(compared, "atrous-4", "large").dilation.std is None


def test_a_seed_gains_over_the_baseline_of_the_same_seed_only(compared):
    compared.add_objects(compared.deformable(0.47, seed=7))
    gain = row(compared, "deformable-2", "large").gain
    assert gain.seeds[:2] == pytest.approx((100 * 20 / 110, 100 * 30 / 110))
    assert gain.seeds[2] is None


def test_objects_between_the_filters_are_scored_all_the_same(sweep):
    path = sweep.add_objects(sweep.deformable()) / "objects.csv"
    (path.parent / "effective_dilation.csv").unlink()
    lines = path.read_text().splitlines()
    unseen = [",".join(line.split(",")[:9] + ["0"] * 20) if ",1,Road" in line else line for line in lines]
    path.write_text("\n".join(unseen) + "\n")
    small = row(sweep, "deformable-2", "small")
    assert (small.dilation, small.std, small.filters, small.seen, small.objects) == (None, None, 0, 0, 3)
    assert small.recall.value == pytest.approx(50)


def test_correlation_averages_seeds_per_object(compared):
    found = joined(compared)
    rows = {(r.layer, r.label): r for r in found.correlations(found.trials[-1])}
    # Small 2.5, 2.75, 3; large 4, 4.25, 4.5: large objects of equal area above all small ones.
    assert rows["layer4.1.conv2", "all"].spearman.value == pytest.approx(0.878, abs=1e-3)
    assert rows["layer4.1.conv2", "all"].objects == 6
    assert {r.spearman for r in found.correlations(found.trials[0])} == {None}


def test_the_report_has_them(compared):
    from deformlab.analysis import write_report

    report = write_report(compared.folder)
    assert report.table("dilation_and_iou_by_size") is not None
    assert not [line for line in report.warnings if "object" in line]


def test_records_without_distances_are_joined_all_the_same(compared):
    for folder in compared.folder.iterdir():
        compared.forget_distances(folder)
    large = row(compared, "deformable-2", "large")
    assert large.dilation.value == pytest.approx((3 * 3 + 5 + 5.5 + 6) / 6)
    assert (large.inside, large.inside_filters) == (None, None)
    found = joined(compared)
    assert not found.knows_border(found.trials[-1])
    assert found.border(found.trials[-1]) == []


def test_a_trial_whose_seeds_do_not_go_together_is_left_out(compared):
    compared.forget_distances(compared.folder / "deformable-2-seed1")
    assert [trial.name for trial in joined(compared).trials] == ["atrous-2", "atrous-4"]
    assert [trial.name for trial in joined(compared).unlike] == ["deformable-2"]


def test_a_trial_on_other_images_is_left_out(compared):
    compared.add_objects(compared.atrous(8), images=("x", "y"))
    assert [trial.name for trial in joined(compared).trials] == ["atrous-2", "atrous-4", "deformable-2"]
    assert [trial.name for trial in joined(compared).elsewhere] == ["atrous-8"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("objects.csv", "\0\n", "objects.csv: lacks the column image"),
        ("objects.csv", None, "objects.csv: no such file"),
        ("objects.json", "{", "objects.json: not readable"),
        (
            "objects.json",
            json.dumps({"version": 99, "rule": {}}),
            "is of version 99, this deformlab reads 2 and 3",
        ),
        ("objects.json", json.dumps({"version": 2}), "not readable as a summary of objects"),
        ("objects.json", None, "objects.json: no such file"),
    ],
)
def test_a_broken_file_is_named_and_the_rest_is_reported(compared, name, text, message):
    path = compared.folder / "deformable-2-seed1" / name
    path.unlink() if text is None else path.write_text(text)
    runs = read_runs(compared.folder)
    (warning,) = runs.warnings
    assert warning.startswith("not in the tables by object: deformable-2-seed1/")
    assert message in warning
    assert [trial.name for trial in Joined(runs.trials).trials] == ["atrous-2", "atrous-4"]
