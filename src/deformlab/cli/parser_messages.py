"""Turns jsonargparse's messages about a wrong option or file into one line that a user can act on."""

import difflib
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import yaml

from deformlab.errors import ConfigError

# The parser's names of simple types, in words.
WORDS = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "pathlib.Path": "a path",
}

__all__ = ["check_yaml_files", "one_line", "with_suggestion"]


def one_line(message: str) -> str:
    """Jsonargparse's message on one line: the option and the reason, without the names of its types."""
    text = " ".join(line.strip(" -") for line in message.splitlines() if line.strip())
    union = re.match(
        r'Parser key "([^"]+)": Does not validate against any of the Union subtypes '
        r"Subtypes: \[(.*?)\] Errors: (.*)",
        text,
    )
    if union is None:
        return _simple(text)
    key, types, errors = union.groups()
    inner = re.search(r'Parser key "([^"]+)": (.*?)(?= Expected a <class \'NoneType\'>|$)', errors)
    if inner is not None:
        wrong = _legal(inner[2])
        return f"{key}.{inner[1]}: {wrong or inner[2]}"
    legal = [name.rpartition(".")[2] for name in re.findall(r"<class '([^']+)'>", types)]
    legal += re.findall(r"Literal\[(.*?)\]", types)
    names = " or ".join("null" if name == "NoneType" else name for name in legal)
    given = errors.rpartition("Given value: ")[2]
    return f"{key}: must be {names}, got {given}" if names else text


def _simple(text: str) -> str:
    """A message about a value of one type, or a configuration that does not exist, in words."""
    key = re.match(r'Parser key "([^"]+)": (.*)', text)
    wrong = key and _legal(key[2])
    return f"--{key[1]}: {wrong}" if key and wrong else text


def _legal(reason: str) -> str | None:
    """What a value must be, from `Expected a TYPE. Got value: VALUE`; None for other types."""
    expected = re.match(
        r"Expected a (?:<class '([\w.]+)'>|typing\.Literal\[(.*?)\])\. Got value: (.*)", reason
    )
    if expected is None:
        return None
    if expected[2] is None:
        legal = WORDS.get(expected[1])
    else:
        *others, last = [name.strip().strip("'") for name in expected[2].split(",")]
        legal = f"{', '.join(others)} or {last}" if others else last
    return legal and f"must be {legal}, got {expected[3]}"


def with_suggestion(text: str, known: Callable[[], Iterable[str]]) -> str:
    """A message about an unknown option, with the existing option that is closest in spelling.

    Args:
        text: The message.
        known: Returns the names of all options; called only if one is unknown.
    """
    file = re.search(r"unrecognized arguments: .*?(?<!\S)([^-\s]\S*\.ya?ml)(?!\S)", text)
    if file is not None:
        return f"{file[1]}: give configuration files as --config {file[1]}"
    unknown = re.search(r"(?:unrecognized arguments: --|does not accept option ')([\w.]+)", text)
    if unknown is None:
        return text
    close = difflib.get_close_matches(unknown[1], list(known()), n=1)
    return f"{text}; did you mean {close[0]}?" if close else text


def check_yaml_files(arguments: list[str]) -> None:
    """Names the configuration file that is missing or not valid YAML; the parser's own message does not.

    Raises:
        ConfigError: A file on the command line is missing or not valid YAML.
    """
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name = following if word in ("-c", "--config") else word.removeprefix("--config=")
        if name == word or not name.endswith((".yaml", ".yml")):
            continue
        if not Path(name).exists():
            raise ConfigError(f"--config {name}: no such file")
        if Path(name).is_file():
            try:
                yaml.safe_load(Path(name).read_text())
            except yaml.YAMLError as error:
                reason = one_line(str(error)).replace('in "<unicode string>", ', "")
                raise ConfigError(f"{name}: not valid YAML: {reason}") from error
