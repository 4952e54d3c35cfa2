import pytest

from deformlab.errors import ConfigError
from deformlab.sweep.specification import apply_settings, format_settings, parse_setting


def test_a_dotted_key_replaces_one_value_and_leaves_the_rest():
    base = {"model": {"dilation": 2, "conv5": "atrous"}}
    assert apply_settings(base, {"model.dilation": 4}) == {"model": {"dilation": 4, "conv5": "atrous"}}


def test_the_base_is_not_changed():
    base = {"model": {"dilation": 2}}
    apply_settings(base, {"model.dilation": 4})
    assert base == {"model": {"dilation": 2}}


@pytest.mark.parametrize("base", [{}, {"data": None}])
def test_missing_sections_are_created(base: dict):
    assert apply_settings(base, {"data.options.size": 96}) == {"data": {"options": {"size": 96}}}


def test_a_mapping_is_merged():
    base = {"model": {"dilation": 2, "conv5": "atrous"}}
    assert apply_settings(base, {"model": {"dilation": 6}})["model"] == {"dilation": 6, "conv5": "atrous"}


def test_a_mapping_with_a_class_path_replaces_the_old_class_and_its_arguments():
    base = {"trainer": {"logger": {"class_path": "A", "init_args": {"a": 1}}}}
    assert apply_settings(base, {"trainer.logger": {"class_path": "B"}})["trainer"]["logger"] == {
        "class_path": "B"
    }


def test_a_list_is_replaced():
    assert apply_settings({"a": [1, 2, 3]}, {"a": [4]}) == {"a": [4]}


def test_a_key_through_a_value_is_an_error():
    with pytest.raises(ConfigError, match=r"trainer\.max_epochs\.x: max_epochs is 24, not a section"):
        apply_settings({"trainer": {"max_epochs": 24}}, {"trainer.max_epochs.x": 1})


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("model.dilation=4", ("model.dilation", 4)),
        ("a.b=1e-3", ("a.b", 1e-3)),
        ("data.root=/a=b", ("data.root", "/a=b")),
        ("a=[1, 2]", ("a", [1, 2])),
        ("a=", ("a", None)),
    ],
)
def test_a_setting_from_the_command_line_is_read_as_yaml(text: str, setting: tuple):
    assert parse_setting(text) == setting


@pytest.mark.parametrize("text", ["model.dilation", "=4", "a..b=1", "a=[1"])
def test_a_malformed_setting_is_an_error(text: str):
    with pytest.raises(ConfigError, match="--set "):
        parse_setting(text)


def test_settings_are_shown_as_they_are_typed():
    assert (
        format_settings({"model.conv5": "atrous", "model.dilation": 2})
        == "model.conv5=atrous model.dilation=2"
    )
