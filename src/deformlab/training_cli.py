"""The training verbs of the command line: LightningCLI with a run folder.

fit, validate, test and predict take their options from the signatures of Trainer, SemanticSegmentation and
SegmentationDataModule; nothing is parsed by hand.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentError
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities import rank_zero_info, rank_zero_only

from deformlab.callbacks import (
    AtomicCheckpointIO,
    BestCheckpoint,
    EpochLines,
    LastCheckpoint,
    LogTablesAndPictures,
    ObjectFiles,
    OffsetMonitor,
    PredictionPictures,
    PredictionWriter,
    ResilientWandbLogger,
    RunFolder,
    RunIdentity,
    Termination,
    check_checkpoint,
)
from deformlab.data import SegmentationDataModule
from deformlab.errors import ConfigError, Interrupted
from deformlab.objects import summary_lines
from deformlab.precision import affordable_precision
from deformlab.quiet import silence_developer_messages
from deformlab.tasks import SemanticSegmentation

__all__ = ["ConfigurationResolver", "run_training_verb"]

DESCRIPTIONS = {
    "fit": "Trains a network and writes a run folder: deformlab fit --config experiments/camvid.yaml "
    "--data.root PATH. The same command with the same --run_dir continues an interrupted training.",
    "validate": "Measures mIoU and effective dilation of a trained network on the validation split, also by "
    "the size of objects and by distance from the image's border, and writes effective_dilation.csv, "
    "objects.json and objects.csv: deformlab validate --run_dir runs/NAME.",
    "test": "Measures mIoU on the test split: deformlab test --run_dir runs/NAME.",
    "predict": "Segments a folder of images: deformlab predict --run_dir runs/NAME "
    "--data.predict_root IMAGES --output PREDICTIONS.",
}


class TrainingCLI(LightningCLI):
    """LightningCLI over SemanticSegmentation and SegmentationDataModule, writing a run folder."""

    def __init__(self, **options: Any) -> None:
        self._termination = Termination()
        with self._termination.listening():
            super().__init__(**options)

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the network's and the data's options before the trainer's many, as a newcomer reads them."""
        parser.add_lightning_class_args(SemanticSegmentation, "model")
        parser.add_lightning_class_args(SegmentationDataModule, "data")
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in self.trainer_defaults.items()})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds what belongs to a run rather than to the trainer, the model or the data."""
        parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
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
            "--output",
            type=Path,
            default=Path("predictions"),
            help="predict: folder for the class maps (PNG).",
        )

    def before_instantiate_classes(self) -> None:
        """Chooses the run folder and the checkpoint."""
        config = self.config[self.subcommand]
        _check_trainer(config.trainer)
        # What a run's own checkpoint scores belongs into its folder.
        self._of_run = config.run_dir is not None and config.ckpt_path is None
        if self.subcommand == "fit":
            if config.run_dir is None:
                name = f"{config.data.dataset}-{config.model.conv5}-{time.strftime('%Y%m%d-%H%M%S')}"
                config.run_dir = Path("runs") / "fit" / name
            last = config.run_dir / "checkpoints" / "last.ckpt"
            if config.ckpt_path is None and last.is_file():
                config.ckpt_path = str(last)
        elif config.ckpt_path is None:
            if config.run_dir is None:
                raise ConfigError(
                    f"{self.subcommand}: which network? give --run_dir RUN or --ckpt_path FILE.ckpt"
                )
            config.ckpt_path = str(config.run_dir / "checkpoints" / "last.ckpt")
        if config.ckpt_path is not None:
            check_checkpoint(Path(config.ckpt_path))
        config.weights_only = True

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            raise ConfigError(f"seed_everything: {error}") from error

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Adds the run folder's callbacks and the logger."""
        config = self.config[self.subcommand]
        callbacks: list[Any] = [self._termination]
        if not sys.stderr.isatty():
            callbacks.append(EpochLines())
        options: dict[str, Any] = {
            "logger": False,
            "plugins": [AtomicCheckpointIO()],
            "precision": affordable_precision(config.trainer.precision, config.trainer.accelerator),
        }
        if self.subcommand == "predict":
            callbacks.append(PredictionWriter(config.output))
        if self.subcommand == "fit" and not config.trainer.fast_dev_run:
            callbacks += self._run_folder_callbacks(config, options)
        else:
            options["enable_checkpointing"] = False
        if not sys.stderr.isatty():
            options["enable_progress_bar"] = False
        configured = self._get(self.config_init, "trainer").get("callbacks") or []
        if configured and not isinstance(configured, list):
            configured = [configured]
        return super().instantiate_trainer(**options, callbacks=[*configured, *callbacks], **kwargs)

    def _run_folder_callbacks(self, config: Any, options: dict[str, Any]) -> list[Any]:
        run_dir = Path(config.run_dir)
        identity = RunIdentity.from_environment(os.environ, default_trial=run_dir.name)
        resolved = self.resolved_configuration(config)
        run_folder = RunFolder(run_dir, identity, resolved)
        callbacks: list[Any] = [
            run_folder,
            OffsetMonitor(run_dir, config.offset_limit),
            PredictionPictures(run_dir),
            BestCheckpoint(run_dir / "checkpoints"),
            LastCheckpoint(run_dir / "checkpoints"),
        ]
        if config.wandb != "off":
            logger = ResilientWandbLogger(config.wandb, run_dir, identity.trial, identity.sweep, resolved)
            options["logger"] = logger
            callbacks += [
                LearningRateMonitor(logging_interval="epoch"),
                LogTablesAndPictures(logger, run_dir, lambda: run_folder.effective_dilation),
            ]
        return callbacks

    def resolved_configuration(self, config: Any) -> dict[str, Any]:
        """The whole configuration as plain values, without what belongs to one call only."""
        parser = self._parser("fit")
        plain = yaml.safe_load(parser.dump(config, skip_unset=False, skip_validation=True))
        return {
            key: value
            for key, value in plain.items()
            if key not in {"config", "run_dir", "output", "ckpt_path", "weights_only"}
        }

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        except BaseException as error:
            # Lightning ends the process by itself (SystemExit), or fails while it tears down.
            requested = self._termination.requested
            if requested is None and not isinstance(error.__context__, KeyboardInterrupt):
                raise
            number = signal.SIGINT if requested is None else requested.number
            run_dir = self.config[subcommand].run_dir
            advice = f"the same command with --run_dir {run_dir} continues after the last complete epoch"
            raise Interrupted(number, advice if subcommand == "fit" else "") from error

    def validate(self, **options: Any) -> None:
        """Runs validation and prints its tables."""
        self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False, **self._named(options))
        self._print_scores("val", ObjectFiles(self.model, self.datamodule.val_dataset))

    def test(self, **options: Any) -> None:
        """Runs the test and prints its tables."""
        self.trainer.test(self.model, datamodule=self.datamodule, verbose=False, **self._named(options))
        self._print_scores("test", ObjectFiles(self.model, self.datamodule.test_dataset))

    def predict(self, **options: Any) -> None:
        """Segments the images and says where the class maps are."""
        named = self._named(options)
        self.trainer.predict(self.model, datamodule=self.datamodule, return_predictions=False, **named)
        rank_zero_info(f"wrote the class maps to {self.config[self.subcommand].output}")

    def _named(self, options: dict[str, Any]) -> dict[str, Any]:
        return {name: options[name] for name in ("ckpt_path", "weights_only")}

    @rank_zero_only
    def _print_scores(self, split: str, objects: ObjectFiles) -> None:
        scores = self.trainer.callback_metrics
        print(f"mIoU {100 * float(scores[f'{split}/miou']):.1f} %")
        for name in self.datamodule.classes:
            print(f"  {name:<16}{100 * float(scores[f'{split}/iou/{name}']):5.1f} %")
        config = self.config[self.subcommand]
        print("\n".join(["", *summary_lines(objects.summary())]))
        if split == "val" and self._of_run:
            objects.write(config.run_dir)
            print(
                f"\nwritten to {config.run_dir}: objects.json and objects.csv, per class and object, and "
                "effective_dilation.csv"
            )

    def _parse_ckpt_path(self) -> None:
        """The network's options come from the configuration, not from the checkpoint."""


class ConfigurationResolver(TrainingCLI):
    """Parses configurations without running anything; building the parser once serves many of them."""

    def __init__(self) -> None:
        silence_developer_messages()
        super().__init__(args={"subcommand": "fit", "fit": {}}, **_options())

    def __call__(self, configuration: dict[str, Any]) -> dict[str, Any]:
        """Checks a configuration of `fit` and fills in every default.

        Args:
            configuration: Nested options, as in a YAML file.

        Returns:
            The same with all defaults.

        Raises:
            ConfigError: An option does not exist or has a value that is not legal.
        """
        try:
            parsed = self._parser("fit").parse_object(configuration)
        except ArgumentError as error:
            raise ConfigError(one_line(str(error))) from error
        return self.resolved_configuration(parsed)

    def before_instantiate_classes(self) -> None:
        """Nothing is run."""

    def instantiate_classes(self) -> None:
        """Nothing is built."""

    def _set_seed(self) -> None:
        """Nothing is random."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing is run."""


def run_training_verb(arguments: list[str]) -> None:
    """Runs fit, validate, test or predict.

    Args:
        arguments: The command line from the verb on.

    Raises:
        DeformlabError: Something the user can mend.
    """
    silence_developer_messages()
    try:
        TrainingCLI(args=_with_run_configuration(arguments), **_options())
    except ArgumentError as error:
        _check_yaml(arguments)
        raise ConfigError(one_line(str(error))) from error


def _check_yaml(arguments: list[str]) -> None:
    """Names the file that is no YAML, which the parser's own message does not."""
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name = following if word in ("-c", "--config") else word.removeprefix("--config=")
        if name and name.endswith((".yaml", ".yml")) and Path(name).is_file():
            try:
                yaml.safe_load(Path(name).read_text())
            except yaml.YAMLError as error:
                reason = one_line(str(error)).replace('in "<unicode string>", ', "")
                raise ConfigError(f"{name}: not valid YAML: {reason}") from error


def _check_trainer(options: Any) -> None:
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


def one_line(message: str) -> str:
    """The first sentence of jsonargparse's explanation, and the reason inside it, on one line."""
    lines = [line.strip(" -") for line in message.splitlines() if line.strip()]
    return " ".join(lines)


def _options() -> dict[str, Any]:
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


def _with_run_configuration(arguments: list[str]) -> list[str]:
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
            configuration = Path(run_dir) / "config.yaml"
            if not configuration.is_file():
                raise ConfigError(
                    f"{configuration}: there is no such file; --run_dir names a folder that fit wrote"
                )
            return [arguments[0], "--config", str(configuration), *arguments[1:]]
    return arguments
