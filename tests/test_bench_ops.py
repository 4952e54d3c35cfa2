"""The benchmark of the operators: what a row has, that rows add up to one table, how memory is measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


def bench(*arguments):
    command = [sys.executable, SCRIPTS / "bench_ops.py", "--shapes", "batch", "--dtypes", "float32"]
    quick = ["--formats", "contiguous", "--repeats", "1", "--parts", "dense"]
    return subprocess.run([*command, *quick, *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """What two calls printed, and the result's file after each."""
    output = tmp_path_factory.mktemp("bench") / "operators.json"
    printed, results = [], []
    for arguments in (["--versions", "v1"], ["--resume"]):
        printed.append(bench(*arguments, "--output", output))
        results.append(json.loads(output.read_text()))
    return printed, results


def test_a_row_has_times_ratio_limit_and_verdict(calls):
    printed, results = calls
    (row,) = results[0]["rows"]
    assert (row["shape"], row["size"], row["modulated"]) == ("batch", [4, 128, 32, 32], False)
    assert row["forward"].keys() == {"dense_ms", "deformable_ms", "ratio", "most", "verdict"}
    assert row["forward_backward"]["most"] == 1.35
    assert row["forward"]["verdict"] == ("met" if row["forward"]["ratio"] <= 1.25 else "not met")
    assert f"<= 1.25  {row['forward']['verdict']}" in printed[0]
    assert results[0]["machine"]["vector_unit"]


def test_resuming_adds_the_rows_that_are_missing(calls):
    printed, results = calls
    assert [row["modulated"] for row in results[1]["rows"]] == [False, True]
    assert results[1]["rows"][0] == results[0]["rows"][0]
    assert printed[1].count("forward / dense") == 1


def test_rows_of_another_machine_are_not_mixed_in(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(SCRIPTS)
    import bench_ops

    path = tmp_path / "operators.json"
    path.write_text(json.dumps({"machine": {"processor": "this one"}, "rows": [{"shape": "voc"}]}))
    assert bench_ops.kept_rows(path, {"processor": "this one"}) == [{"shape": "voc"}]
    assert bench_ops.kept_rows(path, {"processor": "another"}) == []
    assert "is of another machine or build" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_scratch_memory_is_what_a_call_holds_besides_arguments_and_result():
    code = """
import torch
from scratch_memory import _rise

def small_sum_of_large(numbers):
    return [torch.ones(numbers).sum(0, keepdim=True)]

small_sum_of_large(1000)
_, rise = _rise(lambda: small_sum_of_large(8_000_000), "cpu")
assert 31 < rise < 34, rise
_, rise = _rise(lambda: [torch.ones(8_000_000)], "cpu")
assert rise < 2, rise
"""
    subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, check=True)
