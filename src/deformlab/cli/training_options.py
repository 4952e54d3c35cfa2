"""The options of a run, the help of fit, validate, test and predict, and checks of the trainer's options."""

import argparse
import json
import re
import textwrap
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.cli import LightningArgumentParser

from deformlab.cli.task_kinds import TASKS, task_kind
from deformlab.errors import ConfigError
from deformlab.run_folder import identity as identities
from deformlab.run_folder import read_evaluation_config

__all__ = [
    "add_help_options",
    "add_run_options",
    "check_length",
    "check_trainer",
    "cli_settings",
    "with_run_config",
]

USAGE = "deformlab {verb} [--config FILE] [--run_dir RUN] [--OPTION VALUE]..."
# Of the help on common options, and where its texts begin.
WIDTH, COLUMN = 80, 36
DESCRIPTIONS = {
    "fit": "Trains a network and writes a run folder. The same command with the same --run_dir continues a "
    "training that was interrupted.",
    "validate": "Measures mIoU and effective dilation of a trained network on the validation images, overall "
    "and by object size, and records them in the run folder. Results on other data, or with other options, "
    "need a --name and do not replace the run's own.",
    "test": "Measures mIoU and effective dilation of a trained network on the test split and records them in "
    "the run folder as evaluations/test.json.",
    "predict": "Segments a folder of images with a trained network. Writes each class map twice: as class "
    "numbers and in colour.",
}
EXAMPLES = {
    "fit": "deformlab fit --config experiments/camvid.yaml --data.root CAMVID",
    "validate": "deformlab validate --run_dir RUN --data.root OTHER --name other-drive",
    "test": "deformlab test --run_dir RUN",
    "predict": "deformlab predict --run_dir RUN --data.predict_root IN --output OUT",
}

# The options that --help shows, by group. Their texts and defaults are the parser's.
MACHINE = ("data.num_workers", "trainer.accelerator", "trainer.devices", "trainer.precision")
EVALUATION = {
    "run": ("config", "run_dir", "ckpt_path", "name"),
    "data": ("data.dataset", "data.root", "data.val_batch_size"),
    "measuring": (
        "model.evaluation.scales",
        "model.evaluation.flip",
        "model.evaluation.object_sizes",
    ),
    "machine": MACHINE,
}
COMMON_OPTIONS = {
    "fit": {
        "run": ("config", "run_dir", "task", "wandb", "seed_everything"),
        "data": ("data.dataset", "data.root", "data.batch_size"),
        "network": (
            "model.backbone",
            "model.backbone_weights",
            "model.init_weights",
            "model.output_stride",
            "model.conv5",
            "model.dilation",
            "model.num_deformable_layers",
        ),
        "training": ("trainer.max_epochs", "model.optimization.learning_rate", *MACHINE),
    },
    "validate": EVALUATION,
    "test": EVALUATION,
    "predict": {
        "run": ("config", "run_dir", "ckpt_path"),
        "images": ("data.predict_root", "output"),
        "network": ("model.evaluation.scales", "model.evaluation.flip"),
        "machine": MACHINE,
    },
}
# Instead of texts that were written for readers of Python code.
TEXTS = {
    "run_dir": "Run folder of the trained network. Its configuration and last checkpoint are used.",
    "config": "YAML file with options. Options after it on the command line override it.",
    "seed_everything": "Seed of all random numbers. With true, a random seed is drawn.",
    "task": f"{', '.join(TASKS)}. Other options depend on it.",
    "model.backbone": "For example resnet18, resnet50 or resnet101.",
    "ckpt_path": "Checkpoint instead of the run's last one.",
    "trainer.max_epochs": "Epochs to train.",
    "trainer.accelerator": "`cpu`, `gpu`, or `auto`: a GPU if present.",
    "trainer.devices": "Number of GPUs or CPU processes. `auto`: all GPUs, or one CPU process.",
    "trainer.precision": "32-true (default), bf16-mixed or 16-mixed.",
}
# In place of the upper-case end of an option's name.
PLACEHOLDERS = {"config": "FILE", "run_dir": "RUN"}
FIT_TEXTS = {
    "run_dir": "Run folder to write, or to continue. Default: runs/fit/<data set>-<conv5>-<time>; a training "
    "that was interrupted continues after its last checkpoint.",
}


def add_run_options(parser: LightningArgumentParser) -> None:
    """Adds the options that belong to a run."""
    parser.add_argument(
        "--task",
        type=Literal[tuple(TASKS)],
        default=identities.DEFAULT_TASK,
        help="What the network does; the options of `model` and `data` depend on it.",
    )
    parser.add_argument("--run_dir", type=Path | None, default=None)
    parser.add_argument(
        "--wandb",
        type=Literal["auto", "online", "offline", "off"],
        default="auto",
        help="Weights & Biases; `auto` logs online if there is a key and a network, else offline.",
    )
    parser.add_argument(
        "--offset_limit",
        type=float | None,
        default=0.5,
        help="fit: warns of runaway offsets when their median is longer than this share of the shorter side "
        "of the layer's input; null for no warning.",
    )
    parser.add_argument(
        "--name",
        type=str | None,
        default=None,
        help="Keeps the result as evaluations/NAME.json. The file is in the run folder of validate or test.",
    )
    parser.add_argument(
        "--config_version",
        type=int,
        default=identities.VERSION,
        help="Version of the options' meaning, as recorded in a run's config.yaml.",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("predictions"), help="Folder for the class maps (PNG)."
    )


def add_help_options(parser: LightningArgumentParser, verb: str, task: str) -> None:
    """Adds `--help` for the common options of a verb and `--help-all` for every option."""
    data_sets = {"data.dataset": f"Data set: {', '.join(TASKS[task].datamodule.datasets)}."}
    texts = TEXTS | data_sets | (FIT_TEXTS if verb == "fit" else {})
    for action in parser._actions:
        action.help = texts.get(action.dest, action.help)
    parser.add_argument("-h", "--help", action=_CommonHelp, help="Shows the common options.", verb=verb)
    parser.add_argument("--help-all", action="help", help="Shows all options.")


class _CommonHelp(argparse._HelpAction):
    """Prints the common options of a verb and exits. The parser leaves help actions out of configurations."""

    def __init__(self, *arguments: Any, verb: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.verb = verb

    def __call__(self, parser: argparse.ArgumentParser, *arguments: Any) -> None:
        print(common_help(parser, self.verb))
        parser.exit()


def common_help(parser: argparse.ArgumentParser, verb: str) -> str:
    """The common options of a verb, each with its default and a short text, 80 columns wide."""
    actions = {action.dest: action for action in parser._actions}
    lines = [
        f"usage: {USAGE.format(verb=verb)}",
        f"example: {EXAMPLES[verb]}",
        "",
        *textwrap.wrap(DESCRIPTIONS[verb], WIDTH),
        "",
        "Common options with their defaults (UPPER CASE: no default):"
        if verb == "fit"
        else "Common options with their defaults; the configuration of RUN overrides them:",
    ]
    for group, names in COMMON_OPTIONS[verb].items():
        shown = [actions[name] for name in names if name in actions]
        lines += [f"{group}:", *(line for action in shown for line in _option_lines(action))]
    return "\n".join([*lines, "", f"deformlab {verb} --help-all shows all options."])


def _option_lines(action: argparse.Action) -> list[str]:
    """An option with its default, and the first sentence of its text in the second column."""
    value = _plain(action.default)
    if action.default is None:
        value = PLACEHOLDERS.get(action.dest) or re.split(r"[._]", action.dest)[-1].upper()
    text = re.sub(r" \([^()]*\)", "", " ".join((action.help or "").split()))
    text = text.split(". ")[0].split("; ")[0].rstrip(".")
    first, *more = textwrap.wrap(text[:1].upper() + text[1:], WIDTH - COLUMN)
    option = f"  --{action.dest} {value}"
    if len(option) < COLUMN - 1:
        option = f"{option:<{COLUMN}}{first}"
    else:
        more = [first, *more]
    return [option, *(" " * COLUMN + line for line in more)]


def _plain(value: Any) -> str:
    """A default as one writes it on the command line."""
    return json.dumps(value if not isinstance(value, Path) else str(value)).strip('"').replace(" ", "")


def cli_settings(task: str) -> dict[str, Any]:
    """How LightningCLI is set up.

    Args:
        task: The name of the task.

    Raises:
        ConfigError: No task has this name.
    """
    kind = task_kind({"task": task})
    return {
        "model_class": kind.task,
        "datamodule_class": kind.datamodule,
        "save_config_callback": None,
        "seed_everything_default": 0,
        "auto_configure_optimizers": False,
        "load_from_checkpoint_support": False,
        "trainer_defaults": {
            "num_sanity_val_steps": 0,
            "enable_model_summary": False,
            "log_every_n_steps": 10,
        },
        "parser_kwargs": {
            "exit_on_error": False,
            **{
                verb: {
                    "description": text,
                    "usage": USAGE.format(verb=verb),
                    "add_help": False,
                    "exit_on_error": False,
                }
                for verb, text in DESCRIPTIONS.items()
            },
        },
    }


def with_run_config(arguments: list[str]) -> list[str]:
    """For `validate --run_dir RUN` and the like, reads RUN/config.yaml unless another one is named."""
    if arguments[0] == "fit" or any(
        word in ("-c", "--config") or word.startswith("--config=") for word in arguments
    ):
        return arguments
    for position, word in enumerate(arguments):
        run_dir = arguments[position + 1] if word == "--run_dir" and position + 1 < len(arguments) else None
        if word.startswith("--run_dir="):
            run_dir = word.split("=", 1)[1]
        if run_dir is not None:
            configuration = read_evaluation_config(Path(run_dir))
            return [arguments[0], "--config", json.dumps(configuration), *arguments[1:]]
    return arguments


def check_trainer(options: Any) -> None:
    """Refuses numbers for which Lightning would raise a traceback or silently do something else.

    Raises:
        ConfigError: A number is below its smallest legal value.
    """
    for name, least in (
        ("accumulate_grad_batches", 1),
        ("check_val_every_n_epoch", 1),
        ("gradient_clip_val", 0),
        ("log_every_n_steps", 0),
    ):
        value = options[name]
        if value is not None and value < least:
            raise ConfigError(f"trainer.{name} must be >= {least}, got {value}")


def check_length(trainer: Any) -> None:
    """Refuses a training without a length, or of length 0.

    Raises:
        ConfigError: No option says how long to train, or one that does is 0.
    """
    if trainer.max_epochs is None and trainer.max_steps == -1 and trainer.max_time is None:
        if trainer.fast_dev_run or trainer.overfit_batches:
            return
        raise ConfigError(
            "fit: the length of the training is not set; give --config FILE.yaml (to continue a run: "
            "--config RUN/config.yaml), or --trainer.max_epochs N"
        )
    for name in ("max_epochs", "max_steps"):
        value = getattr(trainer, name)
        if value is not None and value != -1 and value < 1:
            raise ConfigError(f"trainer.{name}={value}: must be at least 1")
