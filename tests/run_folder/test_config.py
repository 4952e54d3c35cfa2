from pathlib import Path

import pytest

from deformlab.errors import ConfigError, RunFolderError
from deformlab.run_folder import evaluation_config, read_config, read_evaluation_config, write_config

CONFIG = {
    "seed_everything": 0,
    "trainer": {"precision": "bf16", "max_epochs": 3, "limit_val_batches": None, "callbacks": [{"a": 1}]},
    "model": {"dilation": 2, "learning_rate": 1e-05},
    "data": {"dataset": "shapes"},
    "wandb": "off",
}


def test_a_configuration_is_read_as_it_was_written(tmp_path: Path):
    write_config(tmp_path, CONFIG)
    assert read_config(tmp_path) == CONFIG


def test_an_evaluation_uses_the_model_the_data_and_the_precision(tmp_path: Path):
    write_config(tmp_path, CONFIG)
    taken = {
        "model": CONFIG["model"],
        "data": CONFIG["data"],
        "seed_everything": 0,
        "trainer": {"precision": "bf16", "limit_val_batches": None},
    }
    assert read_evaluation_config(tmp_path) == evaluation_config(CONFIG) == taken


def test_a_class_to_import_is_refused(tmp_path: Path):
    write_config(tmp_path, CONFIG | {"data": {"options": [{"class_path": "os.system"}]}})
    with pytest.raises(ConfigError, match="contains a class_path"):
        read_evaluation_config(tmp_path)


def test_a_missing_configuration_is_one_line(tmp_path: Path):
    with pytest.raises(RunFolderError, match=r"config\.yaml: no such file"):
        read_config(tmp_path)
    (tmp_path / "config.yaml").write_text("model: [")
    with pytest.raises(ConfigError, match=r"config\.yaml is not valid YAML"):
        read_config(tmp_path)
