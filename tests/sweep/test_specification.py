from collections.abc import Callable
from pathlib import Path

import pytest

from deformlab.errors import ConfigError
from deformlab.sweep import read_sweep

WriteSweep = Callable[..., Path]


def test_a_sweep_file_gives_name_base_seeds_and_trials(write_sweep: WriteSweep):
    sweep = read_sweep(
        write_sweep(
            "seeds: [0, 3]\ntrials:\n  - {name: atrous-4, set: {model.dilation: 4}}\n  - {name: plain}\n"
        )
    )
    assert sweep.name == "study"
    assert sweep.base["model"] == {"dilation": 2, "conv5": "atrous"}
    assert sweep.seeds == (0, 3)
    assert [trial.name for trial in sweep.trials] == ["atrous-4", "plain"]
    assert sweep.trials[0].settings == {"model.dilation": 4}
    assert sweep.trials[0].role == "trial"


def test_the_sweeps_own_set_changes_the_base_of_every_trial(write_sweep: WriteSweep):
    sweep = read_sweep(write_sweep("seeds: [0]\nset: {trainer.max_epochs: 9}\ntrials: [{name: a}]"))
    assert sweep.base["trainer"] == {"max_epochs": 9}


def test_a_grid_gives_one_trial_per_combination(write_sweep: WriteSweep):
    sweep = read_sweep(
        write_sweep(
            "seeds: [0]\n"
            "trials:\n"
            "  - name: atrous-{model.dilation}-{model.width}\n"
            "    set: {model.conv5: atrous}\n"
            "    grid: {model.dilation: [2, 4], model.width: [0.5, 1]}\n"
        )
    )
    assert [trial.name for trial in sweep.trials] == [
        "atrous-2-0.5",
        "atrous-2-1",
        "atrous-4-0.5",
        "atrous-4-1",
    ]
    assert sweep.trials[1].settings == {"model.conv5": "atrous", "model.dilation": 2, "model.width": 1}


def test_each_trial_of_a_grid_can_have_its_own_parent(write_sweep: WriteSweep):
    sweep = read_sweep(
        write_sweep(
            "seeds: [0]\n"
            "trials:\n"
            "  - {name: 'pretrain-{d}', role: pretraining, grid: {d: [2, 4]}}\n"
            "  - {name: 'deformable-{d}', init_from: 'pretrain-{d}', grid: {d: [2, 4]}}\n"
        )
    )
    assert {trial.name: trial.init_from for trial in sweep.trials if trial.init_from} == {
        "deformable-2": "pretrain-2",
        "deformable-4": "pretrain-4",
    }


def test_a_parent_comes_before_its_child_in_any_order_of_the_file(write_sweep: WriteSweep):
    sweep = read_sweep(
        write_sweep(
            "seeds: [0]\ntrials: [{name: c, init_from: b}, {name: b, init_from: a}, {name: a}, {name: d}]"
        )
    )
    assert [trial.name for trial in sweep.trials] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (
            "seeds: [0]\ntrial: []",
            r"unknown key 'trial' \(did you mean trials\?\); legal: name, base, seeds, trials",
        ),
        ("seeds: [0]", "the key 'trials' is missing"),
        ("trials: [{name: a}]", "the key 'seeds' is missing"),
        ("seeds: []\ntrials: [{name: a}]", r"seeds: \[\] must be a list of one or more different integers"),
        ("seeds: 3\ntrials: [{name: a}]", "seeds: 3 must be a list"),
        ("seeds: [0, 0]\ntrials: [{name: a}]", "different integers"),
        ("seeds: [true]\ntrials: [{name: a}]", "integers"),
        ("seeds: [-1]\ntrials: [{name: a}]", "integers from 0"),
        ("seeds: [0]\ntrials: []", r"trials: \[\] must be a list"),
        ("seeds: [0]\ntrials: [{set: {a: 1}}]", "trial 1: must be a mapping with a name"),
        ("seeds: [0]\ntrials: [a]", "trial 1: must be a mapping with a name"),
        ("seeds: [0]\ntrials: [{name: a/b}]", "trial a/b: name: 'a/b' must be made of letters"),
        ("seeds: [0]\ntrials: [{name: ../a}]", "must be made of letters"),
        ("seeds: [0]\ntrials: [{name: a, sets: {}}]", r"trial a: unknown key 'sets' \(did you mean set\?\)"),
        (
            "seeds: [0]\ntrials: [{name: a, role: main}]",
            "trial a: role: 'main' must be one of trial, pretraining",
        ),
        ("seeds: [0]\ntrials: [{name: a, set: 3}]", "trial a: set: 3 must be a mapping with dotted keys"),
        (
            "seeds: [0]\ntrials: [{name: a, set: {seed_everything: 1}}]",
            "trial a: set: seed_everything comes from",
        ),
        ("seeds: [0]\ntrials: [{name: a}, {name: a}]", "2 trials are called 'a'"),
        ("seeds: [0]\ntrials: [{name: a, grid: {d: [1, 2]}}]", "2 trials are called 'a'.*in a grid"),
        ("seeds: [0]\ntrials: [{name: a, grid: {d: 3}}]", "trial a: grid: d: 3 must be a list"),
        (
            "seeds: [0]\ntrials: [{name: 'a{e}', grid: {d: [3]}}]",
            "{e} is not a key of the trial's grid; legal: d",
        ),
        (
            "seeds: [0]\ntrials: [{name: a, init_from: z}]",
            "trial a: init_from: no trial is called 'z'; legal: a",
        ),
        ("seeds: [0]\ntrials: [{name: a, init_from: a}]", "init_from forms a cycle: a <- a"),
        (
            "seeds: [0]\ntrials: [{name: a, init_from: b}, {name: b, init_from: a}]",
            "init_from forms a cycle: a <- b <- a",
        ),
        (
            "seeds: [0]\ntrials: [{name: b}, {name: a, init_from: b, set: {model.init_weights: x}}]",
            "trial a: give init_from or set model.init_weights, not both",
        ),
        ("seeds: [0]\nslurm: 3\ntrials: [{name: a}]", "slurm: 3 must be a mapping"),
        (
            "seeds: [0]\nset: {model.dilation.x: 3}\ntrials: [{name: a}]",
            "set.model.dilation.x: dilation is 2",
        ),
    ],
)
def test_a_mistake_is_one_line_with_file_key_and_what_is_legal(
    write_sweep: WriteSweep, rest: str, message: str
):
    path = write_sweep(rest)
    with pytest.raises(ConfigError, match=message) as caught:
        read_sweep(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_base_is_looked_for_beside_the_sweep_file(tmp_path: Path):
    path = tmp_path / "sweep.yaml"
    path.write_text("name: a\nbase: ../none.yaml\nseeds: [0]\ntrials: [{name: a}]")
    with pytest.raises(ConfigError, match=r"base: no file .*none\.yaml; .*relative to the sweep file"):
        read_sweep(path)


def test_a_sweeps_name_must_be_legal_as_a_folder_name(tmp_path: Path):
    path = tmp_path / "sweep.yaml"
    path.write_text("name: my sweep\nbase: b.yaml\nseeds: [0]\ntrials: [{name: a}]")
    with pytest.raises(ConfigError, match="name: 'my sweep' must be made of letters"):
        read_sweep(path)
