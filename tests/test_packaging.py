"""What the project's files say about each other: dependencies, versions, licence and citation."""

import re
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import deformlab
from deformlab.requirements import missing_packages, toolkit_packages

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
TOOLKIT = PROJECT["optional-dependencies"]["train"]
DEPENDENCIES = [*PROJECT["dependencies"], *TOOLKIT]
EXTRAS = [
    line
    for lines in PROJECT["optional-dependencies"].values()
    for line in lines
    if Requirement(line).name != PROJECT["name"]  # an extra may include another
]
README = (ROOT / "README.md").read_text()


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_operators_and_layers_need_torch_alone():
    assert [Requirement(line).name for line in PROJECT["dependencies"]] == ["torch"]


@pytest.mark.parametrize("extra", ["dev", "slurm"])
def test_extras_that_train_include_the_toolkit(extra):
    assert f"{PROJECT['name']}[train]" in PROJECT["optional-dependencies"][extra]


def test_the_installed_metadata_names_the_toolkit_and_its_modules():
    assert sorted(toolkit_packages()) == sorted(Requirement(line).name for line in TOOLKIT)
    assert missing_packages() == []


def test_the_conda_environment_repeats_the_dependencies_and_their_bounds():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert sorted(pip["pip"]) == sorted(DEPENDENCIES)
    assert f"python{PROJECT['requires-python']}" in conda
    assert {line for line in PYPROJECT["build-system"]["requires"] if not line.startswith("torch")} <= set(
        conda
    )


@pytest.mark.parametrize("line", sorted({*DEPENDENCIES, *EXTRAS}))
def test_constraints_pin_every_dependency_within_its_bounds(line):
    pins = {
        canonical(name): version
        for name, version in re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
    }
    requirement = Requirement(line)
    assert pins[canonical(requirement.name)] in requirement.specifier


def test_constraints_hold_nothing_but_exact_pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line)] == []


def test_every_bound_of_a_dependency_has_its_reason_beside_it():
    text = (ROOT / "pyproject.toml").read_text()
    for line in {*DEPENDENCIES, *EXTRAS}:
        if Requirement(line).specifier:
            assert re.search(rf'"{re.escape(line)}"[\],]*\s+# \w.{{8,}}', text), line


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert deformlab.__version__ == PROJECT["version"] == citation["version"]


def test_the_licence_is_apache_2():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["license"] == citation["license"] == "Apache-2.0"


def test_citation_and_readme_name_both_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    for reference in citation["references"]:
        assert re.sub(r"[{}]", "", README).count(reference["title"]) >= 1
    assert len(citation["references"]) == 2
