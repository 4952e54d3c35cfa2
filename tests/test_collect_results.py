import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from deformlab.errors import RunFolderError

SCRIPT = Path(__file__).parents[1] / "scripts" / "collect_results.py"
specification = importlib.util.spec_from_file_location("collect_results", SCRIPT)
assert specification is not None
assert specification.loader is not None
collect_results = importlib.util.module_from_spec(specification)
specification.loader.exec_module(collect_results)


@pytest.fixture
def sweep(tmp_path):
    folder = tmp_path / "runs" / "mine"
    trial = folder / "deformable-2-seed0-12345678"
    (trial / "checkpoints").mkdir(parents=True)
    (trial / "predictions").mkdir()
    (trial / "predictions" / "00-a.png").write_bytes(b"a photograph")
    (trial / "checkpoints" / "last.ckpt").write_bytes(b"weights")
    config = {
        "data": {"dataset": "camvid", "root": "/home/somebody/camvid"},
        "model": {"init_weights": f"{folder}/pretrain-seed0-87654321/checkpoints/last.ckpt"},
    }
    (trial / "config.yaml").write_text(yaml.safe_dump(config))
    (trial / "result.json").write_text(json.dumps({"status": "finished"}))
    for name in ("metrics.csv", "effective_dilation.csv"):
        (trial / name).write_text("layer\n")
    (folder / "sweep.yaml").write_text("name: mine\n")
    (folder / "trials.json").write_text(json.dumps([trial.name]))
    return folder


def test_neither_images_of_the_data_set_nor_checkpoints_are_kept(sweep, tmp_path):
    (name,) = collect_results.collect(sweep, tmp_path / "kept")
    kept = {path.name for path in (tmp_path / "kept" / name).rglob("*")}
    assert kept == {"config.yaml", "metrics.csv", "result.json", "effective_dilation.csv"}


def test_paths_of_the_machine_are_not_kept(sweep, tmp_path):
    (name,) = collect_results.collect(sweep, tmp_path / "kept")
    config = yaml.safe_load((tmp_path / "kept" / name / "config.yaml").read_text())
    assert config["data"] == {"dataset": "camvid", "root": None}
    assert config["model"]["init_weights"] == "runs/mine/pretrain-seed0-87654321/checkpoints/last.ckpt"


def test_an_unfinished_trial_is_named(sweep, tmp_path):
    (trial,) = sweep.glob("deformable*")
    (trial / "result.json").write_text(json.dumps({"status": "interrupted"}))
    with pytest.raises(RunFolderError, match="deformable-2-seed0-12345678: is not finished"):
        collect_results.collect(sweep, tmp_path / "kept")


def test_a_folder_that_is_no_sweep_is_named(tmp_path):
    with pytest.raises(RunFolderError, match=r"trials\.json"):
        collect_results.collect(tmp_path, tmp_path / "kept")
