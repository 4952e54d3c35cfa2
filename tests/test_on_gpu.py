"""scripts/on_gpu.sh with a stand-in for Python: order, limits, failures, Ctrl-C; and its pytest plugin.

The commands themselves run in the rehearsal, `make rehearse`.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "on_gpu.sh"
PARTS = [
    "build",
    "operators' tests",
    "operators",
    "training step",
    "profile",
    "operators, more shapes",
    "other GPU tests",
]


@pytest.fixture
def start(tmp_path):
    """Start the script where `cases`, branches of a shell's `case`, say what each call of Python does."""

    def start(cases: str = "", **environment: str) -> subprocess.Popen[str]:
        python = tmp_path / "python"
        python.write_text(
            f"""#!/bin/sh
case "$*" in
  {cases}
  *get_device_capability*) echo 9.0 ;;
  */proc/self/maps*) echo /torch/libcudart.so.13 ;;
  *build_ext*) echo "called: $* for $TORCH_CUDA_ARCH_LIST"; readlink "${{LIBRARY_PATH%%:*}}/libcudart.so" ;;
  *) echo "called: $*" ;;
esac
"""
        )
        python.chmod(0o755)
        return subprocess.Popen(
            [SCRIPT, tmp_path / "out"],
            env={**os.environ, "PYTHON": str(python), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


@pytest.fixture
def run(start, tmp_path):
    """Run the script; return its exit code, what it printed, and part to result from the summary."""

    def run(*args, **kwargs):
        process = start(*args, **kwargs)
        printed = process.communicate(timeout=60)[0]
        return process.returncode, printed, summary(tmp_path)

    return run


def summary(tmp_path):
    lines = (tmp_path / "out" / "summary.txt").read_text().splitlines()
    return {line[:25].strip(): line[25:38].strip() for line in lines if not line.startswith("not installed")}


def test_every_part_runs_in_order_of_importance(run, tmp_path):
    code, _, results = run()
    assert code == 0
    assert results == dict.fromkeys([*PARTS, "in all"], "done")
    assert list(results) == [*PARTS, "in all"]
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "setup.py build_ext --inplace --force for 9.0\n/torch/libcudart.so.13\n" in log


def test_a_part_that_fails_does_not_stop_the_others(run):
    code, printed, results = run("*bench_network*) echo out of memory; exit 3 ;;")
    assert code == 1
    assert results.pop("training step") == "failed"
    assert results.pop("in all") == "failed"
    assert set(results.values()) == {"done"}
    assert "exit code 3" in printed
    assert "out of memory" in printed
    assert "called: " not in printed  # the output of parts that succeeded


def test_a_part_without_any_test_is_skipped(run):
    code, _, results = run("*--ignore=tests/ops) exit 5 ;;")
    assert code == 0
    assert results["other GPU tests"] == "skipped"


def test_what_takes_too_long_is_stopped_and_the_rest_is_skipped(run):
    code, printed, results = run("*bench_ops*) exec sleep 60 ;;", SECONDS_IN_ALL="5")
    assert code == 1
    assert [results[part] for part in PARTS] == ["done", "done", "timed out", *["skipped"] * 4]
    assert "no time left" in printed


def test_ctrl_c_keeps_what_is_there_and_ends_the_part(start, tmp_path):
    process = start(f"*bench_ops*) echo $$ >{tmp_path}/pid; echo one row; exec sleep 60 ;;")
    pid_file = tmp_path / "pid"
    deadline = time.monotonic() + 30
    while not (pid_file.exists() and pid_file.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    results = summary(tmp_path)
    assert results["operators' tests"] == "done"
    assert results["operators"] == "interrupted"
    assert "one row" in (tmp_path / "out" / "log.txt").read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_without_a_gpu_it_says_how_to_rehearse(run):
    process = run("*get_device_capability*) echo no driver >&2; exit 1 ;;")
    assert process[0] == 2
    assert process[1].startswith("no driver\n")
    assert "finds no CUDA device" in process[1]
    assert "--rehearse" in process[1]


def test_missing_packages_are_listed(run):
    _, printed, _ = run("*find_spec*jsonargparse*|*find_spec*torchvision*) exit 1 ;;")
    assert printed.startswith(
        "not installed, so tests and comparisons are skipped: torchvision jsonargparse\n"
    )


def test_the_plugin_skips_what_needs_a_missing_package(tmp_path):
    (tmp_path / "test_module.py").write_text("import not_there.submodule\ndef test_a(): pass\n")
    (tmp_path / "test_call.py").write_text("def test_b(): import not_there\n")
    (tmp_path / "test_ours.py").write_text("def test_c(): import deformlab.not_there\n")
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "skip_missing_packages",
            "-rfs",
            "--rootdir",
            tmp_path,
            tmp_path,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT / "scripts")))},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "1 failed, 2 skipped" in result.stdout
    assert result.stdout.count("not_there is not installed") == 2
    assert "test_ours.py::test_c" in result.stdout
