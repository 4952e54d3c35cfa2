import gzip
import importlib.util
import json
import shutil
import sys
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
    for name in ("metrics.csv", "effective_dilation.csv", "log.txt"):
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


def test_a_committed_folder_is_brought_up_to_date_in_place(sweep, tmp_path):
    kept = tmp_path / "kept"
    (name,) = collect_results.collect(sweep, kept)
    (kept / "README.md").write_text("by hand")
    (kept / name / "log.txt").write_text("of an older version of the script")
    config = (kept / name / "config.yaml").read_text()
    collect_results.collect(kept, kept)
    assert {path.name for path in kept.iterdir()} == {"README.md", "sweep.yaml", "trials.json", name}
    assert not (kept / name / "log.txt").exists()
    assert (kept / name / "config.yaml").read_text() == config


def test_checkpoints_are_never_lost(sweep, tmp_path):
    before = sorted(path for path in sweep.rglob("*"))
    with pytest.raises(RunFolderError, match="was not written by this script; choose another destination"):
        collect_results.collect(sweep, sweep)
    assert sorted(path for path in sweep.rglob("*")) == before


def test_a_folder_of_other_files_is_not_replaced(sweep, tmp_path):
    (trial,) = sweep.glob("deformable*")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="kept: exists and was not written"):
        collect_results.collect_run(trial, tmp_path / "kept")
    assert (tmp_path / "kept" / "notes.txt").exists()


@pytest.fixture(scope="module")
def measured_sweep(trained_run, tmp_path_factory):
    """A sweep of one trained network, with the uncompressed table of objects of an older version."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    run = folder / "tiny-seed0"
    shutil.copytree(trained_run, run)
    packed = run / "objects.csv.gz"
    (run / "objects.csv").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    (folder / "sweep.yaml").write_text("name: mine\n")
    (folder / "trials.json").write_text(json.dumps([run.name]))
    return folder


def collect_with(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["collect_results.py", *map(str, arguments)])
    return collect_results.main()


def test_records_of_objects_are_kept_once_and_compressed(measured_sweep, trained_run, tmp_path):
    collect_results.collect(measured_sweep, tmp_path / "kept")
    kept = tmp_path / "kept" / "tiny-seed0"
    assert {path.name for path in kept.iterdir()} == {
        *("config.yaml", "metrics.csv", "result.json", "offsets.csv", "objects.csv.gz", "positions.npz")
    }
    for name in ("objects.csv.gz", "positions.npz"):
        assert (kept / name).read_bytes() == (trained_run / name).read_bytes()


def test_of_a_report_tables_are_kept_as_csv_and_plots_as_png(measured_sweep, tmp_path, monkeypatch, capsys):
    kept = tmp_path / "kept"
    assert collect_with(monkeypatch, measured_sweep, kept) == 0
    assert "1 trials in" in capsys.readouterr().out
    report = kept / "report"
    assert {path.suffix for path in (report / "tables").iterdir()} == {".csv"}
    assert {path.suffix for path in (report / "plots").iterdir()} == {".png"}
    assert {path.name for path in report.iterdir()} == {"report.md", "tables", "plots"}
    before = {path: path.read_bytes() for path in report.rglob("*.csv")}
    (report / "report.html").write_text("of deformlab report")
    assert collect_with(monkeypatch, kept) == 0
    assert {path: path.read_bytes() for path in report.rglob("*.csv")} == before
    assert not (report / "report.html").exists()


def test_a_run_of_no_sweep_is_collected_without_a_report(trained_run, tmp_path, monkeypatch, capsys):
    assert collect_with(monkeypatch, trained_run, tmp_path / "kept") == 0
    assert not (tmp_path / "kept" / "report").exists()
    assert (tmp_path / "kept" / "objects.csv.gz").is_file()


def test_a_damaged_table_is_one_line(measured_sweep, tmp_path, monkeypatch, capsys):
    sweep = shutil.copytree(measured_sweep, tmp_path / "damaged")
    (sweep / "tiny-seed0" / "objects.csv").write_text("damaged")
    assert collect_with(monkeypatch, sweep, tmp_path / "kept") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "objects.csv: lacks the column" in line
    assert list((tmp_path / "kept").iterdir()) == []
