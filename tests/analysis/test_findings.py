import math

import pytest

from deformlab.analysis import Estimate, judge, read_trials
from deformlab.analysis.by_object import TrialEffect
from deformlab.analysis.findings import effect_sentence
from deformlab.analysis.verdicts import FAILS, HOLDS, INCONCLUSIVE, MIXED, SEEN, TOO_SMALL, UNMEASURED, UNSEEN
from deformlab.errors import ConfigError

FLAT = {"small": 2.0, "medium": 2.0, "large": 2.0, "background": 2.0}


def finding(sweep, key, smallest_effect=0.1):
    found = judge(read_trials(sweep.folder), smallest_effect)
    return next(finding for finding in found if finding.key == key)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
def test_an_illegal_smallest_effect_is_refused(compared, value):
    with pytest.raises(ConfigError, match=f"smallest_effect must be .* >= 0, got {value}"):
        judge(read_trials(compared.folder), value)


def grows(sweep, smallest_effect=0.1):
    return finding(sweep, "dilation_grows_with_size", smallest_effect)


def between(sweep):
    return finding(sweep, "background_between")


def further_and_gains(sweep):
    return finding(sweep, "looks_further_and_gains")


def measure(sweep, *seeds, score=0.5, **options):
    """A deformable trial with these effective dilations by size in its seeds."""
    for seed, sizes in enumerate(seeds):
        sweep.measure(sweep.deformable(score, seed), FLAT | sizes, **options)


class TestEffectiveDilationGrowsWithObjectSize:
    def test_holds_if_every_seed_shows_a_large_enough_effect(self, sweep):
        measure(sweep, {"large": 2.5}, {"large": 2.7})
        found = grows(sweep)
        assert (found.verdict, found.certainty) == (HOLDS, "95 % interval over images, in 2 of 2 seeds")
        assert found.short.startswith("Large minus small: +0.60 [+0.5")
        assert found.short.endswith(" filters, 24 images, 2 seeds).")
        assert found.evidence[1].startswith("By seed, large minus small: seed 0: +0.5")

    def test_a_difference_explained_by_position_is_too_small_to_matter(self, sweep):
        sizes = dict.fromkeys(FLAT, 4.0)
        measure(sweep, sizes, sizes, place=-2.0)
        found = grows(sweep)
        assert found.verdict == TOO_SMALL
        assert (
            "explains most of the raw difference" in found.sentence
            or "because of position." in found.sentence
        )
        assert "Effects up to 0.1 cells count as too small." in found.sentence

    def test_an_effect_hidden_by_position_holds(self, sweep):
        sizes = dict.fromkeys(FLAT, 4.0) | {"large": 4.5}
        measure(sweep, sizes, sizes, place=-2.0)
        assert grows(sweep).verdict == HOLDS
        assert "because of position" in grows(sweep).sentence

    def test_the_smallest_effect_of_interest_is_an_option(self, sweep):
        measure(sweep, {"large": 2.3}, {"large": 2.3})
        assert grows(sweep, 0.1).verdict == HOLDS
        assert grows(sweep, 0.5).verdict == TOO_SMALL
        assert grows(sweep, 0.0).verdict == HOLDS

    def test_does_not_hold_if_effective_dilation_is_smaller_on_large_objects(self, sweep):
        measure(sweep, {"large": 1.5}, {"large": 1.5})
        assert grows(sweep).verdict == FAILS
        assert "cells smaller on large objects than on small ones" in grows(sweep).sentence

    def test_is_inconclusive_if_the_interval_contains_the_smallest_effect(self, sweep):
        measure(sweep, {"large": 2.1}, {"large": 2.1}, noise=0.5)
        assert grows(sweep).verdict == INCONCLUSIVE
        assert grows(sweep).sentence.endswith("An interval is too wide: it contains 0.1 or -0.1 cells.")

    def test_seeds_that_disagree_are_counted(self, sweep):
        measure(sweep, {"large": 2.5}, {"large": 2.5}, {"large": 2.0})
        found = grows(sweep)
        assert (found.verdict, found.words) == (MIXED, "seeds disagree: holds in 2 of 3")

    @pytest.mark.parametrize(("large", "verdict"), [(3.0, SEEN), (1.0, UNSEEN), (2.0, TOO_SMALL)])
    def test_a_single_seed_gives_no_verdict(self, sweep, large, verdict):
        measure(sweep, {"large": large})
        assert grows(sweep).verdict == verdict

    def test_is_judged_on_the_last_layer_of_the_best_deformable_trial(self, sweep):
        sweep.measure(sweep.deformable(0.6, trial="worse"), FLAT | {"large": 3.0})
        further = FLAT | {"large": 3.0}
        sweep.measure(sweep.deformable(0.7, trial="better"), FLAT, first=further)
        found = grows(sweep)
        assert found.sentence.startswith("Measured in layer4.1.conv2 of better")
        assert found.verdict == TOO_SMALL
        assert [line.split(": ")[:2] for line in found.details] == [
            ["better, layer4.1.conv2", TOO_SMALL],
            ["better, layer4.0.conv2", SEEN],
            ["worse, layer4.1.conv2", SEEN],
            ["worse, layer4.0.conv2", SEEN],
        ]

    def test_trials_of_the_same_kind_are_distinguished(self, sweep):
        for trial, rate in (("a", 0.1), ("b", 1.0)):
            model = {"offset_lr_multiplier": rate}
            sweep.measure(sweep.deformable(0.5 + rate / 10, trial=trial, model=model), FLAT)
        assert "of b (deformable, 3 layers, d = 2, offset_lr_multiplier = 1.0)" in grows(sweep).sentence

    def test_is_not_measured_without_positions(self, sweep):
        measure(sweep, {"large": 3.0}, positions=False)
        assert (grows(sweep).verdict, between(sweep).verdict) == (UNMEASURED, UNMEASURED)
        assert grows(sweep).sentence.endswith("Validate the run again.")

    def test_is_not_measured_without_records_of_objects(self, sweep):
        sweep.deformable()
        assert (grows(sweep).verdict, between(sweep).verdict) == (UNMEASURED, UNMEASURED)

    def test_is_inconclusive_without_a_deformable_trial(self, sweep):
        sweep.measure(sweep.atrous(2), rate=2)
        assert (grows(sweep).verdict, between(sweep).verdict) == (INCONCLUSIVE, INCONCLUSIVE)

    def test_is_inconclusive_with_few_filters_or_images(self, sweep):
        measure(sweep, {"large": 3.0}, images=4)
        assert grows(sweep).verdict == INCONCLUSIVE
        assert "Too few" in grows(sweep).sentence

    def test_is_inconclusive_if_a_size_is_absent(self, sweep):
        sweep.measure(sweep.deformable(0.7), {"small": 2.0})
        assert grows(sweep).verdict == INCONCLUSIVE
        assert "No interior filters on " in grows(sweep).sentence

    def test_is_inconclusive_at_chance_level(self, sweep):
        for seed in range(2):
            folder = sweep.deformable(0.3, seed, iou={"Sky": 0.6, "Road_mark": 0.0})
            sweep.measure(folder, FLAT | {"large": 3.0})
        assert grows(sweep).verdict == INCONCLUSIVE
        assert "no better than predicting one class everywhere" in grows(sweep).sentence
        assert {line.split(": ")[1] for line in grows(sweep).details} == {INCONCLUSIVE}


@pytest.mark.parametrize(
    ("controlled", "raw", "sentence"),
    [
        (
            0.02,
            0.10,
            "is 0.02 [0.01, 0.03] cells larger on large objects than on small ones; position explains most "
            "of the raw difference of 0.10.",
        ),
        (
            -0.20,
            -0.21,
            "is 0.20 [0.19, 0.21] cells smaller on large objects than on small ones; position explains "
            "little of the raw difference of -0.21.",
        ),
        (0.20, 0.30, "position explains part of the raw difference of 0.30."),
        (0.20, -0.30, "the raw difference of -0.30 has the opposite sign because of position."),
        (0.50, 0.30, "the raw difference of 0.30 is smaller because of position."),
        (0.50, 0.001, "the raw difference is 0.00."),
    ],
)
def test_an_effect_is_described_with_its_interval_and_how_much_position_explains(controlled, raw, sentence):
    effect = TrialEffect(
        "deformable-2",
        "layer4.1.conv2",
        "large",
        "small",
        Estimate(controlled, None, controlled - 0.01, controlled + 0.01, digits=2),
        Estimate(raw, digits=2),
        *(None, None, 500, 24),
    )
    assert effect_sentence(effect).startswith("At the same position, effective dilation is ")
    assert sentence in effect_sentence(effect)


class TestBackgroundLiesBetweenMediumAndLarge:
    def test_holds_if_both_contrasts_do(self, sweep):
        measure(sweep, *({"medium": 2.0, "background": 2.5, "large": 3.0},) * 2)
        found = between(sweep)
        assert (found.verdict, found.certainty) == (HOLDS, "95 % interval over images, in 2 of 2 seeds")
        assert "background minus medium +0.5" in found.sentence
        assert "large minus background +0.5" in found.sentence

    @pytest.mark.parametrize("background", [1.5, 3.5])
    def test_does_not_hold_outside(self, sweep, background):
        measure(sweep, *({"medium": 2.0, "background": background, "large": 3.0},) * 2)
        assert between(sweep).verdict == FAILS

    def test_is_too_small_to_matter_if_background_equals_medium_objects(self, sweep):
        measure(sweep, *({"medium": 2.0, "background": 2.0, "large": 3.0},) * 2)
        assert between(sweep).verdict == TOO_SMALL


class TestLooksFurtherAndGains:
    def test_further_and_better_on_large_objects_is_found(self, compared):
        found = further_and_gains(compared)
        assert found.verdict == HOLDS
        assert "layer4.1.conv2 of deformable-2" in found.sentence
        assert "large +22.7 ± 6.4 [+22.7, +22.7]" in found.sentence
        assert found.certainty == "95 % interval over images, in 2 of 2 seeds"
        assert "By seed, gain on large objects: seed 0: +18.2, seed 1: +27.3." in found.evidence

    def test_further_but_worse_does_not_hold(self, sweep):
        sweep.measure(sweep.atrous(2), rate=2)
        measure(sweep, {"large": 3.0}, hits=(5, 20))
        assert further_and_gains(sweep).verdict == UNSEEN

    def test_better_but_no_further_is_too_small_to_matter(self, sweep):
        sweep.measure(sweep.atrous(2), rate=2)
        measure(sweep, {}, hits=(5, 90))
        assert further_and_gains(sweep).verdict == TOO_SMALL

    def test_seeds_that_disagree_are_counted(self, compared):
        compared.measure(compared.atrous(2, 0.45, seed=2), rate=2)
        sizes = {"small": 3.0, "large": 2.0, "background": 2.0}
        compared.measure(compared.deformable(0.47, seed=2), sizes, hits=(5, 70))
        assert further_and_gains(compared).words == "seeds disagree: holds in 2 of 3"

    def test_a_seed_that_the_baseline_lacks_does_not_disagree(self, sweep):
        sweep.measure(sweep.atrous(2, 0.45), rate=2)
        measure(sweep, {"large": 3.0}, {"large": 3.0}, hits=(5, 70))
        found = further_and_gains(sweep)
        assert found.verdict == INCONCLUSIVE
        assert found.sentence.endswith("At least one seed alone is inconclusive.")

    def test_is_inconclusive_if_only_the_gain_is(self, sweep):
        sweep.measure(sweep.atrous(2), rate=2)
        measure(sweep, {"large": 3.0})
        found = further_and_gains(sweep)
        assert "smallest" not in found.sentence
        assert "interval is too wide" not in found.sentence

    def test_is_inconclusive_without_an_atrous_trial(self, sweep):
        measure(sweep, {"large": 3.0})
        assert further_and_gains(sweep).verdict == INCONCLUSIVE
        assert "no atrous trial to compute the gain over." in further_and_gains(sweep).sentence

    def test_without_records_there_is_no_such_finding(self, sweep):
        sweep.deformable()
        keys = [found.key for found in judge(read_trials(sweep.folder))]
        assert "looks_further_and_gains" not in keys


def beats(sweep):
    return finding(sweep, "deformable_beats_atrous")


def best_rate(sweep):
    return finding(sweep, "atrous_has_best_rate")


class TestDeformableAtLeastAsGoodAsTheBestAtrousRate:
    def test_a_single_seed_gives_no_verdict(self, sweep):
        sweep.atrous(2, 0.45)
        sweep.atrous(4, 0.46)
        sweep.deformable(0.47)
        found = beats(sweep)
        assert (found.verdict, found.certainty) == ("inconclusive", "one seed")
        assert found.sentence == (
            "Best deformable trial: deformable-2 47.0 % (one seed); best atrous trial: atrous-4 46.0 % (one "
            "seed); difference: +1.00 points. With a single seed the spread over seeds is unknown, so the "
            "difference allows no verdict."
        )

    def test_does_not_hold_below_the_best_rate(self, sweep):
        for seed in range(2):
            sweep.atrous(2, 0.45, seed)
            sweep.atrous(4, 0.48, seed)
            sweep.deformable(0.47, seed)
        assert beats(sweep).verdict == "does not hold"
        assert "difference: -1.00 points" in beats(sweep).sentence

    def test_an_equal_score_is_as_good(self, sweep):
        for seed in range(2):
            sweep.atrous(2, 0.45, seed)
            sweep.deformable(0.45, seed)
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
        assert (found.verdict, found.certainty) == (verdict, f"in 2 of 2 seeds, {certainty}")
        within = certainty.startswith("within")
        assert ("within the spread over seeds (± 1.41)" in found.sentence) == within

    def test_seeds_that_disagree_are_counted(self, sweep):
        for seed, (atrous, deformable) in enumerate(((0.45, 0.46), (0.46, 0.45), (0.45, 0.47))):
            sweep.atrous(2, atrous, seed)
            sweep.deformable(deformable, seed)
        found = beats(sweep)
        assert (found.verdict, found.words) == ("seeds disagree", "seeds disagree: holds in 2 of 3")
        assert found.evidence == ("Difference by seed: seed 0: +1.00, seed 1: -1.00, seed 2: +2.00 points.",)
        assert "these runs do not show which is better" in found.sentence

    def test_without_a_common_seed_a_difference_within_the_spread_is_inconclusive(self, sweep):
        for seed in (0, 1):
            sweep.atrous(2, 0.45 + 0.02 * seed, seed)
            sweep.deformable(0.455 + 0.02 * seed, seed + 2)
        assert beats(sweep).verdict == "inconclusive"

    def test_without_a_common_seed_a_difference_beyond_the_spread_is_judged(self, sweep):
        for seed in (0, 1):
            sweep.atrous(2, 0.45 + 0.02 * seed, seed)
            sweep.deformable(0.555 + 0.02 * seed, seed + 2)
        assert (beats(sweep).verdict, beats(sweep).certainty) == ("holds", "beyond the spread over seeds")

    def test_every_deformable_trial_is_compared(self, sweep):
        sweep.atrous(2, 0.45)
        sweep.deformable(0.46, trial="a")
        sweep.deformable(0.44, trial="b")
        assert beats(sweep).details == ("a 46.0 % (one seed): +1.00", "b 44.0 % (one seed): -1.00")

    @pytest.mark.parametrize("kind", ["atrous", "deformable"])
    def test_is_inconclusive_without_both_kinds(self, sweep, kind):
        sweep.atrous(2) if kind == "deformable" else sweep.deformable()
        assert beats(sweep).verdict == "inconclusive"
        assert beats(sweep).sentence == f"These runs include no {kind} trial to compare with."

    @pytest.mark.parametrize("recorded", [False, True])
    def test_scores_at_chance_level_are_inconclusive(self, sweep, recorded):
        # In the records Sky has 1000 of 1110 pixels: 45.0 % for predicting it everywhere.
        iou = {"Sky": 0.5, "Road_mark": 0.4} if recorded else {"Sky": 0.9, "Road_mark": 0.0}
        for seed in range(2):
            for folder in (sweep.atrous(2, 0.42, seed, iou=iou), sweep.deformable(0.45, seed, iou=iou)):
                if recorded:
                    sweep.measure(folder)
        assert beats(sweep).verdict == "inconclusive"
        assert "no better than predicting one class everywhere" in beats(sweep).sentence
        assert ("(45.0 % mIoU)" in beats(sweep).sentence) == recorded

    def test_a_trial_above_chance_level_is_better_than_one_at_it(self, sweep):
        for seed in range(2):
            sweep.atrous(2, 0.42, seed, iou={"Sky": 0.84, "Road_mark": 0.0})
            sweep.deformable(0.7, seed)
        assert beats(sweep).verdict == "holds"

    def test_one_seed_in_common_does_not_count_as_several(self, sweep):
        for seed in (0, 1):
            sweep.atrous(2, 0.45 + 0.02 * seed, seed)
            sweep.deformable(0.455 + 0.02 * seed, seed + 1)
        assert beats(sweep).verdict == "inconclusive"


class TestAtrousHasABestRate:
    def rates(self, sweep, *mious, seed=None):
        """Runs of the rates 2, 4, ... with these scores; without a seed, the same for two."""
        for rate, miou in zip((2, 4, 6, 8), mious, strict=False):
            for each in (0, 1) if seed is None else (seed,):
                sweep.atrous(rate, miou, each)

    def test_holds_when_miou_rises_to_a_rate_and_falls_after_it(self, sweep):
        self.rates(sweep, 0.45, 0.46, 0.47, 0.44)
        found = best_rate(sweep)
        assert found.verdict == "holds"
        assert "The best rate is 6." in found.sentence

    def test_the_largest_rate_may_not_be_the_best_possible(self, sweep):
        self.rates(sweep, 0.45, 0.46, 0.47, 0.48)
        assert best_rate(sweep).verdict == "holds"
        assert "an even larger rate may be better" in best_rate(sweep).sentence

    def test_does_not_hold_when_the_smallest_rate_is_best(self, sweep):
        self.rates(sweep, 0.48, 0.47, 0.46, 0.45)
        found = best_rate(sweep)
        assert found.verdict == "does not hold"
        assert "The best rate is 2. It is the smallest rate of these runs" in found.sentence

    def test_does_not_hold_when_miou_goes_up_and_down(self, sweep):
        self.rates(sweep, 0.46, 0.45, 0.48, 0.47)
        assert best_rate(sweep).verdict == "does not hold"
        assert "does not rise steadily" in best_rate(sweep).sentence

    def test_is_inconclusive_with_two_rates(self, sweep):
        self.rates(sweep, 0.45, 0.46)
        found = best_rate(sweep)
        assert found.verdict == "inconclusive"
        assert "The best rate is 4. At least three rates are needed." in found.sentence

    def test_names_the_rates_within_the_spread_of_the_best(self, sweep):
        self.rates(sweep, 0.40, 0.46, 0.465, 0.44, seed=0)
        self.rates(sweep, 0.41, 0.47, 0.475, 0.45, seed=1)
        found = best_rate(sweep)
        assert (found.verdict, found.certainty) == ("holds", "in 2 of 2 seeds, beyond the spread over seeds")
        assert "Rates within the spread over seeds of the best rate: d = 4." in found.sentence

    def test_seeds_that_disagree_are_counted(self, sweep):
        self.rates(sweep, 0.40, 0.46, 0.45, seed=0)
        self.rates(sweep, 0.47, 0.46, 0.45, seed=1)
        found = best_rate(sweep)
        assert found.words == "seeds disagree: holds in 1 of 2"
        assert found.evidence == ("Best rate by seed: seed 0: 4, seed 1: 2.",)

    def test_is_inconclusive_without_atrous_trials(self, sweep):
        sweep.deformable()
        assert best_rate(sweep).verdict == "inconclusive"
