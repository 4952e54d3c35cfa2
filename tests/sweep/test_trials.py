from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deformlab.errors import ConfigError
from deformlab.run_folder import RunStatus, read_config, read_status
from deformlab.run_folder.identity import Identity
from deformlab.sweep import Identify, PlannedTrial, make_trials, read_sweep

WriteSweep = Callable[..., Path]
TWO_STAGES = (
    "seeds: [0, 1]\ntrials:\n"
    "  - {name: pretrain, role: pretraining, set: {trainer.max_epochs: 3}}\n"
    "  - {name: deformable, init_from: pretrain, set: {model.conv5: deformable}}\n"
)


def trials_of(path: Path, overrides: dict | None = None, folder: str = "runs/study") -> list[PlannedTrial]:
    return make_trials(read_sweep(path), Path(folder), overrides or {}, Identify(dict))


def test_every_trial_runs_with_every_seed(write_sweep: WriteSweep):
    trials = trials_of(write_sweep("seeds: [0, 1]\ntrials: [{name: a}, {name: b}]"))
    assert [(trial.name, trial.seed, trial.config["seed_everything"]) for trial in trials] == [
        ("a", 0, 0),
        ("b", 0, 0),
        ("a", 1, 1),
        ("b", 1, 1),
    ]


def test_the_folder_is_named_by_trial_seed_and_eight_digits(write_sweep: WriteSweep):
    (trial,) = trials_of(write_sweep("seeds: [7]\ntrials: [{name: atrous-2}]"))
    assert trial.folder == Path("runs/study") / f"atrous-2-seed7-{trial.digest}"
    assert len(trial.digest) == 8
    assert int(trial.digest, 16) >= 0


def test_a_trials_settings_override_the_base_and_overrides_override_both(write_sweep: WriteSweep):
    path = write_sweep("seeds: [0]\ntrials: [{name: a, set: {model.dilation: 4}}]")
    assert trials_of(path)[0].config["model"]["dilation"] == 4
    assert trials_of(path, {"model.dilation": 8})[0].config["model"]["dilation"] == 8


def test_a_child_starts_from_the_last_weights_of_its_parent_with_the_same_seed(write_sweep: WriteSweep):
    pretrain_0, child_0, pretrain_1, child_1 = trials_of(write_sweep(TWO_STAGES))
    assert child_0.parent is pretrain_0
    assert child_1.parent is pretrain_1
    assert child_1.config["model"]["init_weights"] == str(pretrain_1.folder / "checkpoints" / "last.ckpt")


def test_a_childs_id_changes_with_its_parents(write_sweep: WriteSweep):
    before = trials_of(write_sweep(TWO_STAGES))[1]
    after = trials_of(write_sweep(TWO_STAGES.replace("max_epochs: 3", "max_epochs: 4")))[1]
    assert before.digest != after.digest


def test_the_same_file_gives_the_same_ids_in_any_folder(write_sweep: WriteSweep):
    here = trials_of(write_sweep(TWO_STAGES), folder="runs/a")
    there = trials_of(write_sweep(TWO_STAGES), folder="/elsewhere/b")
    assert [trial.digest for trial in here] == [trial.digest for trial in there]


@pytest.mark.parametrize(
    "key",
    [
        *("data.root", "data.num_workers", "trainer.logger", "trainer.default_root_dir", "run_dir", "wandb"),
        *("model.evaluation.flip", "data.eval_transform.short_side", "trainer.check_val_every_n_epoch"),
    ],
)
def test_the_location_of_data_and_measurement_options_do_not_change_the_id(write_sweep: WriteSweep, key: str):
    path = write_sweep("seeds: [0]\ntrials: [{name: a}]")
    assert trials_of(path, {key: "x"})[0].digest == trials_of(path, {key: "y"})[0].digest


@pytest.mark.parametrize(
    "key", ["model.dilation", "trainer.max_epochs", "data.dataset", "model.init_weights"]
)
def test_decisive_options_change_the_id(write_sweep: WriteSweep, key: str):
    path = write_sweep("seeds: [0]\ntrials: [{name: a}]")
    assert trials_of(path, {key: 101})[0].digest != trials_of(path, {key: 102})[0].digest


def test_the_resolved_configuration_runs(write_sweep: WriteSweep):
    path = write_sweep("seeds: [0]\ntrials: [{name: a}]")
    (trial,) = make_trials(
        read_sweep(path), Path("r"), {}, Identify(lambda config: config | {"filled": Path("in"), "t": (1,)})
    )
    assert trial.config["filled"] == "in"
    assert trial.config["t"] == [1]


def test_an_illegal_configuration_names_file_and_trial(write_sweep: WriteSweep):
    def refuse(config: dict) -> dict:
        raise ConfigError("model.dilation: 0 must be at least 1")

    path = write_sweep("seeds: [0]\ntrials: [{name: a}]")
    with pytest.raises(ConfigError, match=r"sweep\.yaml: trial a: model\.dilation: 0 must be at least 1"):
        make_trials(read_sweep(path), Path("r"), {}, Identify(refuse))


def test_seeds_cannot_be_overridden(write_sweep: WriteSweep):
    with pytest.raises(ConfigError, match="seed_everything comes from seeds in"):
        trials_of(write_sweep("seeds: [0]\ntrials: [{name: a}]"), {"seed_everything": 3})


@pytest.mark.parametrize(
    ("trainer", "epochs"), [({"max_epochs": 24}, 24), ({"max_epochs": -1}, None), ({}, None)]
)
def test_the_number_of_epochs_is_known_if_it_ends_the_training(
    write_sweep: WriteSweep, trainer: dict, epochs: int | None
):
    path = write_sweep("seeds: [0]\ntrials: [{name: a}]", base=str({"trainer": trainer}))
    assert trials_of(path)[0].max_epochs == epochs


def test_a_trials_folder_is_prepared_with_its_configuration_and_names(tmp_path: Path):
    trial = PlannedTrial(
        *("atrous-2", 3, "trial", "study", {}, {"model": {"dilation": 2}}, Identity({}, {}), "0123abcd"),
        *(tmp_path / "run", None),
    )
    trial.prepare_folder()
    assert read_config(trial.folder) == trial.config
    status = RunStatus(status="running", trial="atrous-2", sweep="study", seed=3)
    assert read_status(trial.folder) == status
    trial.mark("interrupted", "the sweep was stopped")
    assert read_status(trial.folder) == replace(status, status="interrupted", error="the sweep was stopped")
