import json
import os
import subprocess
import sys

import pytest

from deformlab.analysis import read_runs
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
        ('{"status": "finished"}', "lacks 'model'"),
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
        ({"miou": None}, "wrong kind"),
        ({"miou": 45.3}, "miou is 45.3, expected a fraction from 0 to 1"),
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
        ("layer4.1.conv2,small", "line 2: "),
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
    path.write_text("layer,size,mean,std,count\nlayer4.1.conv2,small,nan,nan,0\n")
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
    [("[", "not readable"), ("3", "not a list"), ('{"trials": []}', "not a list"), ("[1]", "not a list")],
)
def test_a_broken_trial_list_is_one_line(sweep, text, reason):
    sweep.atrous(2)
    (sweep.folder / "trials.json").write_text(text)
    with pytest.raises(RunFolderError, match=f"trials.json: {reason}"):
        read_runs(sweep.folder)


def test_analysis_needs_no_pytorch():
    code = "import sys, deformlab.analysis; sys.exit(bool({'torch', 'matplotlib.pyplot'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
