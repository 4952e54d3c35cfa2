"""What a training is, on the configurations that the command line resolves."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import yaml

from deformlab.run_folder import identity as identities
from deformlab.run_folder.identity import Change, digest, identify, skeleton
from deformlab.sweep import Identify, make_trials, read_sweep, run_sweep
from deformlab.sweep.state import TrialState

ROOT = Path(__file__).parents[2]
CAMVID = ROOT / "experiments" / "results" / "camvid"


@pytest.fixture(scope="module")
def resolve():
    from deformlab.cli.training import ConfigurationResolver

    return ConfigurationResolver()


@pytest.fixture(scope="module")
def recorded():
    """The configuration of a run of before, with every option of its version."""
    return yaml.safe_load((CAMVID / "deformable-2-seed0-a057cb84" / "config.yaml").read_text())


@pytest.fixture
def present(resolve, recorded):
    """The same experiment as this version resolves it, and the defaults of this version."""
    file = yaml.safe_load((ROOT / "experiments" / "camvid.yaml").read_text())
    file["trainer"] |= {"max_epochs": 12, "check_val_every_n_epoch": 3}
    file["model"] |= {"conv5": "deformable", "init_weights": recorded["model"]["init_weights"]}
    file["model"]["optimization"] |= {"learning_rate": 0.02, "warmup_steps": 20}
    config = resolve(file)
    return config, resolve(skeleton(config))


def training_of(config, defaults, changes=None) -> str:
    return digest(identify(config, defaults, changes).training, None)


def test_a_run_of_an_older_version_has_the_identity_of_its_experiment_today(resolve, recorded, present):
    config, defaults = present
    assert set(identities.flatten(config)) > set(identities.flatten(recorded)) - {"data.options.cache"}
    assert identify(recorded, resolve(skeleton(recorded))) == identify(config, defaults)


def test_a_new_option_with_a_default_changes_no_identity(present):
    config, defaults = present
    later, later_defaults = copy.deepcopy(config), copy.deepcopy(defaults)
    for options in (later, later_defaults):
        options["model"]["new_option"] = "as before"
        options["model"]["optimization"]["another"] = None
    assert training_of(later, later_defaults) == training_of(config, defaults)
    assert training_of(config, later_defaults) == training_of(config, defaults)
    later["model"]["new_option"] = "other"
    assert training_of(later, later_defaults) != training_of(config, defaults)


def test_a_removed_option_changes_no_identity_of_trainings_with_its_default(present):
    config, defaults = present
    removed = Change(2, removed={"model.deform_groups": 1})
    later_defaults = copy.deepcopy(defaults)
    del later_defaults["model"]["deform_groups"]
    later = copy.deepcopy(config)
    del later["model"]["deform_groups"]
    assert training_of(config, later_defaults, [removed]) == training_of(later, later_defaults, [removed])
    config["model"]["deform_groups"] = 2
    assert training_of(config, later_defaults, [removed]) != training_of(later, later_defaults, [removed])


def test_a_new_default_value_changes_no_recorded_identity(present):
    config, defaults = present
    later = copy.deepcopy(defaults)
    later["model"]["freeze_at"] = 2
    recorded, asked_for = copy.deepcopy(config), copy.deepcopy(config)
    asked_for["model"]["freeze_at"] = 2  # what a file that does not name it resolves to by then
    assert identify(recorded, later).training["model.freeze_at"] == 0
    assert training_of(recorded, later) != training_of(asked_for, later)


def test_an_option_whose_default_has_a_new_meaning_needs_a_version(present):
    config, defaults = present
    changed = Change(2, implied={"model.padding": "zeros"})
    later_defaults = copy.deepcopy(defaults)
    later_defaults["model"]["padding"] = "reflect"
    old = copy.deepcopy(config)
    old["config_version"] = 1
    new = copy.deepcopy(config)
    new["config_version"], new["model"]["padding"] = 2, "reflect"
    explicit = copy.deepcopy(new)
    explicit["model"]["padding"] = "zeros"
    of = {
        name: training_of(options, later_defaults, [changed])
        for name, options in (("old", old), ("new", new), ("explicit", explicit))
    }
    assert of["old"] == of["explicit"] != of["new"]


def test_a_renamed_option_is_the_same_option(present):
    config, defaults = present
    renamed = Change(2, renamed={"model.conv5": "model.convolution"})
    later, later_defaults = copy.deepcopy(config), copy.deepcopy(defaults)
    for options in (later, later_defaults):
        options["model"]["convolution"] = options["model"].pop("conv5")
    later["config_version"] = 2
    assert training_of(config, later_defaults, [renamed]) == training_of(later, later_defaults, [renamed])


def test_equivalent_values_are_equal(present):
    config, defaults = present
    other = copy.deepcopy(config)
    other["model"]["dilation"] = 2.0
    other["model"]["evaluation"]["object_sizes"] = (1024, 4096)
    assert identify(other, defaults) == identify(config, defaults)


def test_every_option_is_classified(present):
    """Ids of this version; a change here makes every sweep of every user start from the beginning."""
    config, defaults = present
    assert training_of(config, defaults) == "0f26444d"


def test_initial_weights_do_not_depend_on_the_location_of_their_sweep(present):
    config, defaults = present
    moved = copy.deepcopy(config)
    moved["model"]["init_weights"] = "/elsewhere/pretrain-seed0-a3be8b50/checkpoints/last.ckpt"
    assert training_of(moved, defaults) == training_of(config, defaults)
    moved["model"]["init_weights"] = "/elsewhere/pretrain-seed1-0da9ff93/checkpoints/last.ckpt"
    assert training_of(moved, defaults) != training_of(config, defaults)


def test_the_committed_sweep_is_continued_with_every_trial_finished(resolve, tmp_path, capsys):
    folder = shutil.copytree(CAMVID, tmp_path / "dilation", ignore=shutil.ignore_patterns("report"))
    names = json.loads((folder / "trials.json").read_text())
    sweep = ROOT / "experiments" / "sweeps" / "dilation.yaml"
    identify_ = Identify(resolve)
    trials = make_trials(read_sweep(sweep), folder, {"data.root": str(tmp_path)}, identify_)
    assert sorted(trial.folder.name for trial in trials) == sorted(names)
    states = [TrialState(trial) for trial in trials]
    for state in states:
        state.read_run_folder(identify_)
    assert {state.status for state in states} == {"finished"}
    assert all(state.measured_by_an_older_version for state in states)

    assert run_sweep(sweep, output=folder, resolve=resolve) == 0
    printed = capsys.readouterr().out
    assert "16 trials, 16 already finished" in printed
    assert "16 of them were measured by an older version" in printed
    assert sorted(json.loads((folder / "trials.json").read_text())) == sorted(names)


@pytest.mark.parametrize(
    ("sweep", "results"),
    [
        ("object_size", "object_size"),
        ("object_size_causes", "object_size_causes"),
        ("offset_learning_rate", "offset_learning_rate"),
    ],
)
def test_every_committed_sweep_is_recognized(resolve, sweep, results):
    folder = ROOT / "experiments" / "results" / results
    file = read_sweep(ROOT / "experiments" / "sweeps" / f"{sweep}.yaml")
    trials = make_trials(file, folder, {}, Identify(resolve))
    assert sorted(trial.folder.name for trial in trials) == sorted(
        json.loads((folder / "trials.json").read_text())
    )


def test_the_task_belongs_to_the_identity_and_segmentation_is_the_default(resolve):
    config = {"data": {"dataset": "shapes"}}
    implied = identify(config, resolve(skeleton(config)))
    named = identify({"task": "segmentation", **config}, resolve(skeleton(config)))
    other = identify({"task": "other", **config}, resolve(skeleton(config)) | {"task": "other"})
    assert implied.training == named.training
    assert other.training == {**implied.training, "task": "other"}
