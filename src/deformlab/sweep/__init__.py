"""Sweeps: trials from a file, run one process each, known only through their run folders.

Nothing here imports torch.
"""

from deformlab.sweep.run import run_sweep, sweep_folder
from deformlab.sweep.settings import parse_setting
from deformlab.sweep.specification import SweepSpecification, TrialSpecification, read_sweep
from deformlab.sweep.trials import Identify, Trial, make_trials

__all__ = [
    "Identify",
    "SweepSpecification",
    "Trial",
    "TrialSpecification",
    "make_trials",
    "parse_setting",
    "read_sweep",
    "run_sweep",
    "sweep_folder",
]
