"""Sweeps: the trials of a sweep file, each of which runs in its own process.

This package only knows trials through their run folders. It does not import torch.
"""

import deformlab._needs_toolkit  # noqa: F401
from deformlab.sweep.run import run_sweep, sweep_folder
from deformlab.sweep.specification import SweepSpecification, TrialSpecification, parse_setting, read_sweep
from deformlab.sweep.trials import Identify, PlannedTrial, make_trials

__all__ = [
    "Identify",
    "PlannedTrial",
    "SweepSpecification",
    "TrialSpecification",
    "make_trials",
    "parse_setting",
    "read_sweep",
    "run_sweep",
    "sweep_folder",
]
