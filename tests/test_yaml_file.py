from pathlib import Path

import pytest

from deformlab.errors import ConfigError
from deformlab.yaml_file import parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("5E3", 5e3), ("-1.5e+2", -150.0), (".5e1", 5.0), ("true", True), ("False", False)],
)
def test_scientific_notation_is_a_number(text: str, value: float):
    assert parse_yaml(text) == value


@pytest.mark.parametrize("text", ["e4", "1e", "a1e-4", "off", "on", "yes", "No"])
def test_what_only_looks_like_a_number_or_a_boolean_stays_text(text: str):
    assert parse_yaml(text) == text


def test_a_key_that_stands_twice_is_an_error(tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_text("model:\n  dilation: 2\n  dilation: 4\n")
    with pytest.raises(ConfigError, match=r"a\.yaml is not valid YAML in line 3: duplicate key 'dilation'"):
        read_yaml(path, "base configuration")


def test_broken_yaml_names_file_and_line(tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_text("model: {\nname: 3\n")
    with pytest.raises(ConfigError, match=r"^sweep file .*a\.yaml is not valid YAML in line \d+: ") as caught:
        read_yaml(path, "sweep file")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[1, 2]", "text"])
def test_a_file_without_a_mapping_is_an_error(tmp_path: Path, content: str):
    path = tmp_path / "a.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match="must contain a mapping"):
        read_yaml(path, "sweep file")


def test_a_missing_file_is_an_error(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"sweep file .*none\.yaml cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml", "sweep file")


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_yaml(path, "sweep file")
