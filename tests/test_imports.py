"""What the command line does not import before it needs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
# Loaded by no verb before it has something to do.
NEVER = {"albumentations", "cv2", "pandas", "pycocotools", "submitit", "wandb"}
LEARNING = {"jsonargparse", "pytorch_lightning", "torch", "torchmetrics"}
FIGURES = {"PIL", "matplotlib", "scipy"}
PROGRAM = """
import json, sys
from deformlab.cli import main
try:
    main(json.loads(sys.argv[1]))
except SystemExit:
    pass
print("\\n" + json.dumps(sorted(sys.modules)))
"""


def modules_after(*arguments: str) -> set[str]:
    """The modules that a process has loaded when it has answered."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("verb", ["", "sweep", "report", "show", "data check", "doctor"])
def test_help_of_verbs_with_few_options_needs_no_library(verb):
    assert not modules_after(*verb.split(), "--help") & (
        NEVER | LEARNING | FIGURES | {"numpy", "rich", "yaml"}
    )


@pytest.mark.parametrize("verb", ["fit", "validate"])
def test_help_of_the_training_verbs_needs_signatures_alone(verb):
    assert not modules_after(verb, "--help") & NEVER


def test_a_dry_run_needs_signatures_alone():
    modules = modules_after("sweep", "experiments/sweeps/dilation.yaml", "--dry-run")
    assert "pytorch_lightning" in modules
    assert not modules & NEVER
    assert not {name for name in modules if name.startswith(("deformlab.analysis", "deformlab.inspection"))}


def test_doctor_looks_for_libraries_without_importing_them():
    assert not modules_after("doctor") & (NEVER | FIGURES | LEARNING - {"torch"})


def test_data_sets_are_checked_without_lightning():
    modules = modules_after("data", "check", "folder", "nowhere")
    assert not modules & (NEVER | {"jsonargparse", "pytorch_lightning", "torchmetrics", "matplotlib"})
