"""The benchmarks: what a row has, that calls add up to one table, how time and memory are measured."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)


@pytest.fixture
def cuda(monkeypatch):
    """A stand-in for the parts of torch.cuda that measure, whose clock and memory the calls move."""
    device = SimpleNamespace(ms=0.0, allocated=0, peak=0, synchronized=0)

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.ms = device.ms

        def synchronize(self):
            pass

        def elapsed_time(self, end):
            return end.ms - self.ms

    def synchronize():
        device.synchronized += 1

    def reset():
        device.peak = device.allocated

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: device.allocated)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: device.peak)
    return device


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


def test_a_row_has_times_and_ratio_and_its_limit_and_verdict_are_printed(calls):
    printed, results = calls
    (row,) = results[0]["rows"]
    assert (row["shape"], row["size"], row["modulated"]) == ("batch", [4, 128, 32, 32], False)
    assert row["forward"].keys() == {"dense_ms", "deformable_ms", "ratio"}
    verdict = "met" if row["forward"]["ratio"] <= 1.25 else "not met"
    assert f"≤ 1.25  {verdict}\n" in printed[0]


def test_a_result_says_where_it_is_from(calls):
    result = calls[1][0]
    assert result.keys() == {"device", "machine", "versions", "revision", "rows"}
    assert result["device"] == "cpu"
    assert result["machine"]["vector_unit"]
    assert result["versions"]["torch"] == torch.__version__


def test_resuming_adds_the_rows_that_are_missing(calls):
    printed, results = calls
    assert [row["modulated"] for row in results[1]["rows"]] == [False, True]
    assert results[1]["rows"][0] == results[0]["rows"][0]
    assert printed[1].count("forward / dense") == 1


def test_rows_of_another_machine_are_not_mixed_in(tmp_path, capsys):
    import benchmark

    path = tmp_path / "operators.json"
    result = benchmark.measured_on("cpu") | {"rows": [{"shape": "voc"}]}
    path.write_text(json.dumps(result))
    assert benchmark.start_result("cpu", path)["rows"] == [{"shape": "voc"}]
    path.write_text(json.dumps(result | {"machine": {"processor": "another"}}))
    assert benchmark.start_result("cpu", path)["rows"] == []
    assert "is from another machine" in capsys.readouterr().out


def test_a_copy_without_its_repository_gets_its_revision_from_the_environment(monkeypatch):
    import benchmark

    monkeypatch.setenv("REVISION", "0123abcd")
    assert benchmark.measured_on("cpu")["revision"] == "0123abcd"


def test_a_device_without_compiled_kernels_is_refused(monkeypatch):
    import benchmark

    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="finds no CUDA device"):
            benchmark.prepare("cuda")
    monkeypatch.setattr(benchmark, "backend", lambda device: "reference")
    with pytest.raises(SystemExit, match="the operators are not compiled for it"):
        benchmark.prepare("cpu")


def test_calls_on_a_gpu_are_timed_by_its_clock_in_samples_of_five_milliseconds(cuda):
    import benchmark

    made = {"fast": 0, "slow": 0}

    def call(name, ms):
        made[name] += 1
        cuda.ms += ms

    calls = {"fast": lambda: call("fast", 0.5), "slow": lambda: call("slow", 20)}
    times = benchmark.alternate(calls, repeats=3, device="cuda", warm_up=1)
    assert times == {"fast": [0.5] * 3, "slow": [20.0] * 3}
    warm = 3 + 3  # to load everything, then to find how many calls fill a sample
    assert made == {"fast": warm + 4 * 10, "slow": warm + 4 * 1}
    assert cuda.synchronized >= 2 * (1 + 4)


def test_memory_on_a_gpu_is_the_allocators_peak_less_the_result(cuda):
    from scratch_memory import rise

    cuda.allocated = cuda.peak = 70_000_000

    def call():
        cuda.peak = cuda.allocated + 5_000_000
        return [torch.empty(500_000)]

    _, megabytes = rise(call, "cuda")
    assert megabytes == pytest.approx(3)


def test_a_networks_memory_on_a_gpu_is_what_its_call_adds(cuda):
    from bench_network import peak_mb

    cuda.allocated, cuda.peak = 10_000_000, 90_000_000  # something earlier took more

    def call():
        cuda.peak = max(cuda.peak, cuda.allocated + 4_000_000)

    assert peak_mb(call) == pytest.approx(4)


def test_under_autocast_the_convolutions_compute_in_bfloat16():
    from ops_case import Case, make_operators

    operators = make_operators(
        Case("tiny", "autocast", "channels_last", True, "cpu"), ["dense", "deformable"]
    )
    for operator in operators.values():
        output = operator.forward()
        assert output.dtype == torch.bfloat16
        assert {gradient.dtype for gradient in operator.backward(output)} == {torch.float32}
    for name in ("float32", "bfloat16"):
        (operator,) = make_operators(Case("tiny", name, "contiguous", False, "cpu"), ["deformable"]).values()
        assert operator.forward().dtype == getattr(torch, name)


@pytest.mark.parametrize("computes", [True, False])
def test_torchvision_is_compared_with_where_it_has_the_type(monkeypatch, capsys, computes):
    import ops_case

    def deform_conv2d(input, offset, weight, mask, padding, dilation):
        if not computes:
            raise RuntimeError('"deformable_im2col" not implemented for BFloat16\nmore')
        return torch.nn.functional.conv2d(input, weight, padding=padding, dilation=dilation) + 0 * (
            offset.sum() + mask.sum()
        )

    monkeypatch.setattr(ops_case, "torchvision_ops", lambda: SimpleNamespace(deform_conv2d=deform_conv2d))
    ops_case._torchvision_has.cache_clear()
    operators = ops_case.make_operators(ops_case.Case("tiny", "float32", "contiguous", True, "cpu"))
    assert ("torchvision" in operators) == computes
    assert ("not implemented for BFloat16" in capsys.readouterr().err) != computes
    ops_case._torchvision_has.cache_clear()


def test_a_case_that_fails_is_reported_and_the_others_are_measured(monkeypatch, tmp_path, capsys):
    import bench_ops

    def against_dense(case, operators, options):
        if case.modulated is False:
            raise RuntimeError("out of memory")
        return {"forward": {"dense_ms": 1.0, "deformable_ms": 2.0, "ratio": 2.0}}

    monkeypatch.setitem(bench_ops.MEASURE, "dense", against_dense)
    output = tmp_path / "operators.json"
    quick = ["--shapes", "tiny", "--dtypes", "float32", "--formats", "contiguous", "--parts", "dense"]
    threads = ["--threads", str(torch.get_num_threads())]
    monkeypatch.setattr(sys, "argv", ["bench_ops.py", *quick, *threads, "--output", str(output)])
    assert bench_ops.main() == 1
    assert "FAILED: out of memory" in capsys.readouterr().out
    assert ["forward" in row for row in json.loads(output.read_text())["rows"]] == [False, True]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_scratch_memory_is_what_a_call_holds_besides_arguments_and_result():
    code = """
import torch
from scratch_memory import rise

def small_sum_of_large(numbers):
    return [torch.ones(numbers).sum(0, keepdim=True)]

small_sum_of_large(1000)
_, megabytes = rise(lambda: small_sum_of_large(8_000_000), "cpu")
assert 31 < megabytes < 34, megabytes
_, megabytes = rise(lambda: [torch.ones(8_000_000)], "cpu")
assert megabytes < 2, megabytes
"""
    subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, check=True)
