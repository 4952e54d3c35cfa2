"""The training verbs of the command line: LightningCLI with a run folder.

fit, validate, test and predict take their options from the signatures of Trainer, SemanticSegmentation and
SegmentationDataModule; nothing is parsed by hand.
"""

import contextlib
import difflib
import json
import os
import re
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentError, set_parsing_settings
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities import rank_zero_info, rank_zero_only

from deformlab import provenance
from deformlab.callbacks import (
    AtomicCheckpointIO,
    BestCheckpoint,
    EpochBar,
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
    Scores,
    Termination,
)
from deformlab.data import SegmentationDataModule
from deformlab.errors import ConfigError, Interrupted
from deformlab.objects import summary_lines
from deformlab.precision import affordable_precision
from deformlab.quiet import silence_developer_messages
from deformlab.recorded_training import RecordedTraining, evaluation_configuration, for_evaluation
from deformlab.run_folder import identity as identities
from deformlab.run_folder.evaluations import Evaluation, check_name, write_evaluation
from deformlab.run_folder.files import read_json, write_atomically
from deformlab.run_folder.lock import ORPHAN_PATIENCE, acquire, inherited, sign
from deformlab.run_folder.measurement import measurement
from deformlab.tasks import SemanticSegmentation

__all__ = ["ConfigurationResolver", "run_training_verb"]

# --help takes an option's text from the docstring beside its field.
set_parsing_settings(docstring_parse_attribute_docstrings=True)

DESCRIPTIONS = {
    "fit": "Trains a network and writes a run folder: deformlab fit --config experiments/camvid.yaml "
    "--data.root PATH. The same command with the same --run_dir continues an interrupted training.",
    "validate": "Measures mIoU and effective dilation of a trained network on the validation split, also by "
    "the size of objects and by distance from the image's border, and records them as the run's own: "
    "deformlab validate --run_dir runs/NAME. On other data or with other options the result stands beside "
    "them: deformlab validate --run_dir runs/NAME --data.root OTHER --name other-drive.",
    "test": "The same on the test split, recorded as evaluations/test.json in the run folder: deformlab test "
    "--run_dir runs/NAME.",
    "predict": "Segments a folder of images: deformlab predict --run_dir runs/NAME "
    "--data.predict_root IMAGES --output PREDICTIONS.",
}


class TrainingCLI(LightningCLI):
    """LightningCLI over SemanticSegmentation and SegmentationDataModule, writing a run folder.

    Attributes:
        resources: What is freed when the verb ends: the run folder's lock.
        recorded: The training that a checkpoint continues or an evaluation measures.
        identity: What decides the result of the present options.
        changed: Options in which an evaluation differs from the training's own.
    """

    resources: contextlib.ExitStack
    recorded: RecordedTraining | None
    identity: identities.Identity
    changed: dict[str, Any]

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

    def before_instantiate_classes(self) -> None:
        """Chooses the run folder and the checkpoint, and reads what is recorded of it."""
        config = self.config[self.subcommand]
        if config.config_version != identities.VERSION:
            raise ConfigError(
                f"config_version {config.config_version}: this deformlab reads {identities.VERSION}; use the "
                "version that wrote the configuration"
            )
        _check_trainer(config.trainer)
        if self.subcommand == "fit":
            self._before_fit(config)
        else:
            self._before_evaluation(config)
        config.weights_only = True

    def _before_fit(self, config: Any) -> None:
        _check_length(config.trainer)
        if config.run_dir is None:
            name = f"{config.data.dataset}-{config.model.conv5}-{time.strftime('%Y%m%d-%H%M%S')}"
            config.run_dir = Path("runs") / "fit" / name
        self._lock(config.run_dir)
        last = config.run_dir / "checkpoints" / "last.ckpt"
        if config.ckpt_path is None and last.is_file():
            config.ckpt_path = str(last)
        resolved = self.resolved_configuration(config)
        self.identity = self._identify(resolved)
        self.recorded = None if config.ckpt_path is None else RecordedTraining.read(Path(config.ckpt_path))
        if self.recorded is not None:
            self._check_same(self.recorded, config.run_dir)

    def _check_same(self, recorded: RecordedTraining, run_dir: Path) -> None:
        """Refuses to continue a training with options that would make it another one."""
        then, now = self._identify(recorded.config), self.identity
        changed = then.differences(now, "training")
        mend = "give a new --run_dir to train with these, or the options of before to continue"
        if not changed and not recorded.complete:
            changed = then.differences(now, "measurement")
            mend = (
                "leave them as they were until the training is finished; then it can be measured with others"
            )
        if changed:
            raise ConfigError(f"{run_dir} was begun with other options: {', '.join(changed)}; {mend}")

    def _before_evaluation(self, config: Any) -> None:
        if config.name is not None:
            check_name(config.name)
        if config.ckpt_path is None and config.run_dir is None:
            raise ConfigError(
                f"{self.subcommand}: which network? give --run_dir RUN or --ckpt_path FILE.ckpt"
            )
        if config.name is not None and config.run_dir is None:
            raise ConfigError("--name: the result is kept in a run folder; give --run_dir RUN")
        # What a run's own checkpoint scores belongs into its folder.
        self._of_run = config.run_dir is not None and config.ckpt_path is None
        if config.ckpt_path is None:
            config.ckpt_path = str(config.run_dir / "checkpoints" / "last.ckpt")
        self.recorded = RecordedTraining.read(Path(config.ckpt_path))
        self.identity = self._identify(self.resolved_configuration(config))
        self.changed = self._identify(for_evaluation(self.recorded.config)).changed(self.identity)

    def _identify(self, configuration: dict[str, Any]) -> identities.Identity:
        """What decides the result of a configuration, by the defaults of this version."""
        sections = identities.skeleton(configuration)
        try:
            parsed = self._parser("fit").parse_object(sections, defaults=True)
        except ArgumentError as error:
            raise ConfigError(f"the recorded configuration: {one_line(str(error))}") from error
        return identities.identify(configuration, self.resolved_configuration(parsed))

    def _lock(self, run_dir: Path) -> None:
        """Holds the run folder until the process ends; a sweep holds it for its trials."""
        path = run_dir / ".lock"
        if getattr(rank_zero_only, "rank", 0) or inherited(path):
            return
        file = acquire(path, f"run folder {run_dir}", ORPHAN_PATIENCE)
        sign(file, os.getpid())
        self.resources.callback(file.close)

    def instantiate_classes(self) -> None:
        """Builds nothing where nothing is left to do."""
        if not self._finished():
            super().instantiate_classes()

    def _finished(self) -> bool:
        """Whether a training is finished and its network measured as it is asked for."""
        if self.subcommand != "fit" or self.recorded is None or not self.recorded.complete:
            return False
        result = self.recorded.result
        measured = (result.get("measurement") or {}).get("options")
        if measured is None:
            measured = self._identify(self.recorded.config).measurement
        of_run = Path(self.config.fit.run_dir).resolve() == self.recorded.run_dir.resolve()
        return of_run and result.get("status") == "finished" and measured == self.identity.measurement

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
        elif config.trainer.enable_progress_bar is not False:
            callbacks.append(EpochBar())
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
        self.run_folder = run_folder = RunFolder(run_dir, identity, resolved, self.identity.measurement)
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
            if key not in {"config", "run_dir", "output", "ckpt_path", "weights_only", "name"}
        }

    def _run_subcommand(self, subcommand: str) -> None:
        if self.recorded is not None and self._finished():
            run_dir = self.recorded.run_dir
            self._say_score(f"{run_dir}: finished before, nothing to train", self.recorded.result)
            return
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

    def fit(self, **options: Any) -> None:
        """Trains what is left to train, and measures the finished network."""
        run_dir = self.config.fit.run_dir
        self._check_images()
        named = self._named(options)
        if self.recorded is not None and self.recorded.complete:
            rank_zero_info(f"{run_dir}: trained before; measuring the network")
            self._measure(named["ckpt_path"])
        else:
            if not self.config.fit.trainer.fast_dev_run:
                rank_zero_info(f"run folder: {run_dir}")
            self.trainer.fit(self.model, datamodule=self.datamodule, **named)
            if self.config.fit.trainer.fast_dev_run:
                return
            if self.run_folder.must_measure(self.trainer):
                self._measure(str(run_dir / "checkpoints" / "last.ckpt"))
        if self.trainer.is_global_zero:
            self._say_score(f"{run_dir}: finished", read_json(run_dir / "result.json"))

    def _measure(self, checkpoint: str) -> None:
        self.trainer.validate(
            self.model, datamodule=self.datamodule, ckpt_path=checkpoint, weights_only=True, verbose=False
        )
        self.run_folder.record_measurement(self.trainer, self.model)

    def _say_score(self, text: str, result: dict[str, Any]) -> None:
        miou = result.get("miou")
        rank_zero_info(f"{text}; " + ("no mIoU was measured" if miou is None else f"mIoU {100 * miou:.1f} %"))

    def validate(self, **options: Any) -> None:
        """Runs validation, prints its tables and records them."""
        self._check_images()
        self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False, **self._named(options))
        self._record("val", ObjectFiles(self.model, self.datamodule.val_dataset))

    def test(self, **options: Any) -> None:
        """Runs the test, prints its tables and records them."""
        self._check_images()
        self.trainer.test(self.model, datamodule=self.datamodule, verbose=False, **self._named(options))
        self._record("test", ObjectFiles(self.model, self.datamodule.test_dataset))

    def _check_images(self) -> None:
        """Refuses data that mean something else than what the network was trained on."""
        if self.recorded is not None:
            self.recorded.check_classes(self.datamodule.classes)

    def predict(self, **options: Any) -> None:
        """Segments the images and says where the class maps are."""
        named = self._named(options)
        self.trainer.predict(self.model, datamodule=self.datamodule, return_predictions=False, **named)
        rank_zero_info(f"wrote the class maps to {self.config[self.subcommand].output}")

    def _named(self, options: dict[str, Any]) -> dict[str, Any]:
        return {name: options[name] for name in ("ckpt_path", "weights_only")}

    @rank_zero_only
    def _record(self, split: str, objects: ObjectFiles) -> None:
        scores = Scores.of(self.trainer.callback_metrics, split, self.datamodule.classes)
        print("mIoU " + _percent(scores.miou))
        for name, value in scores.iou.items():
            print(f"  {name:<16}{_percent(value):>7}")
        print("\n".join(["", *summary_lines(objects.summary()), ""]))
        config = self.config[self.subcommand]
        if config.run_dir is None:
            return
        differing = self._differing(split)
        if config.name is None and not differing and split == "val":
            self._record_as_own(scores, objects)
        elif config.name is not None or not differing:
            self._record_evaluation(config.name or split, split, scores, objects)
        else:
            print(
                f"not kept, because this is not the run's own ({', '.join(differing)}); --name NAME keeps it "
                "as evaluations/NAME.json"
            )

    def _differing(self, split: str) -> list[str]:
        """What of an evaluation is not the run's own."""
        assert self.recorded is not None
        differing = [*self.changed, *([] if self._of_run else ["ckpt_path"])]
        recorded = self.recorded.data.get(split)
        if recorded is not None:
            if recorded["fingerprint"] != self.datamodule.fingerprints()[split]["fingerprint"]:
                differing.append("other images")
        elif (self.recorded.config.get("data") or {}).get("root") != self.config[self.subcommand].data.root:
            differing.append("data.root")
        return differing

    def _record_as_own(self, scores: Scores, objects: ObjectFiles) -> None:
        assert self.recorded is not None
        run_dir = self.config[self.subcommand].run_dir
        self._lock(run_dir)
        objects.write(run_dir)
        news = {
            **asdict(scores),
            "measurement": measurement(self.identity.measurement),
            "data": self.recorded.data | self.datamodule.fingerprints(),
        }
        result = json.dumps(self.recorded.result | news, indent=2)
        write_atomically(run_dir / "result.json", result + "\n")
        print(
            f"written to {run_dir}: the score in result.json; objects.json and objects.csv, per class and "
            "object; effective_dilation.csv"
        )

    def _record_evaluation(self, name: str, split: str, scores: Scores, objects: ObjectFiles) -> None:
        assert self.recorded is not None
        config = self.config[self.subcommand]
        data = self.datamodule.fingerprints()[split]
        path = write_evaluation(
            config.run_dir,
            Evaluation(
                name=name,
                split=split,
                score={"name": "miou", "value": scores.miou, "mode": "max"},
                iou=scores.iou,
                images=data["images"],
                data={**data, "root": config.data.root},
                checkpoint={"file": Path(config.ckpt_path).name, "epochs": self.recorded.epochs},
                options=self.changed,
                objects=objects.summary(),
                provenance={
                    "versions": provenance.versions(),
                    "git_revision": provenance.git_revision(),
                    "machine": provenance.machine(),
                },
            ),
        )
        own = self.recorded.result.get("miou")
        if scores.miou is not None and own is not None:
            print(f"{100 * (scores.miou - own):+.1f} points against the run's own validation score")
        print(f"written to {path}")

    def _parse_ckpt_path(self) -> None:
        """The network's options come from the configuration, not from the checkpoint."""


class ConfigurationResolver(TrainingCLI):
    """Parses configurations without running anything; building the parser once serves many of them."""

    def __init__(self) -> None:
        silence_developer_messages()
        super().__init__(args={"subcommand": "fit", "fit": {}}, **_options())

    def defaults(self, configuration: dict[str, Any]) -> dict[str, Any]:
        """Every option with its default, also of the sections that a configuration opens."""
        return self(identities.skeleton(configuration))

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
        with contextlib.ExitStack() as TrainingCLI.resources:
            TrainingCLI(args=_with_run_configuration(arguments), **_options())
    except ArgumentError as error:
        _check_yaml(arguments)
        raise ConfigError(_with_suggestion(one_line(str(error)))) from error


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
    """Jsonargparse's explanation on one line, with the option and the reason but without its types' names."""
    text = " ".join(line.strip(" -") for line in message.splitlines() if line.strip())
    union = re.match(
        r'Parser key "([^"]+)": Does not validate against any of the Union subtypes '
        r"Subtypes: \[(.*?)\] Errors: (.*)",
        text,
    )
    if union is None:
        return text
    key, types, errors = union.groups()
    inner = re.search(r'Parser key "([^"]+)": (.*?)(?= Expected a <class \'NoneType\'>|$)', errors)
    if inner is not None:
        return f"{key}.{inner[1]}: {inner[2]}"
    legal = [name.rpartition(".")[2] for name in re.findall(r"<class '([^']+)'>", types)]
    legal += re.findall(r"Literal\[(.*?)\]", types)
    names = " or ".join("null" if name == "NoneType" else name for name in legal)
    given = errors.rpartition("Given value: ")[2]
    return f"{key}: must be {names}, got {given}" if names else text


def _with_suggestion(text: str) -> str:
    """A message about an unknown option, with the option that is spelt nearly so."""
    unknown = re.search(r"(?:unrecognized arguments: --|does not accept option ')([\w.]+)", text)
    if unknown is None:
        return text
    resolver = ConfigurationResolver()
    known = identities.flatten(resolver({"data": {"train_transform": {}, "eval_transform": {}}}))
    close = difflib.get_close_matches(unknown[1], [*known, "run_dir", "ckpt_path", "name", "output"], n=1)
    return f"{text}; did you mean {close[0]}?" if close else text


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
            configuration = evaluation_configuration(Path(run_dir))
            return [arguments[0], "--config", json.dumps(configuration), *arguments[1:]]
    return arguments


def _check_length(trainer: Any) -> None:
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


def _percent(value: float | None) -> str:
    return "not defined" if value is None else f"{100 * value:.1f} %"
