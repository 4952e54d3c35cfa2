"""What is logged, drawn and saved while training."""

from deformlab.callbacks.checkpoints import (
    AtomicCheckpointIO,
    BestCheckpoint,
    LastCheckpoint,
    check_checkpoint,
)
from deformlab.callbacks.console import EpochBar, EpochLines
from deformlab.callbacks.object_files import measured_objects
from deformlab.callbacks.offset_monitor import OffsetMonitor
from deformlab.callbacks.predictions import PredictionPictures, PredictionWriter, colourise
from deformlab.callbacks.run_folder import RECORD, RunFolder, RunIdentity, Scores
from deformlab.callbacks.termination import Termination
from deformlab.callbacks.weights_and_biases import LogTablesAndPictures, ResilientWandbLogger

__all__ = [
    "RECORD",
    "AtomicCheckpointIO",
    "BestCheckpoint",
    "EpochBar",
    "EpochLines",
    "LastCheckpoint",
    "LogTablesAndPictures",
    "OffsetMonitor",
    "PredictionPictures",
    "PredictionWriter",
    "ResilientWandbLogger",
    "RunFolder",
    "RunIdentity",
    "Scores",
    "Termination",
    "check_checkpoint",
    "colourise",
    "measured_objects",
]
