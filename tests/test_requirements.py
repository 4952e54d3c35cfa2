"""deformlab with torch alone: what works, and what every other verb and package says."""

import json
import subprocess
import sys

import pytest

from deformlab.requirements import installation_advice, module_of, toolkit_packages

# Runs a command as if the given modules were not installed. jinja2 stays: torch needs it.
PROGRAM = """
import json, sys
blocked, command = map(json.loads, sys.argv[1:])

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in blocked else found(name, package)
sys.meta_path.insert(0, Absent())
if isinstance(command, str):
    exec(command)
else:
    from deformlab.cli import main
    sys.exit(main(command))
"""
TOOLKIT = sorted({module_of(name) for name in toolkit_packages()} - {"jinja2"})
INSTALL = "pip install 'deformlab[train]'"


def without(modules, command):
    """What a process does that lacks modules: a command line, or Python code."""
    arguments = [json.dumps(modules), json.dumps(command)]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "command",
    [
        ["fit", "--config", "x"],
        ["fit", "--help"],
        ["validate", "--run_dir", "x"],
        ["test", "--run_dir", "x"],
        ["predict", "--run_dir", "x"],
        ["sweep", "x.yaml"],
        ["sweep", "x.yaml", "--executor", "slurm"],
        ["report", "x"],
        ["show", "all", "x", "y"],
        ["shift", "x"],
        ["data", "check", "folder", "x"],
    ],
    ids=" ".join,
)
def test_a_verb_names_the_extra_that_it_lacks_in_one_line(command):
    done = without(TOOLKIT, command)
    verb = "data check" if command[0] == "data" else command[0]
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(
        f"deformlab: error: '{verb}' needs the training toolkit, which is not installed"
    )
    assert INSTALL in done.stderr


def test_one_missing_package_is_named():
    done = without(["pytorch_lightning"], ["fit", "--config", "x"])
    assert done.stderr == (
        "deformlab: error: 'fit' needs the training toolkit, which is not installed "
        f"(missing: pytorch-lightning); {INSTALL}\n"
    )


def test_many_missing_packages_are_counted():
    assert "(missing: a, b, c and 2 more)" in installation_advice(list("abcde"))


@pytest.mark.parametrize(
    "package",
    ["analysis", "callbacks", "data", "inspection", "metrics", "records", "run_folder", "sweep", "tasks"],
)
def test_importing_a_package_of_the_toolkit_names_the_extra(package):
    code = f"""
try:
    import deformlab.{package}
except ImportError as error:
    print(error)
"""
    assert INSTALL in without(TOOLKIT, code).stdout


@pytest.mark.parametrize("verb", ["", "sweep", "report", "show", "shift", "data check", "doctor"])
def test_help_works_without_the_toolkit(verb):
    done = without(TOOLKIT, [*verb.split(), "--help"])
    assert done.returncode == 0, done.stderr
    assert "usage: deformlab" in done.stdout


def test_operators_layers_and_networks_work_with_torch_alone():
    code = """
import torch
from deformlab.layers import DeformConv2d
import deformlab.models
print(DeformConv2d(2, 3, 3, padding=1)(torch.ones(1, 2, 5, 5)).shape)
"""
    done = without(TOOLKIT, code)
    assert "[1, 3, 5, 5]" in done.stdout, done.stderr


def test_doctor_says_how_to_get_the_toolkit():
    done = without(TOOLKIT, ["doctor"])
    assert done.returncode == 0, done.stderr
    assert INSTALL in done.stdout


def test_the_version_needs_no_toolkit():
    assert without(TOOLKIT, ["--version"]).returncode == 0


def test_a_sweep_on_slurm_names_submitit(tmp_path):
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text("{name: t, base: base.yaml, seeds: [0], trials: [{name: a, set: {model.dilation: 2}}]}")
    (tmp_path / "base.yaml").write_text("{trainer: {max_epochs: 1}}")
    done = without(
        ["submitit"], ["sweep", str(sweep), "--executor", "slurm", "--output", str(tmp_path / "runs")]
    )
    assert done.returncode == 2
    assert "pip install 'deformlab[slurm]'" in done.stderr.splitlines()[-1]
    assert done.stderr.count("\n") == 1
