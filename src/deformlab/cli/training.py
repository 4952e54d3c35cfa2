"""The training verbs of the command line: LightningCLI with a run folder.

fit, validate, test and predict take their options from the signatures of Trainer, and of the task and data
module that the option `task` chooses.
"""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, set_parsing_settings
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities import rank_zero_info, rank_zero_only

from deformlab.callbacks import (
    AtomicCheckpointIO,
    BestCheckpoint,
    EpochBar,
    EpochLines,
    LastCheckpoint,
    LogTablesAndPictures,
    OffsetMonitor,
    ResilientWandbLogger,
    RunWriter,
    Termination,
    measured_objects,
    monitored,
)
from deformlab.cli.evaluation_recorder import EvaluationRecorder
from deformlab.cli.parser_messages import check_yaml_files, one_line, with_suggestion
from deformlab.cli.precision import affordable_precision
from deformlab.cli.task_kinds import chosen_task, task_kind
from deformlab.cli.training_options import (
    add_help_options,
    add_run_options,
    check_length,
    check_trainer,
    cli_settings,
    with_run_config,
)
from deformlab.errors import ConfigError, Interrupted
from deformlab.quiet import silence_developer_messages
from deformlab.records import ObjectMeasurement
from deformlab.run_folder import (
    RecordedTraining,
    RunStatus,
    check_name,
    checkpoint_folder,
    evaluation_config,
    last_checkpoint,
    read_result,
)
from deformlab.run_folder import identity as identities
from deformlab.run_folder.lock import acquire_run_folder, inherited, sign

__all__ = ["ConfigurationResolver", "run_training_verb"]


class TrainingCLI(LightningCLI):
    """LightningCLI over a task and its data module, writing a run folder.

    Attributes:
        task: The task's name in `TASKS`.
        resources: Freed when the verb ends: the run folder's lock.
        recorded: The training that a checkpoint continues or an evaluation measures.
        identity: The options that decide the result.
        changed: Options in which an evaluation differs from the training.
    """

    task: str
    resources: contextlib.ExitStack
    recorded: RecordedTraining | None
    identity: identities.Identity
    changed: dict[str, Any]

    def __init__(self, args: list[str] | dict[str, Any], **options: Any) -> None:
        self._verb = args["subcommand"] if isinstance(args, dict) else args[0]
        self._shows_help = not {"-h", "--help", "--help-all"}.isdisjoint(args)
        self._termination = Termination()
        self.task = identities.DEFAULT_TASK if isinstance(args, dict) else chosen_task(args)
        with self._termination.listening():
            super().__init__(args=args, **options)

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        """Adds the verb that is run. Each takes a tenth of a second, so others are built when used."""
        self._subcommand_parsers = {}
        self._parser_settings = kwargs
        parser.add_subcommands().add_subcommand(self._verb, self._parser(self._verb))

    def _parser(self, subcommand: str | None) -> LightningArgumentParser:
        if subcommand is not None and subcommand not in self._subcommand_parsers:
            parser = self._prepare_subcommand_parser(Trainer, subcommand, **self._parser_settings[subcommand])
            add_help_options(parser, subcommand, self.task)
            self._subcommand_parsers[subcommand] = parser
        return super()._parser(subcommand)

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the network's and the data's options before the trainer's, which are many."""
        # To find the docstrings beside the fields of dataclasses, jsonargparse parses the sources of all base
        # classes, Lightning's and PyTorch's too. That takes half a second, and only --help shows them.
        set_parsing_settings(docstring_parse_attribute_docstrings=self._shows_help)
        kind = task_kind({"task": self.task})
        parser.add_lightning_class_args(kind.task, "model")
        set_parsing_settings(docstring_parse_attribute_docstrings=False)
        parser.add_lightning_class_args(kind.datamodule, "data")
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in self.trainer_defaults.items()})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the options of a run, as opposed to those of the trainer, the model and the data."""
        parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
        add_run_options(parser)

    def before_instantiate_classes(self) -> None:
        """Chooses the run folder and the checkpoint, and reads the training that it belongs to."""
        config = self.config[self.subcommand]
        if config.config_version != identities.VERSION:
            raise ConfigError(
                f"config_version {config.config_version}: this deformlab reads {identities.VERSION}; use the "
                "version that wrote the configuration"
            )
        check_trainer(config.trainer)
        if self.subcommand == "fit":
            self._before_fit(config)
        else:
            self._before_evaluation(config)
        config.weights_only = True

    def _before_fit(self, config: Any) -> None:
        check_length(config.trainer)
        if config.run_dir is None:
            name = f"{config.data.dataset}-{config.model.conv5}-{time.strftime('%Y%m%d-%H%M%S')}"
            config.run_dir = Path("runs") / "fit" / name
        self._lock(config.run_dir)
        last = last_checkpoint(config.run_dir)
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
        mend = "use a new --run_dir to train with these options, or the earlier options to continue"
        if not changed and not recorded.complete:
            changed = then.differences(now, "measurement")
            mend = "keep the earlier ones until the training is finished; then it can be measured with others"
        if changed:
            raise ConfigError(f"{run_dir} was started with other options: {', '.join(changed)}; {mend}")

    def _before_evaluation(self, config: Any) -> None:
        if config.name is not None:
            check_name(config.name)
        if config.ckpt_path is None and config.run_dir is None:
            raise ConfigError(
                f"{self.subcommand}: which network? Give --run_dir RUN or --ckpt_path FILE.ckpt"
            )
        if config.name is not None and config.run_dir is None:
            raise ConfigError("--name: the result is written to a run folder; give --run_dir RUN as well")
        self._own_checkpoint = config.ckpt_path is None
        if config.ckpt_path is None:
            config.ckpt_path = str(last_checkpoint(config.run_dir))
        self.recorded = RecordedTraining.read(Path(config.ckpt_path))
        self.identity = self._identify(self.resolved_configuration(config))
        self.changed = self._identify(evaluation_config(self.recorded.config)).changed(self.identity)

    def _identify(self, configuration: dict[str, Any]) -> identities.Identity:
        """The options that decide the result, with the defaults of this version."""
        task = configuration.get("task", identities.DEFAULT_TASK)
        if task != self.task:
            raise ConfigError(
                f"the run was recorded for task {task!r}, and this is {self.task!r}; use another --run_dir"
            )
        sections = identities.skeleton(configuration)
        try:
            parsed = self._parser("fit").parse_object(sections, defaults=True)
        except ArgumentError as error:
            raise ConfigError(f"the recorded configuration: {one_line(str(error))}") from error
        return identities.identify(configuration, self.resolved_configuration(parsed))

    def _lock(self, run_dir: Path) -> None:
        """Locks the run folder until the process ends; a sweep locks it for its trials."""
        if getattr(rank_zero_only, "rank", 0) or inherited(run_dir):
            return
        file = acquire_run_folder(run_dir)
        sign(file, os.getpid())
        self.resources.callback(file.close)

    def instantiate_classes(self) -> None:
        """Builds nothing if nothing is left to do."""
        if not self._finished():
            super().instantiate_classes()

    def _finished(self) -> bool:
        """Whether a training is finished and its network was measured with the present options."""
        recorded = self.recorded
        if self.subcommand != "fit" or recorded is None or not recorded.finished:
            return False
        assert recorded.result is not None
        measured = recorded.result.measurement.options
        if measured is None:
            measured = self._identify(recorded.config).measurement
        of_run = Path(self.config.fit.run_dir).resolve() == recorded.run_dir.resolve()
        return of_run and measured == self.identity.measurement

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
            callbacks.append(task_kind(config).writer(config.output))
        if self.subcommand == "fit" and not config.trainer.fast_dev_run:
            callbacks += self._recording_callbacks(config, options)
        else:
            options["enable_checkpointing"] = False
        if not sys.stderr.isatty():
            options["enable_progress_bar"] = False
        configured = self._get(self.config_init, "trainer").get("callbacks") or []
        if configured and not isinstance(configured, list):
            configured = [configured]
        return super().instantiate_trainer(**options, callbacks=[*configured, *callbacks], **kwargs)

    def _recording_callbacks(self, config: Any, options: dict[str, Any]) -> list[Any]:
        """Callbacks that write the run folder. Adds the logger to the trainer's options."""
        run_dir, checkpoints = Path(config.run_dir), checkpoint_folder(Path(config.run_dir))
        resolved = self.resolved_configuration(config)
        name = RunStatus.from_environment(os.environ, run_dir.name, resolved.get("seed_everything"))
        self.run_writer = run_writer = RunWriter(run_dir, name, resolved, self.identity.measurement)
        callbacks: list[Any] = [
            run_writer,
            OffsetMonitor(run_dir, config.offset_limit),
            task_kind(config).pictures(run_dir),
            BestCheckpoint(checkpoints, *monitored(self.model)),
            LastCheckpoint(checkpoints),
        ]
        if config.wandb != "off":
            logger = ResilientWandbLogger(config.wandb, run_dir, name.trial, name.sweep, resolved)
            options["logger"] = logger
            callbacks += [
                LearningRateMonitor(logging_interval="epoch"),
                LogTablesAndPictures(logger, run_dir, lambda: run_writer.effective_dilation),
            ]
        return callbacks

    def resolved_configuration(self, config: Any) -> dict[str, Any]:
        """The whole configuration as plain values, without the options of a single call."""
        parser = self._parser("fit")
        plain = json.loads(parser.dump(config, skip_unset=False, skip_validation=True, format="json"))
        return {
            key: value
            for key, value in plain.items()
            if key not in {"config", "run_dir", "output", "ckpt_path", "weights_only", "name"}
        }

    def _run_subcommand(self, subcommand: str) -> None:
        if self._finished():
            assert self.recorded is not None
            assert self.recorded.result is not None
            score = self.recorded.result.score
            rank_zero_info(f"{self.recorded.run_dir}: finished before, nothing to train; {score.text}")
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
            rank_zero_info(f"{run_dir}: already trained; measuring the network")
            self._measure(named["ckpt_path"])
        else:
            if not self.config.fit.trainer.fast_dev_run:
                rank_zero_info(f"run folder: {run_dir}")
            self.trainer.fit(self.model, datamodule=self.datamodule, **named)
            if self.config.fit.trainer.fast_dev_run:
                return
            if self.run_writer.must_measure(self.trainer):
                self._measure(str(last_checkpoint(run_dir)))
        if self.trainer.is_global_zero:
            rank_zero_info(f"{run_dir}: finished; {read_result(run_dir).score.text}")

    def _measure(self, checkpoint: str) -> None:
        self.trainer.validate(
            self.model, datamodule=self.datamodule, ckpt_path=checkpoint, weights_only=True, verbose=False
        )
        self.run_writer.record_measurement(self.trainer, self.model)

    def validate(self, **options: Any) -> None:
        """Runs validation, prints its tables and records them."""
        self._check_images()
        self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False, **self._named(options))
        self._record("val", measured_objects(self.model, self.datamodule.val_dataset))

    def test(self, **options: Any) -> None:
        """Runs the test, prints its tables and records them."""
        self._check_images()
        self.trainer.test(self.model, datamodule=self.datamodule, verbose=False, **self._named(options))
        self._record("test", measured_objects(self.model, self.datamodule.test_dataset))

    def _check_images(self) -> None:
        """Refuses data whose classes differ from those that the network was trained on."""
        if self.recorded is not None:
            self.recorded.check_classes(self.datamodule.classes)

    def predict(self, **options: Any) -> None:
        """Segments the images and reports where the class maps are."""
        named = self._named(options)
        self.trainer.predict(self.model, datamodule=self.datamodule, return_predictions=False, **named)
        rank_zero_info(f"wrote the class maps to {self.config[self.subcommand].output}")

    @rank_zero_only
    def _record(self, split: str, objects: ObjectMeasurement | None) -> None:
        config = self.config[self.subcommand]
        assert self.recorded is not None
        EvaluationRecorder(
            run_dir=config.run_dir,
            name=config.name,
            recorded=self.recorded,
            changed=self.changed,
            own_checkpoint=self._own_checkpoint,
            measurement_options=self.identity.measurement,
            lock=self._lock,
        ).record(split, self.model, self.datamodule, self.trainer.callback_metrics, objects)

    def _named(self, options: dict[str, Any]) -> dict[str, Any]:
        return {name: options[name] for name in ("ckpt_path", "weights_only")}

    def _parse_ckpt_path(self) -> None:
        """The network's options come from the configuration, not from the checkpoint."""


class ConfigurationResolver(TrainingCLI):
    """Parses configurations without running anything; one parser for each task serves many of them."""

    def __init__(self) -> None:
        silence_developer_messages()
        super().__init__(args={"subcommand": "fit", "fit": {}}, **cli_settings(identities.DEFAULT_TASK))
        self._parsers_of = {self.task: self._subcommand_parsers}

    def choose(self, task: str) -> None:
        """Parses with the options of a task from now on."""
        self.task = task
        self._subcommand_parsers = self._parsers_of.setdefault(task, {})

    def __call__(self, configuration: dict[str, Any]) -> dict[str, Any]:
        """Checks a configuration of `fit` and fills in every default.

        Args:
            configuration: Nested options, as in a YAML file.

        Returns:
            The same with all defaults.

        Raises:
            ConfigError: An option does not exist or has a value that is not legal.
        """
        task_kind(configuration)
        self.choose(configuration.get("task", identities.DEFAULT_TASK))
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
        DeformlabError: A mistake that the user can fix.
    """
    silence_developer_messages()
    try:
        with contextlib.ExitStack() as TrainingCLI.resources:
            arguments = with_run_config(arguments)
            task = chosen_task(arguments)
            TrainingCLI(args=arguments, **cli_settings(task))
    except ArgumentError as error:
        check_yaml_files(arguments)
        raise ConfigError(with_suggestion(one_line(str(error)), lambda: _known_options(task))) from error


def _known_options(task: str) -> list[str]:
    resolver = ConfigurationResolver()
    sections: dict[str, Any] = {"data": {"train_transform": {}, "eval_transform": {}}}
    known = identities.flatten(resolver({"task": task, **sections}))
    return [*known, "config", "run_dir", "ckpt_path", "name", "output"]
