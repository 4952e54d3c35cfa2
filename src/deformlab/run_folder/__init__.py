"""The run folder, which is the only interface between training, sweeps and analysis.

Only this package reads and writes the files of a run folder, and each file has one writer and one reader.
Files are replaced atomically: if the disk is full or the process crashes, the old content is kept. torch is
not imported before a checkpoint is written or read.

The files, with the functions that write and read them:

- `config.yaml`: `write_config`; `read_config`, `read_evaluation_config`
- `metrics.csv`: `write_metrics`; `read_curves`, `read_progress`
- `offsets.csv`: `write_offsets`; `read_offsets`
- `result.json`: `write_result`, `mark_status`; `read_result`, `read_finished_result`, `read_status`
- `objects.csv.gz`, `positions.npz`: `write_objects`; `read_objects`
- `evaluations/NAME.json`: `write_evaluation`; `read_evaluations`
- `checkpoints/last.ckpt`, `best.ckpt`: `write_checkpoint`; `RecordedTraining.read`, `check_checkpoint`
- `log.txt`: `begin_log`; `last_log_lines`

The folder of a sweep contains the run folders and their list, `trials.json`: `write_trial_list`;
`read_trial_list`.
"""

import deformlab._needs_toolkit  # noqa: F401
from deformlab.run_folder.checkpoints import (
    RecordedTraining,
    TrainingRecord,
    check_checkpoint,
    checkpoint_folder,
    last_checkpoint,
    write_checkpoint,
)
from deformlab.run_folder.config import evaluation_config, read_config, read_evaluation_config, write_config
from deformlab.run_folder.evaluations import Evaluation, check_name, read_evaluations, write_evaluation
from deformlab.run_folder.fields import first_line, is_clean
from deformlab.run_folder.files import (
    csv_cell,
    csv_text,
    from_csv_cell,
    read_csv,
    read_json,
    replacing,
    write_atomically,
)
from deformlab.run_folder.log import begin_log, last_log_lines
from deformlab.run_folder.metrics import (
    OFFSET_COLUMNS,
    Progress,
    metrics_before,
    offsets_before,
    read_curves,
    read_offsets,
    read_progress,
    write_metrics,
    write_offsets,
)
from deformlab.run_folder.objects import ObjectMeasurement, objects_path, read_objects, write_objects
from deformlab.run_folder.result import (
    CONV5_KINDS,
    MEASUREMENT_VERSION,
    ClassScores,
    MeasuredSizes,
    Measurement,
    Result,
    RunStatus,
    Score,
    mark_status,
    read_finished_result,
    read_result,
    read_status,
    write_result,
)
from deformlab.run_folder.scores import SCORES, ScoreFormat, finite, format_score
from deformlab.run_folder.trial_list import read_trial_list, write_trial_list

__all__ = [
    "CONV5_KINDS",
    "MEASUREMENT_VERSION",
    "OFFSET_COLUMNS",
    "SCORES",
    "ClassScores",
    "Evaluation",
    "MeasuredSizes",
    "Measurement",
    "ObjectMeasurement",
    "Progress",
    "RecordedTraining",
    "Result",
    "RunStatus",
    "Score",
    "ScoreFormat",
    "TrainingRecord",
    "begin_log",
    "check_checkpoint",
    "check_name",
    "checkpoint_folder",
    "csv_cell",
    "csv_text",
    "evaluation_config",
    "finite",
    "first_line",
    "format_score",
    "from_csv_cell",
    "is_clean",
    "last_checkpoint",
    "last_log_lines",
    "mark_status",
    "metrics_before",
    "objects_path",
    "offsets_before",
    "read_config",
    "read_csv",
    "read_curves",
    "read_evaluation_config",
    "read_evaluations",
    "read_finished_result",
    "read_json",
    "read_objects",
    "read_offsets",
    "read_progress",
    "read_result",
    "read_status",
    "read_trial_list",
    "replacing",
    "write_atomically",
    "write_checkpoint",
    "write_config",
    "write_evaluation",
    "write_metrics",
    "write_objects",
    "write_offsets",
    "write_result",
    "write_trial_list",
]
