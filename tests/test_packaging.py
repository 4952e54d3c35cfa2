"""What the project's files say about each other: dependencies, versions, and the commands of the README."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import deformlab
from deformlab.cli import TRAINING_VERBS, main

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
DEPENDENCIES = PROJECT["dependencies"]
EXTRAS = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
# What is not filled in yet, or explains, is no part of what the reader sees.
README = re.sub(r"<!--.*?-->", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(text):
    """Every line of a shell block and every inline command that starts with deformlab."""
    lines = [line.split("  #")[0].strip() for block in blocks(text, "bash") for line in block.splitlines()]
    inline = re.findall(r"`(deformlab [^`]+)`", text)
    return [line for line in lines + inline if line.startswith("deformlab ")]


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


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


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["readme", "contributing"])
def test_files_that_a_document_names_exist(text):
    paths = re.findall(r"(?<![\w/])((?:experiments|scripts|src|tests|csrc|\.ci)/[\w./-]*\w)(?![\w<])", text)
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    top = re.findall(r"`((?:Makefile|\w+\.(?:cff|yml|toml|md)|constraints\.txt|setup\.py))`", text)
    named = {*paths, *links, *top}
    assert len(named) > 5
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["readme", "contributing"])
def test_make_targets_that_a_document_names_exist(text):
    makefile = (ROOT / "Makefile").read_text()
    shell = "\n".join([*blocks(text, "bash"), *re.findall(r"`([^`\n]+)`", text)])
    targets = re.findall(r"\bmake (?:PYTHON=\S+ )?([a-z]+)", shell)
    assert targets
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.M)] == []


@pytest.mark.parametrize("command", sorted(set(commands(README))))
def test_a_command_of_the_readme_has_a_verb_and_options_that_exist(command, capsys):
    verb, *arguments = shlex.split(command)[1:]
    asked = [verb, arguments[0]] if verb == "data" else [verb]
    with pytest.raises(SystemExit) as stop:
        main([*asked, "--help"])
    assert stop.value.code == 0
    known = capsys.readouterr().out
    for option in (word for word in arguments if word.startswith("--")):
        assert re.search(rf"{re.escape(option)}\b", known), option


def test_the_readme_shows_every_verb():
    assert {shlex.split(command)[1] for command in commands(README)} >= {
        *TRAINING_VERBS,
        "sweep",
        "report",
        "data",
        "doctor",
    } - {"test"}


@pytest.mark.parametrize(
    "code", blocks(README, "python"), ids=lambda code: code.strip().splitlines()[-1][:40]
)
def test_the_readmes_python_runs(code):
    exec(compile(code, "README.md", "exec"), {})


def test_the_readme_claims_no_score_on_data_that_nobody_trained_on():
    text = (ROOT / "README.md").read_text()
    # The shapes of the speed table are named after the data sets; its numbers are factors.
    text = re.sub(r"<!-- speed table.*<!-- end of speed table -->", "", text, flags=re.DOTALL)
    for paragraph in re.split(r"\n\s*\n|\n- ", text):
        if re.search(r"Cityscapes|VOC", paragraph):
            assert not re.search(r"\b\d\d\.\d\b", paragraph), paragraph
