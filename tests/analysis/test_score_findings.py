import json

import pytest

from deformlab.analysis import find, read_runs


def finding(sweep, key):
    return next(finding for finding in find(read_runs(sweep.folder)) if finding.key == key)


def beats(sweep):
    return finding(sweep, "deformable_beats_atrous")


def best_rate(sweep):
    return finding(sweep, "atrous_has_best_rate")


class TestDeformableAtLeastAsGoodAsTheBestAtrousRate:
    def test_one_seed_is_said(self, sweep):
        sweep.atrous(2, 0.45)
        sweep.atrous(4, 0.46)
        sweep.deformable(0.47)
        found = beats(sweep)
        assert (found.verdict, found.certainty) == ("cannot be judged", "one seed")
        assert found.sentence == (
            "Best deformable deformable-2 47.0 % (one seed); best atrous atrous-4 46.0 % (one seed); "
            "difference +1.00 points. With one seed there is no spread to compare the difference with, so it "
            "is no verdict."
        )

    def test_does_not_hold_below_the_best_rate(self, sweep):
        for seed in range(2):
            sweep.atrous(2, 0.45, seed)
            sweep.atrous(4, 0.48, seed)
            sweep.deformable(0.47, seed)
        assert beats(sweep).verdict == "does not hold"
        assert "difference -1.00 points" in beats(sweep).sentence

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
        assert (found.verdict, found.words) == ("seeds disagree", "holds in 2 of 3 seeds")
        assert found.evidence == ("Difference by seed: seed 0: +1.00, seed 1: -1.00, seed 2: +2.00 points.",)
        assert "these runs cannot tell the two apart" in found.sentence

    def test_trials_without_a_common_seed_are_not_told_apart_within_their_spread(self, sweep):
        for seed in (0, 1):
            sweep.atrous(2, 0.45 + 0.02 * seed, seed)
            sweep.deformable(0.455 + 0.02 * seed, seed + 2)
        assert beats(sweep).verdict == "cannot be judged"

    def test_trials_without_a_common_seed_are_told_apart_beyond_their_spread(self, sweep):
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
    def test_cannot_be_judged_without_both(self, sweep, kind):
        sweep.atrous(2) if kind == "deformable" else sweep.deformable()
        assert beats(sweep).verdict == "cannot be judged"
        assert beats(sweep).sentence == f"There is no {kind} trial to compare with."

    @pytest.mark.parametrize("recorded", [False, True])
    def test_scores_at_chance_level_cannot_be_judged(self, sweep, recorded):
        # In the records Sky has 1000 of 1110 pixels: 45.0 % for predicting it everywhere.
        iou = {"Sky": 0.9, "Road_mark": 0.0}
        for seed in range(2):
            for folder in (sweep.atrous(2, 0.42, seed, iou=iou), sweep.deformable(0.45, seed, iou=iou)):
                if recorded:
                    result = json.loads((folder / "result.json").read_text())
                    (folder / "result.json").write_text(
                        json.dumps(result | {"iou": {"Sky": 0.5, "Road_mark": 0.4}})
                    )
                    sweep.add_objects(folder)
        assert beats(sweep).verdict == "cannot be judged"
        assert "not better than predicting one class everywhere" in beats(sweep).sentence
        assert ("which gives 45.0 %" in beats(sweep).sentence) == recorded

    def test_a_trial_above_chance_level_is_better_than_one_at_it(self, sweep):
        for seed in range(2):
            sweep.atrous(2, 0.42, seed, iou={"Sky": 0.84, "Road_mark": 0.0})
            sweep.deformable(0.7, seed)
        assert beats(sweep).verdict == "holds"

    def test_one_seed_in_common_does_not_count_as_several(self, sweep):
        for seed in (0, 1):
            sweep.atrous(2, 0.45 + 0.02 * seed, seed)
            sweep.deformable(0.455 + 0.02 * seed, seed + 1)
        assert beats(sweep).verdict == "cannot be judged"


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
        assert (found.verdict, found.certainty) == ("holds", "in 2 of 2 seeds, beyond the spread over seeds")
        assert found.sentence.endswith("Within the spread over seeds of the best: d = 4.")

    def test_seeds_that_disagree_are_counted(self, sweep):
        self.rates(sweep, 0.40, 0.46, 0.45, seed=0)
        self.rates(sweep, 0.47, 0.46, 0.45, seed=1)
        found = best_rate(sweep)
        assert found.words == "holds in 1 of 2 seeds"
        assert found.evidence == ("Best rate by seed: seed 0: 4, seed 1: 2.",)

    def test_cannot_be_judged_without_atrous_trials(self, sweep):
        sweep.deformable()
        assert best_rate(sweep).verdict == "cannot be judged"
