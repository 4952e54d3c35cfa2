"""Prints the results of `validate` and `test` and records them, as the run's own scores or beside them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deformlab import provenance
from deformlab.callbacks import class_scores, logged_score, measured_sizes, other_scores
from deformlab.data import SegmentationDataModule
from deformlab.records import ObjectMeasurement, measurement_lines
from deformlab.run_folder import (
    MEASUREMENT_VERSION,
    SCORES,
    ClassScores,
    Evaluation,
    Measurement,
    RecordedTraining,
    Score,
    format_score,
    write_evaluation,
    write_objects,
    write_result,
)

__all__ = ["EvaluationRecorder"]


@dataclass(frozen=True)
class EvaluationRecorder:
    """Prints an evaluation of a trained network and records it in the run folder.

    The validation of the run's own network, on its own data and with its own options, replaces the run's
    scores. Anything else is written as `evaluations/NAME.json`, with the records of objects in the folder
    `evaluations/NAME`, and replaces nothing.

    Args:
        run_dir: The run folder; None records nothing.
        name: The user's name for the evaluation; None for the run's own, or for `test`.
        recorded: The training of the network.
        changed: Dotted options that differ from those of the training.
        own_checkpoint: Whether the network is the run's last checkpoint.
        measurement_options: Dotted options of the measurement that differ from their defaults.
        lock: Locks the run folder before its own files are replaced.
    """

    run_dir: Path | None
    name: str | None
    recorded: RecordedTraining
    changed: Mapping[str, Any]
    own_checkpoint: bool
    measurement_options: Mapping[str, Any]
    lock: Callable[[Path], None]

    def record(
        self,
        split: str,
        task: Any,
        datamodule: SegmentationDataModule,
        metrics: Mapping[str, Any],
        objects: ObjectMeasurement | None,
    ) -> None:
        """Prints and records an evaluation.

        Args:
            split: `val` or `test`.
            task: The network after the evaluation.
            datamodule: The data it was evaluated on.
            metrics: Everything that the task logged.
            objects: The measurement by object; None if the task measures no objects.

        Raises:
            RunFolderError: The run folder is in use or cannot be written.
        """
        score = logged_score(task, metrics, split)
        of_classes = class_scores(task, metrics, split, datamodule.classes)
        others = other_scores(task, metrics, split)
        _print_scores(score, of_classes, others)
        if objects is not None:
            rule = task.effective_dilation.rule
            print("\n".join(["", *measurement_lines(objects, rule, datamodule.classes), ""]))
        if self.run_dir is None:
            return
        differing = self._differing(split, datamodule)
        if self.name is None and split == "val" and not differing:
            self._record_as_own(self.run_dir, task, datamodule, score, of_classes, others, objects)
        elif self.name is not None or not differing:
            self._record_beside(self.run_dir, split, datamodule, score, of_classes, others, objects)
        else:
            print(
                f"not kept, because this differs from the run's own evaluation ({', '.join(differing)}); "
                "--name NAME keeps it as evaluations/NAME.json"
            )

    def _differing(self, split: str, datamodule: SegmentationDataModule) -> list[str]:
        """In what an evaluation differs from the run's own."""
        differing = [*self.changed, *([] if self.own_checkpoint else ["ckpt_path"])]
        recorded = self.recorded.data.get(split)
        if recorded is not None:
            if recorded["fingerprint"] != datamodule.fingerprints()[split]["fingerprint"]:
                differing.append("other images")
        elif (self.recorded.config.get("data") or {}).get("root") != datamodule.root:
            differing.append("data.root")
        return differing

    def _record_as_own(
        self,
        run_dir: Path,
        task: Any,
        datamodule: SegmentationDataModule,
        score: Score,
        of_classes: ClassScores,
        others: dict[str, float | None],
        objects: ObjectMeasurement | None,
    ) -> None:
        result = self.recorded.result
        if result is None:
            print(
                f"not kept, because {run_dir / 'result.json'} is missing or damaged; deformlab fit --config "
                f"{run_dir / 'config.yaml'} --run_dir {run_dir} writes it again"
            )
            return
        self.lock(run_dir)
        # In the present format first: write_objects removes older files that hold the limits of sizes.
        write_result(run_dir, result)
        thresholds: list[float] = []
        if objects is not None:
            thresholds = list(task.effective_dilation.rule.thresholds_of(objects.records) or ())
            write_objects(run_dir, objects, datamodule.classes)
        result = replace(
            result,
            score=replace(score, best=result.score.best),
            class_scores=of_classes,
            other_scores=others,
            measurement=Measurement(
                MEASUREMENT_VERSION, dict(self.measurement_options), measured_sizes(task, thresholds)
            ),
            data=self.recorded.data | datamodule.fingerprints(),
        )
        write_result(run_dir, result)
        print(f"written to {run_dir}: the scores in result.json, the records of objects beside it")

    def _record_beside(
        self,
        run_dir: Path,
        split: str,
        datamodule: SegmentationDataModule,
        score: Score,
        of_classes: ClassScores,
        others: dict[str, float | None],
        objects: ObjectMeasurement | None,
    ) -> None:
        data = datamodule.fingerprints()[split]
        path = write_evaluation(
            run_dir,
            Evaluation(
                name=self.name or split,
                split=split,
                score=score,
                class_scores=of_classes,
                other_scores=others,
                images=data["images"],
                data={**data, "root": datamodule.root},
                checkpoint={"file": self.recorded.checkpoint.name, "epochs": self.recorded.epochs},
                options=dict(self.changed),
                provenance={
                    "versions": provenance.versions(),
                    "git_revision": provenance.git_revision(),
                    "machine": provenance.machine(),
                },
            ),
        )
        if objects is not None:
            # The folder of the same name has the records by object.
            write_objects(path.with_suffix(""), objects, datamodule.classes)
        own = self.recorded.result.score.value if self.recorded.result else None
        if score.value is not None and own is not None:
            print(f"{100 * (score.value - own):+.1f} points compared with the run's own validation score")
        print(f"written to {path}")


def _print_scores(score: Score, of_classes: ClassScores, others: Mapping[str, float | None]) -> None:
    print(score.text)
    if others:
        print("; ".join(f"{SCORES[name].label} {format_score(value)}" for name, value in others.items()))
    for name, value in of_classes.values.items():
        print(f"  {name:<16}{format_score(value):>7}")
