import pytest

from deformlab.analysis import find, read_runs


def finding(sweep, key):
    return next(finding for finding in find(read_runs(sweep.folder)) if finding.key == key)


def grows(sweep):
    return finding(sweep, "dilation_grows_with_size")


def between(sweep):
    return finding(sweep, "background_between")


def beats(sweep):
    return finding(sweep, "deformable_beats_atrous")


def best_rate(sweep):
    return finding(sweep, "atrous_has_best_rate")


class TestEffectiveDilationGrowsWithSize:
    def test_holds_when_small_is_less_than_medium_is_less_than_large(self, sweep):
        sweep.deformable(means=(2.0, 3.0, 4.0, 3.5))
        found = grows(sweep)
        assert found.verdict == "holds"
        assert found.certainty == "one seed"
        assert found.sentence == (
            "layer4.1.conv2 of deformable-2 (deformable, 3 layers, d = 2): small 2.00 ± 1.00, "
            "medium 3.00 ± 1.00, large 4.00 ± 1.00 cells (± over filters). "
            "From small to large it grows by 100 %."
        )

    def test_slight_growth_is_called_so(self, sweep):
        sweep.deformable(means=(2.10, 2.11, 2.14, 2.12))
        assert "grows by only 2 %" in grows(sweep).sentence

    @pytest.mark.parametrize("means", [(6, 5, 4, 5), (2, 3, 2.5, 3), (3, 2, 4, 3), (2, 2, 2, 2)])
    def test_does_not_hold_when_any_size_is_out_of_order(self, sweep, means):
        sweep.deformable(means=means)
        found = grows(sweep)
        assert found.verdict == "does not hold"
        assert "grows by" not in found.sentence

    def test_cannot_be_judged_with_too_few_filters_of_a_size(self, sweep):
        sweep.deformable(counts=(99, 500, 500, 500))
        found = grows(sweep)
        assert found.verdict == "cannot be judged"
        assert "Too few filters (under 100) on: small." in found.sentence

    def test_does_not_hold_when_the_sizes_with_enough_filters_are_out_of_order(self, sweep):
        sweep.deformable(means=(2, 5, 4, 3), counts=(0, 500, 500, 500))
        found = grows(sweep)
        assert found.verdict == "does not hold"
        assert "small no filters" in found.sentence

    def test_is_judged_on_the_last_layer_of_the_best_deformable_trial(self, sweep):
        sweep.deformable(0.4, means=(2, 3, 4, 3), trial="worse")
        sweep.deformable(0.5, means=(4, 3, 2, 3), trial="better")
        assert grows(sweep).verdict == "does not hold"
        assert grows(sweep).sentence.startswith("layer4.1.conv2 of better")

    def test_reports_every_layer_of_every_deformable_trial(self, sweep):
        sweep.atrous(2)
        sweep.deformable(0.4, trial="worse")
        sweep.deformable(0.5, trial="better")
        details = [line.split(": ")[:2] for line in grows(sweep).details]
        assert details == [
            ["better, layer4.1.conv2", "holds"],
            ["better, layer4.0.conv2", "does not hold"],
            ["worse, layer4.1.conv2", "holds"],
            ["worse, layer4.0.conv2", "does not hold"],
        ]

    def test_counts_the_seeds_that_show_it(self, sweep):
        sweep.deformable(seed=0, means=(2, 3, 5, 4))
        sweep.deformable(seed=1, means=(2, 3, 5, 4))
        sweep.deformable(seed=2, means=(3, 2.9, 4, 4))
        assert grows(sweep).verdict == "holds"
        assert grows(sweep).certainty == "in 2 of 3 seeds"

    def test_cannot_be_judged_without_effective_dilations(self, sweep):
        sweep.atrous(2)
        assert grows(sweep).verdict == "cannot be judged"
        assert between(sweep).verdict == "cannot be judged"


class TestBackgroundBetweenMediumAndLarge:
    def test_holds_in_between(self, sweep):
        sweep.deformable(means=(2, 3, 4, 3.5))
        assert between(sweep).verdict == "holds"
        assert "background 3.50 ± 1.00" in between(sweep).sentence

    @pytest.mark.parametrize("background", [2.9, 4.1])
    def test_does_not_hold_outside(self, sweep, background):
        sweep.deformable(means=(2, 3, 4, background))
        assert between(sweep).verdict == "does not hold"

    def test_cannot_be_judged_with_too_few_filters(self, sweep):
        sweep.deformable(counts=(500, 500, 20, 500))
        assert between(sweep).verdict == "cannot be judged"
        assert "on: large." in between(sweep).sentence


class TestDeformableAtLeastAsGoodAsTheBestAtrousRate:
    def test_one_seed_is_said(self, sweep):
        sweep.atrous(2, 0.45)
        sweep.atrous(4, 0.46)
        sweep.deformable(0.47)
        found = beats(sweep)
        assert (found.verdict, found.certainty) == ("holds", "one seed")
        assert found.sentence == (
            "Best deformable deformable-2 47.0 % (one seed); best atrous atrous-4 46.0 % (one seed); "
            "difference +1.00 points. One seed cannot say how far a repetition would land from it."
        )

    def test_does_not_hold_below_the_best_rate(self, sweep):
        sweep.atrous(2, 0.45)
        sweep.atrous(4, 0.48)
        sweep.deformable(0.47)
        assert beats(sweep).verdict == "does not hold"
        assert "difference -1.00 points" in beats(sweep).sentence

    def test_an_equal_score_is_as_good(self, sweep):
        sweep.atrous(2, 0.45)
        sweep.deformable(0.45)
        assert beats(sweep).verdict == "holds"

    @pytest.mark.parametrize(
        ("deformable", "verdict", "certainty"),
        [
            (0.52, "holds", "beyond the spread over seeds"),
            (0.455, "holds", "within the spread over seeds"),
            (0.445, "does not hold", "within the spread over seeds"),
            (0.40, "does not hold", "beyond the spread over seeds"),
        ],
    )
    def test_a_difference_is_weighed_against_the_spread_over_seeds(
        self, sweep, deformable, verdict, certainty
    ):
        # 44 and 46 have a standard deviation of 1.41.
        for seed, shift in enumerate((-0.01, 0.01)):
            sweep.atrous(2, 0.45 + shift, seed)
            sweep.deformable(deformable + shift, seed)
        found = beats(sweep)
        assert (found.verdict, found.certainty) == (verdict, certainty)
        within = certainty.startswith("within")
        assert ("within the spread over seeds (± 1.41)" in found.sentence) == within

    def test_every_deformable_trial_is_compared(self, sweep):
        sweep.atrous(2, 0.45)
        sweep.deformable(0.46, trial="a")
        sweep.deformable(0.44, trial="b")
        assert beats(sweep).details == ("a 46.0 % (one seed): +1.00", "b 44.0 % (one seed): -1.00")

    @pytest.mark.parametrize("kind", ["atrous", "deformable"])
    def test_cannot_be_judged_without_both(self, sweep, kind):
        sweep.atrous(2) if kind == "deformable" else sweep.deformable()
        assert beats(sweep).verdict == "cannot be judged"
        assert beats(sweep).sentence == f"There is no {kind} trial to compare with."


class TestAtrousHasABestRate:
    def rates(self, sweep, *mious, seed=0):
        for rate, miou in zip((2, 4, 6, 8), mious, strict=False):
            sweep.atrous(rate, miou, seed)

    def test_holds_when_miou_rises_to_a_rate_and_falls_after_it(self, sweep):
        self.rates(sweep, 0.45, 0.46, 0.47, 0.44)
        found = best_rate(sweep)
        assert found.verdict == "holds"
        assert "The best rate is 6." in found.sentence

    def test_the_largest_rate_may_not_be_the_best_there_is(self, sweep):
        self.rates(sweep, 0.45, 0.46, 0.47, 0.48)
        assert best_rate(sweep).verdict == "holds"
        assert "the best may lie beyond" in best_rate(sweep).sentence

    def test_does_not_hold_when_the_smallest_rate_is_best(self, sweep):
        self.rates(sweep, 0.48, 0.47, 0.46, 0.45)
        found = best_rate(sweep)
        assert found.verdict == "does not hold"
        assert "The best rate is 2. It is the smallest rate of these runs" in found.sentence

    def test_does_not_hold_when_miou_goes_up_and_down(self, sweep):
        self.rates(sweep, 0.46, 0.45, 0.48, 0.47)
        assert best_rate(sweep).verdict == "does not hold"
        assert "does not rise steadily" in best_rate(sweep).sentence

    def test_cannot_be_judged_from_two_rates(self, sweep):
        self.rates(sweep, 0.45, 0.46)
        found = best_rate(sweep)
        assert found.verdict == "cannot be judged"
        assert "The best rate is 4. At least three rates are needed." in found.sentence

    def test_names_the_rates_that_the_seeds_cannot_tell_from_the_best(self, sweep):
        self.rates(sweep, 0.40, 0.46, 0.465, 0.44, seed=0)
        self.rates(sweep, 0.41, 0.47, 0.475, 0.45, seed=1)
        found = best_rate(sweep)
        assert (found.verdict, found.certainty) == ("holds", "beyond the spread over seeds")
        assert found.sentence.endswith("Within the spread over seeds of the best: d = 4.")

    def test_cannot_be_judged_without_atrous_trials(self, sweep):
        sweep.deformable()
        assert best_rate(sweep).verdict == "cannot be judged"


def test_a_finding_reads_as_claim_verdict_certainty_and_numbers(sweep):
    sweep.deformable(means=(2, 3, 4, 3))
    assert str(grows(sweep)).startswith("Effective dilation grows with object size: holds (one seed). layer4")
