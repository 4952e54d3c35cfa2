"""Configurations in experiments/ are legal, say what they cost, and hold the papers' numbers."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from deformlab.cli.training import ConfigurationResolver
from deformlab.run_folder import read_config, read_trial_list
from deformlab.run_folder.identity import flatten
from deformlab.sweep import Identify, make_trials, read_sweep
from deformlab.yaml_file import read_yaml

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
CONFIGURATIONS = sorted([*EXPERIMENTS.glob("*.yaml"), *EXPERIMENTS.glob("detection/*.yaml")])
SWEEPS = sorted((EXPERIMENTS / "sweeps").glob("*.yaml"))
TRAINING_IMAGES = {"cityscapes": 2975, "voc": 10582}


def by_name(path):
    return path.stem


@pytest.fixture(scope="session")
def resolve():
    return ConfigurationResolver()


@pytest.fixture
def experiment(resolve):
    """The resolved configuration of an experiment, sections as attributes."""

    def load(name):
        return _attributes(resolve(read_yaml(EXPERIMENTS / f"{name}.yaml", "configuration")))

    return load


def _attributes(value):
    if not isinstance(value, dict):
        return value
    return SimpleNamespace(**{key: _attributes(item) for key, item in value.items()})


def epochs_are_validated_to_the_last(trainer):
    return trainer["max_epochs"] % (trainer["check_val_every_n_epoch"] or 1) == 0


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=by_name)
def test_a_configuration_is_legal_and_validates_its_last_epoch(path, resolve):
    resolved = resolve(read_yaml(path, "configuration"))
    assert epochs_are_validated_to_the_last(resolved["trainer"])


@pytest.mark.parametrize("path", SWEEPS, ids=by_name)
def test_a_sweep_resolves_and_every_trial_validates_its_last_epoch(path, resolve, tmp_path):
    trials = make_trials(read_sweep(path), tmp_path, {}, Identify(resolve))
    assert len({trial.folder for trial in trials}) == len(trials) > 1
    assert all(epochs_are_validated_to_the_last(trial.config["trainer"]) for trial in trials)


@pytest.mark.parametrize("path", [*CONFIGURATIONS, *SWEEPS], ids=by_name)
def test_a_file_opens_with_a_comment(path):
    first = path.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert len(first) > 20


@pytest.mark.parametrize("path", [*CONFIGURATIONS, *SWEEPS], ids=by_name)
def test_the_opening_comment_says_what_it_costs(path):
    text = path.read_text()
    comment = text[: text.index("\n" + next(line for line in text.splitlines() if not line.startswith("#")))]
    assert "cost" in comment.lower()


@pytest.mark.parametrize("dataset", ["cityscapes", "voc"])
@pytest.mark.parametrize("source", ["paper", "authors"])
def test_published_scores_are_marked_as_published(dataset, source):
    comment = (EXPERIMENTS / f"{dataset}_{source}.yaml").read_text()
    assert "published, not run here" in comment
    assert "estimate" in comment


@pytest.mark.parametrize("dataset", ["cityscapes", "voc"])
@pytest.mark.parametrize("source", ["paper", "authors"])
def test_what_paper_and_code_share(experiment, dataset, source):
    config = experiment(f"{dataset}_{source}")
    model, optimization = config.model, config.model.optimization
    assert (model.backbone, model.output_stride, model.head_channels) == ("resnet101", 16, 1024)
    assert (model.conv5, model.num_deformable_layers, model.dilation) == ("deformable", 3, 2)
    assert (model.deform_groups, model.batch_norm, model.freeze_at) == (1, "frozen", 2)
    assert (optimization.momentum, optimization.weight_decay) == (0.9, 5e-4)
    assert (optimization.schedule, optimization.offset_lr_multiplier) == ("step", 1)
    assert config.data.batch_size == 1
    short_side = {"cityscapes": 1024, "voc": 360}[dataset]
    assert config.data.train_transform.short_side == config.data.eval_transform.short_side == short_side
    assert config.data.train_transform.scale == [1, 1]
    assert config.data.train_transform.flip == 0.5


@pytest.mark.parametrize(("dataset", "iterations"), [("cityscapes", 45_000), ("voc", 30_000)])
def test_the_papers_protocol(experiment, dataset, iterations):
    config = experiment(f"{dataset}_paper")
    optimization = config.model.optimization
    assert config.trainer.devices == 8
    steps = config.trainer.max_epochs * (TRAINING_IMAGES[dataset] // 8)
    assert steps == pytest.approx(iterations, rel=0.02)
    assert f"{steps:,} steps" in (EXPERIMENTS / f"{dataset}_paper.yaml").read_text()
    assert optimization.learning_rate == 1e-3
    assert optimization.step_at == pytest.approx(2 / 3)
    assert (optimization.warmup_steps, optimization.offset_bias_lr_multiplier) == (0, None)
    assert config.model.offset_dilation is None
    assert config.data.train_transform.crop is None


@pytest.mark.parametrize(
    ("dataset", "epochs", "step_epoch", "warmup_steps", "crop"),
    [("cityscapes", 53, 40.336, 1000, [768, 1024]), ("voc", 12, 8, 0, None)],
)
def test_the_authors_code(experiment, dataset, epochs, step_epoch, warmup_steps, crop):
    config = experiment(f"{dataset}_authors")
    optimization = config.model.optimization
    assert config.trainer.devices == 4
    assert config.trainer.max_epochs == 2 * epochs
    steps = config.trainer.max_epochs * (TRAINING_IMAGES[dataset] // 4)
    assert f"{steps:,} steps" in (EXPERIMENTS / f"{dataset}_authors.yaml").read_text()
    assert optimization.learning_rate == 5e-4
    assert optimization.step_at == pytest.approx(step_epoch / epochs)
    assert optimization.warmup_steps == warmup_steps
    # A tenth of the rate, 5e-5, until the warm-up ends.
    assert warmup_steps == 0 or optimization.warmup == "constant"
    assert (optimization.offset_bias_lr_multiplier, config.model.offset_dilation) == (2, 1)
    assert config.data.train_transform.crop == crop


def test_the_sweep_over_layers_has_the_rows_of_table_1(resolve, tmp_path):
    sweep = read_sweep(EXPERIMENTS / "sweeps" / "deformable_layers.yaml")
    models = [
        trial.config["model"]
        for trial in make_trials(sweep, tmp_path, {}, Identify(resolve))
        if trial.role == "trial" and trial.seed == sweep.seeds[0]
    ]
    assert models[0]["conv5"] == "atrous"
    assert [(model["conv5"], model["num_deformable_layers"]) for model in models[1:]] == [
        ("deformable", 1),
        ("deformable", 2),
        ("deformable", 3),
        ("deformable", 6),
        ("modulated", "all"),
    ]
    assert [model["dilation"] for model in models] == [2] * 6


def test_the_study_of_shapes_is_still_the_one_that_was_run(resolve):
    folder = EXPERIMENTS / "results" / "shapes"
    trials = make_trials(read_sweep(EXPERIMENTS / "sweeps" / "shapes.yaml"), folder, {}, Identify(resolve))
    assert [trial.folder.name for trial in trials] == read_trial_list(folder)
    for trial in trials:
        # Options that are newer than the study have their defaults.
        recorded, present = flatten(read_config(trial.folder)), flatten(trial.config)
        assert recorded.items() <= present.items()
