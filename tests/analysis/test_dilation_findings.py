import pytest

from deformlab.analysis import find, read_runs
from deformlab.analysis.findings import SEEN, UNSEEN


def finding(sweep, key):
    return next(finding for finding in find(read_runs(sweep.folder)) if finding.key == key)


def grows(sweep):
    return finding(sweep, "dilation_grows_with_size")


def between(sweep):
    return finding(sweep, "background_between")


class TestEffectiveDilationGrowsWithSize:
    def test_holds_when_small_is_less_than_medium_is_less_than_large(self, sweep):
        sweep.deformable(means=(2.0, 3.0, 4.0, 3.5))
        found = grows(sweep)
        assert found.verdict == SEEN
        assert found.sentence == (
            "layer4.1.conv2 of deformable-2 (deformable, 3 layers, d = 2), away from the image's border: "
            "small 2.00 ± 1.00, medium 3.00 ± 1.00, large 4.00 ± 1.00 cells (± over filters). "
            "From small to large it grows by 100 %."
        )

    def test_growth_that_is_there_only_with_the_border_does_not_hold(self, sweep):
        sweep.deformable(means=(2, 3, 4, 3.5), inside=(2, 2.5, 1.9, 2.2))
        found = grows(sweep)
        assert found.verdict == UNSEEN
        assert "border: small 2.00 ± 1.00, medium 2.50 ± 1.00, large 1.90 ± 1.00" in found.sentence
        assert found.evidence[0] == (
            "Over all filters, also near the border: small 2.00 ± 1.00, medium 3.00 ± 1.00, "
            "large 4.00 ± 1.00 cells (± over filters)."
        )
        assert between(sweep).verdict == UNSEEN

    def test_growth_that_the_border_hides_holds(self, sweep):
        sweep.deformable(means=(4, 3, 2, 3.5), inside=(2, 2.5, 3, 2.7))
        assert (grows(sweep).verdict, between(sweep).verdict) == (SEEN, SEEN)
        assert "grows by 50 %" in grows(sweep).sentence

    def test_cannot_be_judged_where_distances_from_the_border_were_not_recorded(self, sweep):
        path = sweep.deformable(means=(2, 3, 4, 3.5)) / "effective_dilation.csv"
        lines = path.read_text().splitlines()
        path.write_text("\n".join(",".join(line.split(",")[:5]) for line in lines) + "\n")
        for found in (grows(sweep), between(sweep)):
            assert found.verdict == "cannot be judged"
            assert "over all filters: " in found.sentence
            assert found.sentence.endswith(
                "these runs did not record which filters are. Validate them again."
            )
        assert {line.split(": ")[1] for line in grows(sweep).details} == {"cannot be judged"}

    def test_growth_from_nothing_has_no_percentage(self, sweep):
        sweep.deformable(means=(0, 1, 2, 1.5))
        assert (grows(sweep).verdict, "grows by" in grows(sweep).sentence) == (SEEN, False)

    def test_slight_growth_is_called_so(self, sweep):
        sweep.deformable(means=(2.10, 2.11, 2.14, 2.12))
        assert "grows by only 2 %" in grows(sweep).sentence

    @pytest.mark.parametrize("means", [(6, 5, 4, 5), (2, 3, 2.5, 3), (3, 2, 4, 3), (2, 2, 2, 2)])
    def test_does_not_hold_when_any_size_is_out_of_order(self, sweep, means):
        sweep.deformable(means=means)
        found = grows(sweep)
        assert found.verdict == UNSEEN
        assert "grows by" not in found.sentence

    def test_cannot_be_judged_with_too_few_filters_of_a_size(self, sweep):
        sweep.deformable(counts=(99, 500, 500, 500))
        found = grows(sweep)
        assert found.verdict == "cannot be judged"
        assert "Too few filters (under 100) on: small." in found.sentence

    def test_does_not_hold_when_the_sizes_with_enough_filters_are_out_of_order(self, sweep):
        sweep.deformable(means=(2, 5, 4, 3), counts=(0, 500, 500, 500))
        found = grows(sweep)
        assert found.verdict == UNSEEN
        assert "small no filters" in found.sentence

    def test_is_judged_on_the_last_layer_of_the_best_deformable_trial(self, sweep):
        sweep.deformable(0.4, means=(2, 3, 4, 3), trial="worse")
        sweep.deformable(0.5, means=(4, 3, 2, 3), trial="better")
        assert grows(sweep).verdict == UNSEEN
        assert grows(sweep).sentence.startswith("layer4.1.conv2 of better")

    def test_reports_every_layer_of_every_deformable_trial(self, sweep):
        sweep.atrous(2)
        sweep.deformable(0.4, trial="worse")
        sweep.deformable(0.5, trial="better")
        details = [line.split(": ")[:2] for line in grows(sweep).details]
        assert details == [
            ["better, layer4.1.conv2", SEEN],
            ["better, layer4.0.conv2", UNSEEN],
            ["worse, layer4.1.conv2", SEEN],
            ["worse, layer4.0.conv2", UNSEEN],
        ]

    def test_seeds_that_disagree_are_counted(self, sweep):
        sweep.deformable(seed=0, means=(2, 3, 5, 4))
        sweep.deformable(seed=1, means=(2, 3, 5, 4))
        sweep.deformable(seed=2, means=(3, 2.9, 4, 4))
        found = grows(sweep)
        assert (found.verdict, found.words) == ("seeds disagree", "holds in 2 of 3 seeds")
        assert found.evidence[1:] == (
            "Away from the border by seed, means of small, medium, large: seed 0: 2.00 / 3.00 / 5.00; "
            "seed 1: 2.00 / 3.00 / 5.00; seed 2: 3.00 / 2.90 / 4.00.",
        )

    def test_holds_when_every_seed_shows_it(self, sweep):
        for seed in range(2):
            sweep.deformable(seed=seed, means=(2, 3, 5, 4))
        assert (grows(sweep).verdict, grows(sweep).certainty) == ("holds", "in 2 of 2 seeds")

    def test_does_not_hold_when_no_seed_shows_it(self, sweep):
        for seed in range(2):
            sweep.deformable(seed=seed, means=(5, 3, 2, 4))
        assert (grows(sweep).verdict, grows(sweep).certainty) == ("does not hold", "in 2 of 2 seeds")

    def test_cannot_be_judged_when_only_all_seeds_together_have_enough_filters(self, sweep):
        for seed in range(2):
            sweep.deformable(seed=seed, means=(2, 3, 5, 4), counts=(60,) * 4)
        found = grows(sweep)
        assert (found.verdict, found.certainty) == ("cannot be judged", "no seed can be judged alone")

    def test_sizes_that_two_decimals_call_equal_are_told_apart(self, sweep):
        sweep.deformable(means=(1.067, 1.069, 1.16, 1.25))
        assert "small 1.067 ± 1.000, medium 1.069 ± 1.000" in grows(sweep).sentence

    @pytest.mark.parametrize(
        ("spread", "overlap"), [(0.3, "do not overlap"), (3.0, "overlap")], ids=["narrow", "wide"]
    )
    def test_says_whether_intervals_over_images_overlap(self, sweep, spread, overlap):
        folder = sweep.deformable(means=(2, 3, 4, 3))
        sweep.add_objects(folder, dilation=(2.0, 4.0), grow=spread, medium=3.0, border=(50, 50, 50))
        line = grows(sweep).evidence[-1]
        assert line.startswith("95 % intervals over images away from the border, seeds together: small [2.")
        assert line.endswith(f"small and medium {overlap}; medium and large {overlap}.")

    def test_cannot_be_judged_without_effective_dilations(self, sweep):
        sweep.atrous(2)
        assert grows(sweep).verdict == "cannot be judged"
        assert between(sweep).verdict == "cannot be judged"


class TestBackgroundBetweenMediumAndLarge:
    def test_holds_in_between(self, sweep):
        sweep.deformable(means=(2, 3, 4, 3.5))
        assert between(sweep).verdict == SEEN
        assert "background 3.50 ± 1.00" in between(sweep).sentence

    @pytest.mark.parametrize("background", [2.9, 4.1])
    def test_does_not_hold_outside(self, sweep, background):
        sweep.deformable(means=(2, 3, 4, background))
        assert between(sweep).verdict == UNSEEN

    def test_cannot_be_judged_with_too_few_filters(self, sweep):
        sweep.deformable(counts=(500, 500, 20, 500))
        assert between(sweep).verdict == "cannot be judged"
        assert "on: large." in between(sweep).sentence

    def test_cannot_be_judged_at_chance_level(self, sweep):
        for seed in range(2):
            sweep.deformable(0.3, seed, means=(2, 3, 4, 3.5), iou={"Sky": 0.6, "Road_mark": 0.0})
        assert between(sweep).verdict == "cannot be judged"
        assert "not better than predicting one class everywhere" in between(sweep).sentence
        assert {line.split(": ")[1] for line in grows(sweep).details} == {"cannot be judged"}

    def test_trials_of_the_same_kind_are_told_apart(self, sweep):
        for trial, rate in (("a", 0.1), ("b", 1.0)):
            sweep.deformable(0.5 + rate / 10, trial=trial, model={"offset_lr_multiplier": rate})
        assert "of b (deformable, 3 layers, d = 2, offset_lr_multiplier = 1.0)" in between(sweep).sentence
