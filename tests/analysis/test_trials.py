import json
import os
import subprocess
import sys

import pytest

from deformlab.analysis import best_deformable, read_trials
from deformlab.errors import RunFolderError
from deformlab.run_folder import ClassScores


def names(trials):
    return [trial.name for trial in trials.trials]


def test_runs_are_grouped_into_trials_by_name_with_seeds_ascending(sweep):
    sweep.atrous(2, seed=1)
    sweep.atrous(2, seed=0)
    sweep.deformable()
    trials = read_trials(sweep.folder).trials
    assert [(trial.name, [run.seed for run in trial.runs]) for trial in trials] == [
        ("atrous-2", [0, 1]),
        ("deformable-2", [0]),
    ]


def test_trials_come_atrous_first_then_by_layers_and_rate(sweep):
    sweep.deformable(trial="b", model={"num_deformable_layers": "all"})
    sweep.deformable(trial="a", model={"num_deformable_layers": 6})
    sweep.run("m", model={"conv5": "modulated"})
    sweep.atrous(12)
    sweep.atrous(4)
    assert names(read_trials(sweep.folder)) == ["atrous-4", "atrous-12", "a", "b", "m"]


def test_pretraining_does_not_count_as_a_trial(sweep):
    sweep.run("pretrain", role="pretraining")
    sweep.atrous(2)
    runs = read_trials(sweep.folder)
    assert names(runs) == ["atrous-2"]
    assert [run.trial for run in runs.pretraining] == ["pretrain"]
    assert runs.warnings == ()


def test_only_folders_that_the_sweep_lists_are_read(sweep):
    listed = sweep.atrous(2)
    sweep.atrous(4)
    (sweep.folder / "trials.json").write_text(json.dumps([listed.name]))
    assert names(read_trials(sweep.folder)) == ["atrous-2"]


def test_a_run_folder_alone_can_be_reported(sweep):
    assert names(read_trials(sweep.atrous(2))) == ["atrous-2"]


def test_a_run_without_a_seed_counts(sweep):
    sweep.atrous(2, seed=1)
    folder = sweep.atrous(2, seed=0)
    content = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(content | {"seed": None}))
    assert [run.seed for run in read_trials(sweep.folder).trials[0].runs] == [1, None]


def test_folders_without_a_run_are_ignored(sweep):
    sweep.atrous(2)
    (sweep.folder / "report" / "tables").mkdir(parents=True)
    assert read_trials(sweep.folder).warnings == ()


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        ("failed", "out of memory\nand more", "failed (out of memory)"),
        ("interrupted", None, "interrupted"),
        ("running", None, "running"),
    ],
)
def test_an_unfinished_run_is_named_with_its_reason_and_left_out(sweep, status, error, reason):
    sweep.atrous(2)
    sweep.atrous(4, status=status, error=error)
    runs = read_trials(sweep.folder)
    assert names(runs) == ["atrous-2"]
    assert runs.warnings == (f"left out: atrous-4-seed0: {reason}; run the sweep again",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not readable as JSON"),
        ("{", "not readable as JSON"),
        ("[1]", "contains list, expected an object"),
        ('{"status": "finished"}', "lacks 'classes'"),
    ],
)
def test_a_broken_result_is_named_with_its_reason_and_left_out(sweep, text, reason):
    sweep.atrous(2)
    (sweep.atrous(4) / "result.json").write_text(text)
    (warning,) = read_trials(sweep.folder).warnings
    assert warning.startswith("left out: atrous-4-seed0/result.json: ")
    assert reason in warning
    assert "\n" not in warning


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"score": {"name": "miou", "value": None, "mode": "max"}},
            "because it was never validated",
        ),
        ({"score": {"name": "miou", "value": 45.3, "mode": "max"}}, "value is 45.3, expected a fraction"),
        ({"trial": "a\x1b[2J"}, "trial has a control character"),
        ({"classes": 3}, "illegal value"),
        ({"version": 99}, "has version 99"),
    ],
)
def test_a_result_with_an_impossible_value_is_left_out(sweep, change, reason):
    sweep.atrous(2)
    path = sweep.atrous(4) / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    trials = read_trials(sweep.folder)
    (warning,) = trials.warnings
    assert (reason in warning, names(trials)) == (True, ["atrous-2"])


def test_a_result_of_version_1_is_read(sweep):
    path = sweep.atrous(2) / "result.json"
    content = json.loads(path.read_text())
    score, classes = content.pop("score"), content.pop("class_scores")
    sizes = content.pop("measurement")["sizes"]
    del content["version"]
    old = {
        "miou": score["value"],
        "best_miou": 0.6,
        "iou": classes["values"],
        "thresholds": sizes["thresholds"],
    }
    path.write_text(json.dumps(content | old))
    run = read_trials(sweep.folder).trials[0].first
    assert (run.score, run.result.score.best, run.size_rule.thresholds) == (50.0, 0.6, (9216.0, 50176.0))


def test_a_run_that_never_started_is_named(sweep):
    sweep.atrous(2)
    (sweep.folder / "atrous-4-seed0").mkdir()
    (sweep.folder / "atrous-4-seed0" / "config.yaml").write_text("model: {}\n")
    (warning,) = read_trials(sweep.folder).warnings
    assert (
        warning
        == "left out: atrous-4-seed0: has no result.json, so the run never started; run the sweep again"
    )


def test_a_run_without_curves_counts_and_is_named(sweep):
    (sweep.deformable() / "metrics.csv").unlink()
    trials = read_trials(sweep.folder)
    assert names(trials) == ["deformable-2"]
    (warning,) = trials.warnings
    assert warning.endswith("deformable-2-seed0/metrics.csv: no such file")


def test_the_best_deformable_trial_is_one_that_recorded_objects(sweep):
    sweep.measure(sweep.deformable(0.5, trial="worse"))
    sweep.measure(sweep.deformable(0.6, trial="better"))
    sweep.deformable(0.7, trial="without objects")
    trials = read_trials(sweep.folder).trials
    assert best_deformable(trials).name == "better"
    assert best_deformable([trial for trial in trials if not trial.layers]) is None


def test_of_two_runs_with_the_same_seed_the_later_one_counts(sweep):
    old = sweep.atrous(2, score=0.4)
    os.utime(old / "result.json", (1, 1))
    old.rename(sweep.folder / "old")
    sweep.atrous(2, score=0.5)
    runs = read_trials(sweep.folder)
    assert [run.score for run in runs.trials[0].runs] == [50.0]
    assert runs.warnings == ("left out: old: atrous-2-seed0 is a later run of atrous-2, seed 0",)


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(RunFolderError, match="no such folder; give the folder that"):
        read_trials(tmp_path / "nowhere")


def test_a_folder_without_runs_is_one_line(tmp_path):
    with pytest.raises(RunFolderError, match="has no run folders") as raised:
        read_trials(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_sweep_without_a_finished_trial_says_why(sweep):
    sweep.atrous(2, status="failed", error="out of memory")
    with pytest.raises(RunFolderError, match=r"no finished trial .*atrous-2-seed0: failed \(out of memory\)"):
        read_trials(sweep.folder)


def test_runs_of_different_data_sets_are_named(sweep):
    sweep.atrous(2)
    sweep.atrous(4, dataset="voc")
    with pytest.raises(
        RunFolderError, match=r"different data sets .*atrous-2-seed0 is on camvid, atrous-4-seed0 on voc"
    ):
        read_trials(sweep.folder)


def test_runs_of_different_class_lists_are_named_with_the_classes(sweep):
    sweep.atrous(2)
    sweep.atrous(4, classes=["Sky", "Road_mark", "Car"])
    with pytest.raises(RunFolderError, match=r"atrous-4-seed0 3 \(different: Car\)"):
        read_trials(sweep.folder)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "not readable"),
        ("3", "not a list"),
        ('{"trials": []}', "not a list"),
        ("[1]", "not a list"),
        ('["../elsewhere"]', "not a list"),
        ("\0", "not readable"),
    ],
)
def test_a_broken_trial_list_is_one_line(sweep, text, reason):
    sweep.atrous(2)
    (sweep.folder / "trials.json").write_text(text)
    with pytest.raises(RunFolderError, match=f"trials.json: {reason}"):
        read_trials(sweep.folder)


def test_analysis_needs_no_pytorch_and_pandas_only_for_tables():
    absent = "{'torch', 'matplotlib.pyplot', 'pandas'}"
    code = f"import sys, deformlab.analysis; sys.exit(bool({absent} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_folder_may_be_given_as_text(sweep):
    sweep.atrous(2)
    assert names(read_trials(str(sweep.folder))) == ["atrous-2"]


def test_truncated_curves_are_named_and_not_used(sweep):
    path = sweep.atrous(2) / "metrics.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    trials = read_trials(sweep.folder)
    (warning,) = trials.warnings
    assert "metrics.csv: ends after epoch 1, but result.json has epoch 2" in warning
    assert trials.trials[0].first.curves == ()


def test_curves_of_another_training_than_the_result_are_named(sweep):
    path = sweep.atrous(2, 0.5) / "metrics.csv"
    path.write_text(path.read_text().replace("0.5\n", "0.4\n"))
    (warning,) = read_trials(sweep.folder).warnings
    assert "metrics.csv: its last mIoU is 0.4000, but result.json has 0.5000" in warning


def test_objects_of_other_data_than_the_scores_are_named_and_not_used(sweep):
    folder = sweep.measure(sweep.deformable(0.5))
    sweep.rewrite(folder, class_scores=ClassScores("iou", {"Sky": 0.7, "Road_mark": 0.3}))
    trials = read_trials(sweep.folder)
    (warning,) = trials.warnings
    assert (
        "objects.csv.gz: was measured on other data or with other options than the scores: IoU of Sky is 60.0"
        in warning
    )
    assert (trials.trials[0].layers, trials.by_object.trials) == ([], ())


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 4096, bytes(range(128, 256)) * 8, b"[]", b"[[", b'{"a": NaN}', b"nan,nan\n"]
)
@pytest.mark.parametrize("name", ["metrics.csv", "objects.csv.gz", "positions.npz", "result.json"])
def test_a_damaged_file_is_a_line_and_the_other_runs_are_read(compared, name, content):
    (compared.folder / "deformable-2-seed1" / name).write_bytes(content)
    trials = read_trials(compared.folder)
    (warning,) = trials.warnings
    assert f"deformable-2-seed1/{name}" in warning
    assert "\n" not in warning
    assert "deformable-2" in names(trials)


def test_a_class_with_the_name_of_all_classes_together_is_refused(sweep, unpack_objects):
    folder = sweep.atrous(2, classes=["Sky", "all"])
    text = unpack_objects(sweep.measure(sweep.atrous(4))).read_text()
    (folder / "objects.csv").write_text(text.replace("Road_mark", "all"))
    (warning,) = read_trials(folder).warnings
    assert "a class is named all" in warning


def test_finished_runs_that_the_sweep_no_longer_lists_are_one_line(sweep):
    listed = sweep.atrous(2)
    for rate in (4, 6, 8, 12):
        sweep.atrous(rate)
    sweep.atrous(16, status="failed")
    sweep.run("pretrain", role="pretraining")
    (sweep.folder / "trials.json").write_text(json.dumps([listed.name]))
    (warning,) = read_trials(sweep.folder).warnings
    assert warning.startswith("4 finished runs are in the sweep folder but not in trials.json")
    assert "atrous-4-seed0, atrous-6-seed0, atrous-8-seed0 and 1 more" in warning


def test_a_sweep_with_only_unlisted_finished_trials_is_an_error_that_names_them(sweep):
    sweep.atrous(2)
    (sweep.folder / "trials.json").write_text(json.dumps(["atrous-4-seed0"]))
    with pytest.raises(RunFolderError, match=r"no finished trial .*1 finished run is .*atrous-2-seed0"):
        read_trials(sweep.folder)


def test_a_trial_that_is_listed_twice_is_read_once(sweep):
    name = sweep.atrous(2).name
    (sweep.folder / "trials.json").write_text(json.dumps([name, name]))
    runs = read_trials(sweep.folder)
    assert ([len(trial.runs) for trial in runs.trials], runs.warnings) == ([1], ())


def test_runs_validated_on_different_data_are_named(sweep):
    def data(fingerprint):
        return {"val": {"dataset": "camvid", "fingerprint": fingerprint, "images": 3}}

    sweep.atrous(1)  # an old run does not say
    sweep.atrous(2, data=data("0123"))
    sweep.atrous(4, data=data("4567"))
    with pytest.raises(
        RunFolderError, match=r"different data .*atrous-2-seed0 on 0123 .*atrous-4-seed0 on 4567"
    ):
        read_trials(sweep.folder)
