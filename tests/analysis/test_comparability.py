from dataclasses import replace

import pytest
import yaml

from deformlab.analysis import judge, read_trials
from deformlab.analysis.comparability import comparability, descriptions, evaluation_scores, read_settings
from deformlab.run_folder import (
    MEASUREMENT_VERSION,
    ClassScores,
    Evaluation,
    MeasuredSizes,
    Measurement,
    Score,
    write_evaluation,
)

SIZES = MeasuredSizes((9216.0, 50176.0))
NOT_BY_OBJECT = "object measurements"


def warnings(sweep):
    """Without the line about runs without objects, which most of these tests leave out."""
    return [line for line in comparability(read_trials(sweep.folder)) if NOT_BY_OBJECT not in line]


def measured_with(sweep, rate, **changes):
    measurement = replace(Measurement(MEASUREMENT_VERSION, {}, SIZES), **changes)
    return sweep.measure(sweep.atrous(rate, measurement=measurement), rate=rate)


def test_a_fair_sweep_has_no_warning(sweep):
    sweep.run("pretrain", role="pretraining", curve=(0.1,) * 4)
    sweep.atrous(2, curve=(0.1,) * 6)
    sweep.deformable(init_from="pretrain", curve=(0.1,) * 2)
    assert warnings(sweep) == []


def test_different_budgets_are_named_pretraining_included(sweep):
    sweep.run("pretrain", role="pretraining", curve=(0.1,) * 4)
    sweep.atrous(2, curve=(0.1,) * 2)
    sweep.deformable(init_from="pretrain", curve=(0.1,) * 2)
    assert warnings(sweep) == [
        "trials were trained for different total numbers of epochs: 2 (atrous-2); 6 (deformable-2)"
    ]


def test_a_finding_reports_unequal_training(sweep):
    sweep.atrous(2, score=0.5, curve=(0.1,) * 2)
    sweep.deformable(score=0.6, curve=(0.1,) * 4)
    (unequal,) = [finding for finding in judge(read_trials(sweep.folder)) if len(finding.trials) == 2]
    assert unequal.evidence[-1] == (
        "Unequal conditions: trials were trained for different total numbers of epochs: "
        "2 (atrous-2); 4 (deformable-2)."
    )


def test_a_finding_without_unequal_conditions_reports_none(sweep):
    sweep.atrous(2, score=0.5)
    sweep.deformable(score=0.6)
    assert not any("Unequal conditions" in str(finding) for finding in judge(read_trials(sweep.folder)))


def test_different_seeds_are_named(sweep):
    sweep.atrous(2, seed=0)
    sweep.atrous(2, seed=1)
    sweep.deformable(seed=0)
    assert warnings(sweep) == ["trials have different seeds: 0, 1 (atrous-2); 0 (deformable-2)"]


def test_different_backbones_are_named(sweep):
    sweep.atrous(2)
    sweep.deformable(model={"backbone": "resnet50"})
    assert warnings(sweep) == [
        "trials have different model.backbone: resnet18 (atrous-2); resnet50 (deformable-2)"
    ]


def test_seeds_of_different_networks_are_named(sweep):
    sweep.deformable(seed=0)
    sweep.deformable(seed=1, model={"offset_lr_multiplier": 0.1})
    assert warnings(sweep) == [
        "the runs of deformable-2 have different model settings; its ± is not over seeds alone"
    ]


def test_different_thresholds_of_object_size_are_named(sweep):
    measured_with(sweep, 2)
    measured_with(sweep, 4, sizes=MeasuredSizes((1024.0, 9216.0)))
    assert "different object-size thresholds" in warnings(sweep)[0]


def test_a_score_before_the_last_epoch_is_named(sweep):
    sweep.atrous(2, curve=(0.1,) * 4, max_epochs=6)
    sweep.atrous(4, curve=(0.1,) * 4, max_epochs=4)
    assert warnings(sweep) == ["scores are not from the last epoch: atrous-2-seed0 after epoch 4 of 6"]


def test_trials_trained_on_different_data_are_named(sweep):
    for rate, fingerprint in ((2, "0123"), (4, "4567")):
        sweep.atrous(rate, data={"train": {"fingerprint": fingerprint}})
    assert warnings(sweep) == ["trials were trained on different data: 0123 (atrous-2); 4567 (atrous-4)"]


def test_measurements_of_an_older_version_are_named(sweep):
    measured_with(sweep, 2, version=1)
    measured_with(sweep, 4)
    (line,) = warnings(sweep)
    assert line.startswith("objects were measured by an older version of deformlab (measurement version 1, ")
    assert "): atrous-2; run `deformlab validate --run_dir RUN`" in line


def test_measurements_with_different_options_are_named(sweep):
    for rate, region in ((2, "mask"), (4, "box")):
        measured_with(sweep, rate, options={"object_region": region})
    (line,) = warnings(sweep)
    assert 'measured with different options: {"object_region": "mask"} (atrous-2); ' in line


def test_early_runs_without_recorded_options_give_no_warning(sweep):
    measured_with(sweep, 2, options=None)
    measured_with(sweep, 4, options={"object_region": "mask"})
    assert warnings(sweep) == []


class TestRunsWithoutObjectMeasurements:
    def lines(self, sweep):
        return [line for line in comparability(read_trials(sweep.folder)) if "object" in line]

    def test_runs_with_records_give_no_line(self, compared):
        assert self.lines(compared) == []

    def test_one_line_says_that_no_run_was_measured_and_what_to_do(self, sweep):
        sweep.atrous(2)
        sweep.deformable()
        (line,) = self.lines(sweep)
        assert line.startswith("no run has object measurements; run `deformlab validate --run_dir RUN`")

    def test_one_line_names_the_first_runs_without_measurements(self, compared):
        for seed in range(4):
            compared.atrous(8, seed=seed)
        (line,) = self.lines(compared)
        assert line.startswith(
            "4 of 9 runs have no object measurements "
            "(atrous-8-seed0, atrous-8-seed1, atrous-8-seed2 and 1 more); run"
        )

    def test_a_single_run_without_measurements_is_one_line(self, sweep):
        (line,) = comparability(read_trials(sweep.atrous(2)))
        assert line.startswith("the run has no object measurements; ")

    def test_trials_on_other_images_are_named(self, compared):
        compared.measure(compared.atrous(8), rate=8, prefix="other")
        (line,) = self.lines(compared)
        assert line.startswith("not in the tables by object: atrous-8: evaluated on different images")

    def test_trials_with_incompatible_seeds_are_named(self, compared):
        compared.forget_interior(compared.folder / "deformable-2-seed1")
        (line,) = self.lines(compared)
        assert line.startswith(
            "not in the tables by object: deformable-2: the seeds recorded different layers, or"
        )


class TestSettingsDistinguishTrials:
    def test_trials_of_one_kind_get_the_settings_in_which_they_differ(self, sweep):
        for trial, rate in (("a", 0.1), ("b", 1.0)):
            sweep.deformable(trial=trial, model={"offset_lr_multiplier": rate})
        sweep.atrous(2)
        assert descriptions(read_trials(sweep.folder).trials) == {
            "a": "deformable, 3 layers, d = 2, offset_lr_multiplier = 0.1",
            "b": "deformable, 3 layers, d = 2, offset_lr_multiplier = 1.0",
            "atrous-2": "atrous, d = 2",
        }

    def test_as_few_settings_as_possible_are_listed(self, sweep):
        for trial, rate, groups in (("a", 0.1, 1), ("b", 1.0, 2)):
            sweep.deformable(trial=trial, model={"offset_lr_multiplier": rate, "deform_groups": groups})
        found = descriptions(read_trials(sweep.folder).trials)
        assert found["a"] == "deformable, 3 layers, d = 2, deform_groups = 1"

    def test_options_of_data_and_training_come_from_the_configuration(self, sweep):
        folder = sweep.atrous(2)
        config = {"data": {"batch_size": 4, "root": "/somewhere"}, "trainer": {"max_epochs": 3}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        settings = read_settings(read_trials(sweep.folder).trials[0].first)
        assert settings["data.batch_size"] == "4"
        assert not {"data.root", "trainer.max_epochs"} & set(settings)

    @pytest.mark.parametrize("text", ["[", "[1]", "\0"])
    def test_a_broken_configuration_leaves_the_settings_of_the_network(self, sweep, text):
        (sweep.atrous(2) / "config.yaml").write_text(text)
        assert read_settings(read_trials(sweep.folder).trials[0].first)["model.width"] == "1.0"


FOG = Evaluation(
    name="fog",
    split="val",
    score=Score("miou", 0.3),
    class_scores=ClassScores("iou", {"Sky": 0.4, "Road_mark": 0.2}),
    images=3,
    data={"dataset": "camvid", "root": "/fog", "fingerprint": "0123"},
    checkpoint={"file": "checkpoints/last.ckpt", "epochs": 2},
)


class TestEvaluationsOnOtherData:
    def found(self, sweep):
        return evaluation_scores(read_trials(sweep.folder).trials)

    def test_evaluations_with_one_name_are_comparable(self, sweep):
        for rate in (2, 4):
            write_evaluation(sweep.atrous(rate), FOG)
        scores, lines = self.found(sweep)
        assert [(run.trial, value) for run, value in scores["fog"]] == [("atrous-2", 0.3), ("atrous-4", 0.3)]
        assert lines == []

    @pytest.mark.parametrize(
        ("evaluation", "reason"),
        [
            (
                replace(FOG, checkpoint={"file": "last.ckpt", "epochs": 1}),
                "was made after epoch 1, but the run ended after epoch 2",
            ),
            (
                replace(FOG, class_scores=ClassScores("iou", {"Sky": 0.3, "Car": 0.3})),
                "has different classes from the training",
            ),
            (replace(FOG, score=Score("miou", None)), "has no mIoU: none of its pixels are labelled"),
        ],
    )
    def test_an_unusable_evaluation_is_a_line(self, sweep, evaluation, reason):
        write_evaluation(sweep.atrous(2), evaluation)
        scores, (line,) = self.found(sweep)
        assert line.startswith(f"not in the scores on other data: fog: {reason}")
        assert line.endswith("(atrous-2-seed0)")
        assert scores == {}

    @pytest.mark.parametrize(
        "other",
        [
            replace(FOG, data=FOG.data | {"fingerprint": "4567"}),
            replace(FOG, options={"evaluation.flip": True}),
            replace(FOG, split="test"),
        ],
    )
    def test_evaluations_made_differently_are_left_out(self, sweep, other):
        write_evaluation(sweep.atrous(2), FOG)
        write_evaluation(sweep.atrous(4), other)
        scores, (line,) = self.found(sweep)
        assert "fog: the runs were evaluated differently: val, data 0123, 3 images (atrous-2-seed0); " in line
        assert scores == {}

    @pytest.mark.parametrize("content", ["{", "[]", '{"version": 2}', '{"version": 1, "score": 3}'])
    def test_a_damaged_evaluation_is_a_line(self, sweep, content):
        path = write_evaluation(sweep.atrous(2), FOG)
        path.write_text(content)
        (line,) = read_trials(sweep.folder).warnings
        assert line.startswith("not in the scores on other data: atrous-2-seed0/evaluations/fog.json: ")
