import json
import os
import subprocess
import sys

import pytest

from deformlab.analysis import SIZES, read_runs
from deformlab.errors import RunFolderError


def names(runs):
    return [trial.name for trial in runs.trials]


def test_runs_are_grouped_into_trials_by_name_with_seeds_ascending(sweep):
    sweep.atrous(2, seed=1)
    sweep.atrous(2, seed=0)
    sweep.deformable()
    trials = read_runs(sweep.folder).trials
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
    assert names(read_runs(sweep.folder)) == ["atrous-4", "atrous-12", "a", "b", "m"]


def test_pretraining_is_no_trial(sweep):
    sweep.run("pretrain", role="pretraining")
    sweep.atrous(2)
    runs = read_runs(sweep.folder)
    assert names(runs) == ["atrous-2"]
    assert [run.trial for run in runs.pretraining] == ["pretrain"]
    assert runs.warnings == ()


def test_only_folders_that_the_sweep_lists_are_read(sweep):
    listed = sweep.atrous(2)
    sweep.atrous(4)
    (sweep.folder / "trials.json").write_text(json.dumps([listed.name]))
    assert names(read_runs(sweep.folder)) == ["atrous-2"]


def test_a_run_folder_alone_can_be_reported(sweep):
    assert names(read_runs(sweep.atrous(2))) == ["atrous-2"]


def test_a_run_without_a_seed_counts(sweep):
    sweep.atrous(2, seed=1)
    folder = sweep.atrous(2, seed=0)
    content = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(content | {"seed": None}))
    assert [run.seed for run in read_runs(sweep.folder).trials[0].runs] == [1, None]


def test_folders_that_are_no_runs_are_ignored(sweep):
    sweep.atrous(2)
    (sweep.folder / "report" / "tables").mkdir(parents=True)
    assert read_runs(sweep.folder).warnings == ()


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
    runs = read_runs(sweep.folder)
    assert names(runs) == ["atrous-2"]
    assert runs.warnings == (f"left out: atrous-4-seed0: {reason}; run the sweep again",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not readable as JSON"),
        ("{", "not readable as JSON"),
        ("[1]", "holds list, expected an object"),
        ('{"status": "finished"}', "lacks 'classes'"),
    ],
)
def test_a_broken_result_is_named_with_its_reason_and_left_out(sweep, text, reason):
    sweep.atrous(2)
    (sweep.atrous(4) / "result.json").write_text(text)
    (warning,) = read_runs(sweep.folder).warnings
    assert warning.startswith("left out: atrous-4-seed0/result.json: ")
    assert reason in warning
    assert "\n" not in warning


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"miou": None}, "has no mIoU: it was never validated, or all its labels are ignored"),
        ({"miou": float("nan")}, "score.value is nan"),
        ({"seconds": float("inf")}, "seconds is inf"),
        ({"model": {"width": float("nan")}}, "model.width is nan"),
        ({"epochs": -1}, "epochs is -1"),
        ({"epochs": 1e400}, "epochs is inf"),
        ({"epochs": 2.5}, "epochs is 2.5"),
        ({"parameters": True}, "parameters is True"),
        ({"iou": {"Sky": 7, "Road_mark": 0.1}}, "Sky is 7, expected a fraction"),
        ({"iou": {"Sky": 0.1}}, "iou and classes do not name the same: Road_mark"),
        ({"classes": "Sky"}, "classes is 'Sky', expected a list"),
        ({"classes": ["Sky", "Sky"]}, "different names"),
        ({"trial": "a\x1b[2J"}, "trial has a control character"),
        ({"trial": "\ud800"}, "trial has a control character"),
        ({"palette": ["red;}</style>", "#000000"]}, "no colour"),
        ({"versions": ["torch"]}, "wrong kind"),
        ({"init_from": {"a": 1}}, "init_from is {'a': 1}, expected text"),
        ({"model": {"conv5": "atrous", "dilation": 2.9}}, "dilation is 2.9"),
        ({"measurement": {"version": "two"}}, "version is 'two'"),
        ({"data": {"val": {"fingerprint": 3}}}, "fingerprint is 3"),
        ({"miou": 45.3}, "score.value is 45.3, expected a fraction from 0 to 1"),
        ({"classes": 3}, "wrong kind"),
        ({"iou": []}, "wrong kind"),
        ({"model": {"conv5": "dilated"}}, "model.conv5 is 'dilated', expected one of atrous"),
    ],
)
def test_a_result_with_an_impossible_value_is_left_out(sweep, change, reason):
    sweep.atrous(2)
    folder = sweep.atrous(4)
    content = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(content | change))
    (warning,) = read_runs(sweep.folder).warnings
    assert reason in warning


def test_a_run_that_never_started_is_named(sweep):
    sweep.atrous(2)
    (sweep.folder / "atrous-4-seed0").mkdir()
    (sweep.folder / "atrous-4-seed0" / "config.yaml").write_text("model: {}\n")
    (warning,) = read_runs(sweep.folder).warnings
    assert (
        warning == "left out: atrous-4-seed0: has no result.json; the run never started, run the sweep again"
    )


@pytest.mark.parametrize("name", ["effective_dilation.csv", "metrics.csv"])
def test_a_run_without_an_optional_file_counts_and_is_named(sweep, name):
    (sweep.deformable() / name).unlink()
    runs = read_runs(sweep.folder)
    assert names(runs) == ["deformable-2"]
    (warning,) = runs.warnings
    assert warning.endswith(f"deformable-2-seed0/{name}: no such file")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("layer4.1.conv2,huge,2,0,5", "line 2: size is 'huge', expected one of small"),
        ("layer4.1.conv2,small,two,0,5", "line 2: could not convert"),
        ("layer4.1.conv2,small,nan,0,5", "line 2: mean or std of 5 filters is not a number"),
        ("layer4.1.conv2,small", "line 2 has 2 values for 5 columns"),
        ("layer4.1.conv2,small,2,0,-5", "line 2: count is -5"),
        ("layer4.1.conv2,small,2,0,5.5", "line 2: count is 5.5"),
        ("layer4.1.conv2,small,2,0,inf", "line 2: count is inf"),
        ("layer4.1.conv2,small,1e300,0,5", "line 2: mean or std of 5 filters"),
        ("layer4.1.conv2,small,-2,0,5", "line 2: mean or std of 5 filters"),
        ("layer4.1.conv2,small,2,0,5", "has not one row for each size of layer4.1.conv2"),
    ],
)
def test_a_broken_effective_dilation_file_is_named_with_its_line(sweep, row, reason):
    path = sweep.deformable() / "effective_dilation.csv"
    path.write_text(f"layer,size,mean,std,count\n{row}\n")
    runs = read_runs(sweep.folder)
    assert reason in runs.warnings[0]
    assert runs.trials[0].layers == []


def test_a_size_without_filters_needs_no_mean(sweep):
    path = sweep.deformable() / "effective_dilation.csv"
    rows = [f"layer4.1.conv2,{size},nan,nan,0\n" for size in SIZES]
    path.write_text("".join(["layer,size,mean,std,count\n", *rows]))
    runs = read_runs(sweep.folder)
    assert runs.warnings == ()
    assert runs.trials[0].effective_dilation("layer4.1.conv2", "small").count == 0


def test_of_two_runs_with_the_same_seed_the_later_one_counts(sweep):
    old = sweep.atrous(2, miou=0.4)
    os.utime(old / "result.json", (1, 1))
    old.rename(sweep.folder / "old")
    sweep.atrous(2, miou=0.5)
    runs = read_runs(sweep.folder)
    assert [run.miou for run in runs.trials[0].runs] == [0.5]
    assert runs.warnings == ("left out: old: atrous-2-seed0 is a later run of atrous-2, seed 0",)


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(RunFolderError, match="no such folder; give the folder that"):
        read_runs(tmp_path / "nowhere")


def test_a_folder_without_runs_is_one_line(tmp_path):
    with pytest.raises(RunFolderError, match="has no run folders") as raised:
        read_runs(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_sweep_without_a_finished_trial_says_why(sweep):
    sweep.atrous(2, status="failed", error="out of memory")
    with pytest.raises(RunFolderError, match=r"no finished trial .*atrous-2-seed0: failed \(out of memory\)"):
        read_runs(sweep.folder)


def test_runs_of_different_data_sets_are_named(sweep):
    sweep.atrous(2)
    sweep.atrous(4, dataset="voc")
    with pytest.raises(
        RunFolderError, match=r"different data sets .*atrous-2-seed0 is on camvid, atrous-4-seed0 on voc"
    ):
        read_runs(sweep.folder)


def test_runs_of_different_class_lists_are_named_with_the_classes(sweep):
    sweep.atrous(2)
    sweep.atrous(4, classes=["Sky", "Road_mark", "Car"])
    with pytest.raises(RunFolderError, match=r"atrous-4-seed0 3 \(different: Car\)"):
        read_runs(sweep.folder)


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
        read_runs(sweep.folder)


def test_analysis_needs_no_pytorch():
    code = "import sys, deformlab.analysis; sys.exit(bool({'torch', 'matplotlib.pyplot'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_folder_may_be_given_as_text(sweep):
    sweep.atrous(2)
    assert names(read_runs(str(sweep.folder))) == ["atrous-2"]


def cut(path, lines):
    """Leaves out the last lines of a file, as a copy that was broken off at a row's end does."""
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-lines]))


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("metrics.csv", 1, "metrics.csv: ends after epoch 1, but result.json is of epoch 2"),
        (
            "effective_dilation.csv",
            2,
            "effective_dilation.csv: has not one row for each size of layer4.1.conv2",
        ),
        ("effective_dilation.csv", 4, "effective_dilation.csv and objects.csv are of different validations"),
        ("objects.csv", 3, "objects.csv: has other images and objects than objects.json"),
    ],
)
def test_a_file_that_is_cut_at_a_rows_end_is_named_and_not_used(compared, name, lines, message):
    cut(compared.folder / "deformable-2-seed1" / name, lines)
    (warning,) = read_runs(compared.folder).warnings
    assert message in warning


def test_curves_of_another_training_than_the_result_are_named(sweep):
    path = sweep.atrous(2, 0.5) / "metrics.csv"
    path.write_text(path.read_text().replace("0.5\n", "0.4\n"))
    (warning,) = read_runs(sweep.folder).warnings
    assert "metrics.csv: its last mIoU is 0.4000, but result.json has 0.5000" in warning


def test_objects_of_other_data_than_the_scores_are_named_and_not_used(sweep):
    folder = sweep.add_objects(sweep.deformable(0.5))
    result = json.loads((folder / "result.json").read_text())
    result["iou"] = {"Sky": 0.7, "Road_mark": 0.3}
    (folder / "result.json").write_text(json.dumps(result))
    runs = read_runs(sweep.folder)
    (warning,) = runs.warnings
    assert "objects.csv is of other data or options than the scores: IoU of Sky is 60.0" in warning
    assert (runs.trials[0].layers, runs.joined.trials) == ([], ())


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 4096, bytes(range(128, 256)) * 8, b"[]", b"[[", b'{"a": NaN}', b"nan,nan\n"]
)
@pytest.mark.parametrize(
    "name", ["metrics.csv", "effective_dilation.csv", "objects.csv", "objects.json", "result.json"]
)
def test_a_damaged_file_is_a_line_and_the_other_runs_are_read(compared, name, content):
    (compared.folder / "deformable-2-seed1" / name).write_bytes(content)
    runs = read_runs(compared.folder)
    (warning,) = runs.warnings
    assert f"deformable-2-seed1/{name}" in warning
    assert "\n" not in warning
    assert "deformable-2" in names(runs)


def test_finished_runs_that_the_sweep_no_longer_lists_are_one_line(sweep):
    listed = sweep.atrous(2)
    for rate in (4, 6, 8, 12):
        sweep.atrous(rate)
    sweep.atrous(16, status="failed")
    sweep.run("pretrain", role="pretraining")
    (sweep.folder / "trials.json").write_text(json.dumps([listed.name]))
    (warning,) = read_runs(sweep.folder).warnings
    assert warning.startswith("4 finished runs are in the sweep folder but not in trials.json")
    assert "atrous-4-seed0, atrous-6-seed0, atrous-8-seed0 and 1 more" in warning


def test_a_sweep_of_which_only_older_trials_are_finished_says_so(sweep):
    sweep.atrous(2)
    (sweep.folder / "trials.json").write_text(json.dumps(["atrous-4-seed0"]))
    with pytest.raises(RunFolderError, match=r"no finished trial .*1 finished run is .*atrous-2-seed0"):
        read_runs(sweep.folder)


def test_a_trial_that_is_listed_twice_is_read_once(sweep):
    name = sweep.atrous(2).name
    (sweep.folder / "trials.json").write_text(json.dumps([name, name]))
    runs = read_runs(sweep.folder)
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
        read_runs(sweep.folder)
