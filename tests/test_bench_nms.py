"""scripts/bench_nms.py measures each operator and writes one row per case."""

import importlib
import json
from pathlib import Path

import pytest
import torch

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def bench_nms(monkeypatch, native_operators):
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("bench_nms")


@pytest.fixture
def native_operators():
    from deformlab.ops import backend

    if backend("cpu") != "native":
        pytest.skip("the native operators are not compiled")


def test_each_case_is_a_row(bench_nms, tmp_path, capsys):
    output = tmp_path / "nms.json"
    assert (
        bench_nms.main(["--counts", "20", "--repeats", "1", "--threads", "1", "--output", str(output)]) == 0
    )
    rows = json.loads(output.read_text())["rows"]
    assert [(row["operator"], row["place"]) for row in rows] == [
        (operator, place) for operator in bench_nms.OPERATORS for place in bench_nms.PLACES
    ]
    assert all(row["deformlab_ms"] > 0 for row in rows)
    assert len(capsys.readouterr().out.splitlines()) >= len(rows)


def test_crowded_boxes_suppress_each_other_and_spread_ones_hardly(bench_nms):
    kept = {place: bench_nms.measure("nms", 500, place, 1, 1, "cpu")["kept"] for place in bench_nms.PLACES}
    assert kept["crowded"] < 250 < 450 < kept["spread"]


def test_if_torchvision_keeps_other_boxes_the_benchmark_stops(bench_nms, monkeypatch):
    class Wrong:
        @staticmethod
        def nms(boxes, scores, threshold):
            return torch.arange(len(boxes))

    monkeypatch.setattr(bench_nms, "torchvision_ops", lambda: Wrong)
    with pytest.raises(RuntimeError, match="torchvision keeps other boxes"):
        bench_nms.measure("nms", 100, "crowded", 1, 1, "cpu")
