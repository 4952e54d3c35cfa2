"""`make cuda` on machines without nvcc, and that it watches for registers that spill."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def compile_cuda(tmp_path: Path, nvcc: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the script where only `nvcc`, a shell script, stands for the compiler."""
    for tool in ("bash", "dirname", "sed", "mktemp", "rm", "cat", "basename", "c++filt", "awk"):
        found = shutil.which(tool)
        if found is None:
            pytest.skip(f"{tool} is not there")
        (tmp_path / tool).symlink_to(found)
    if nvcc is not None:
        (tmp_path / "nvcc").write_text(f"#!/bin/sh\n{nvcc}\n")
        (tmp_path / "nvcc").chmod(0o755)
    return subprocess.run(
        [tmp_path / "bash", ROOT / "scripts/compile_cuda.sh"],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": str(tmp_path)},
    )


REPORT = """cat <<END
ptxas info    : Compiling entry function '_Z6samplev' for 'sm_90'
    8 bytes stack frame, {spill} bytes spill stores, {spill} bytes spill loads
ptxas info    : Used 48 registers, used 0 barriers
END"""


def test_without_nvcc_it_says_so_and_succeeds(tmp_path):
    result = compile_cuda(tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "CUDA sources not compiled: nvcc not found\n"


def test_registers_are_listed(tmp_path):
    result = compile_cuda(tmp_path, REPORT.format(spill=0))
    assert result.returncode == 0
    assert "48 registers\n" in result.stdout


def test_kernels_of_an_unnamed_namespace_are_listed_by_name(tmp_path):
    mangled = "_ZN9deformlab2op12_GLOBAL__N_16sampleIfEEvPT_"
    result = compile_cuda(tmp_path, REPORT.format(spill=0).replace("_Z6samplev", mangled))
    assert "deformlab::op::sample<float> " in result.stdout


def test_registers_that_spill_are_an_error(tmp_path):
    result = compile_cuda(tmp_path, REPORT.format(spill=104))
    assert result.returncode == 1
    assert "48 registers, REGISTERS SPILL" in result.stdout


def test_a_few_bytes_saved_around_a_division_are_none(tmp_path):
    assert compile_cuda(tmp_path, REPORT.format(spill=24)).returncode == 0


def test_what_the_compiler_says_is_shown_when_it_fails(tmp_path):
    result = compile_cuda(tmp_path, "echo 'error: expected a ;'; exit 2")
    assert result.returncode == 1
    assert "error: expected a ;" in result.stdout
