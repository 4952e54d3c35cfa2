"""scripts/bench_roi_ops.py measures each pooling of regions and writes one row per case."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from deformlab.ops import backend

SCRIPTS = Path(__file__).parents[1] / "scripts"
pytestmark = pytest.mark.skipif(backend("cpu") != "native", reason="the native operators are not compiled")


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    module = importlib.import_module("bench_roi_ops")
    # In a process of its own, which takes seconds to start; one test measures it.
    monkeypatch.setattr(module, "PEAK", Path("/none"))
    return module


def test_each_case_is_a_row_with_its_times(bench, tmp_path, capsys):
    output = tmp_path / "rois.json"
    assert bench.main(["--tiny", "--repeats", "1", "--threads", "1", "--output", str(output)]) == 0
    result = json.loads(output.read_text())
    assert {"machine", "versions", "revision"} <= result.keys()
    assert [(row["operator"], row["memory_format"]) for row in result["rows"]] == [
        (operator, memory_format) for operator in bench.OPERATORS for memory_format in bench.FORMATS
    ]
    for row in result["rows"]:
        assert all(row[direction]["deformlab_ms"] > 0 for direction in bench.DIRECTIONS)
        if "deform" in row["operator"]:
            assert row["forward"]["compared_with"] in ("roi_align", "ps_roi_align")
            assert row["forward"]["times_faster"] > 0
    assert "roi_pool" in capsys.readouterr().out


def test_regions_are_in_the_image_and_of_many_sizes(bench):
    boxes = bench.make_boxes(bench.Size())
    assert (boxes[:, 1:3] >= 0).all()
    assert (boxes[:, 3:] <= torch.tensor([1007, 607])).all()
    areas = (boxes[:, 3] - boxes[:, 1]) * (boxes[:, 4] - boxes[:, 2])
    assert areas.quantile(0.9) > 10 * areas.quantile(0.1)


def test_other_values_than_torchvisions_stop_the_benchmark(bench, monkeypatch):
    class Wrong:
        @staticmethod
        def roi_align(input, boxes, *args):
            return torch.zeros(len(boxes), input.shape[1], bench.BINS, bench.BINS)

    monkeypatch.setattr(bench, "torchvision_ops", lambda: Wrong)
    with pytest.raises(RuntimeError, match="torchvision computes other values"):
        bench.measure("roi_align", "contiguous", 1, 1, bench.TINY, "cpu")


def test_scratch_memory_is_measured_in_a_process_of_its_own(bench, monkeypatch):
    monkeypatch.setattr(bench, "PEAK", importlib.import_module("scratch_memory").PEAK)
    if not bench.PEAK.exists():
        pytest.skip("only Linux says what memory was used at most")
    # A map of 4 MB is copied to rows unless it is channels_last.
    size = bench.Size(4, 256, 64, 64)
    copied = bench.scratch_mb("roi_align", "contiguous", size, "cpu")
    in_place = bench.scratch_mb("roi_align", "channels_last", size, "cpu")
    assert copied["forward"] > in_place["forward"] + 3
