"""Lightning callbacks: logging, figures, checkpoints and the run folder while a network trains."""

import deformlab._needs_toolkit  # noqa: F401
from deformlab.callbacks.checkpoints import AtomicCheckpointIO, BestCheckpoint, LastCheckpoint
from deformlab.callbacks.console import EpochBar, EpochLines
from deformlab.callbacks.detections import DetectionPictures, DetectionWriter
from deformlab.callbacks.object_files import measured_objects
from deformlab.callbacks.offset_monitor import OffsetMonitor
from deformlab.callbacks.predictions import PredictionPictures, PredictionWriter, colourise
from deformlab.callbacks.run_writer import RunWriter, measured_sizes
from deformlab.callbacks.score import class_scores, logged_score, monitored, other_scores, score_name
from deformlab.callbacks.termination import Termination
from deformlab.callbacks.weights_and_biases import LogTablesAndPictures, ResilientWandbLogger

__all__ = [
    "AtomicCheckpointIO",
    "BestCheckpoint",
    "DetectionPictures",
    "DetectionWriter",
    "EpochBar",
    "EpochLines",
    "LastCheckpoint",
    "LogTablesAndPictures",
    "OffsetMonitor",
    "PredictionPictures",
    "PredictionWriter",
    "ResilientWandbLogger",
    "RunWriter",
    "Termination",
    "class_scores",
    "colourise",
    "logged_score",
    "measured_objects",
    "measured_sizes",
    "monitored",
    "other_scores",
    "score_name",
]
