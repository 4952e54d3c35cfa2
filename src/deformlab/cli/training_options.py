"""The options of fit, validate, test and predict beside those of the trainer, the task and the data."""

import json
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.cli import LightningArgumentParser

from deformlab.data import SegmentationDataModule
from deformlab.errors import ConfigError
from deformlab.run_folder import identity as identities
from deformlab.run_folder import read_evaluation_config
from deformlab.tasks import SemanticSegmentation

__all__ = ["add_run_options", "check_length", "check_trainer", "cli_settings", "with_run_config"]

DESCRIPTIONS = {
    "fit": "Trains a network and writes a run folder: deformlab fit --config experiments/camvid.yaml "
    "--data.root PATH. The same command with the same --run_dir continues an interrupted training.",
    "validate": "Measures the score and effective dilation of a trained network on the validation split, "
    "also by the size of objects and by distance from the image's border, and records them as the run's own: "
    "deformlab validate --run_dir runs/NAME. On other data or with other options the result is kept beside "
    "them: deformlab validate --run_dir runs/NAME --data.root OTHER --name other-drive.",
    "test": "The same on the test split, recorded as evaluations/test.json in the run folder: deformlab test "
    "--run_dir runs/NAME.",
    "predict": "Segments a folder of images: deformlab predict --run_dir runs/NAME "
    "--data.predict_root IMAGES --output PREDICTIONS.",
}


def add_run_options(parser: LightningArgumentParser) -> None:
    """Adds the options that belong to a run."""
    parser.add_argument(
        "--run_dir",
        type=Path | None,
        default=None,
        help="Run folder. fit: where to write, and to resume from if a checkpoint is there "
        "(default: runs/fit/<data set>-<conv5>-<time>). Other verbs: the run whose configuration and "
        "last checkpoint to use.",
    )
    parser.add_argument(
        "--wandb",
        type=Literal["auto", "online", "offline", "off"],
        default="auto",
        help="Weights & Biases: auto logs online where a key and a network are found, offline otherwise.",
    )
    parser.add_argument(
        "--offset_limit",
        type=float | None,
        default=0.5,
        help="fit: offsets have run away when their median is longer than this share of the shorter side "
        "of the layer's input; null for no warning.",
    )
    parser.add_argument(
        "--name",
        type=str | None,
        default=None,
        help="validate, test: keeps the result as evaluations/NAME.json in the run folder, beside the "
        "run's own.",
    )
    parser.add_argument(
        "--config_version",
        type=int,
        default=identities.VERSION,
        help="Version of what the options mean, as a run's config.yaml records it.",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("predictions"),
        help="predict: folder for the class maps (PNG).",
    )


def cli_settings() -> dict[str, Any]:
    """How LightningCLI is set up."""
    return {
        "model_class": SemanticSegmentation,
        "datamodule_class": SegmentationDataModule,
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
                    "usage": f"deformlab {verb} [--config FILE.yaml] [--run_dir RUN] [--OPTION VALUE ...]",
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
    """Refuses numbers that Lightning ends on with a traceback or takes without a word.

    Raises:
        ConfigError: A number is below its least legal value.
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
    """Refuses a training that would never end, or never begin.

    Raises:
        ConfigError: Nothing says how long to train, or what does is 0.
    """
    if trainer.max_epochs is None and trainer.max_steps == -1 and trainer.max_time is None:
        if trainer.fast_dev_run or trainer.overfit_batches:
            return
        raise ConfigError(
            "fit: nothing says how long to train; give --config FILE.yaml, for example "
            "experiments/camvid.yaml, or --trainer.max_epochs N"
        )
    for name in ("max_epochs", "max_steps"):
        value = getattr(trainer, name)
        if value is not None and value != -1 and value < 1:
            raise ConfigError(f"trainer.{name}={value}: must be at least 1")
