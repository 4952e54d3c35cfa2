"""The CPU kernels: the vector unit that they use, the results of each unit, and the memory that they need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from deformlab.ops import cpu_capability, deform_conv2d

pytestmark = pytest.mark.usefixtures("native")
CAPABILITIES = ("default", "avx2", "avx512")
SCRIPT = "from deformlab.ops import cpu_capability; print(cpu_capability())"


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )


def available() -> tuple[str, ...]:
    return CAPABILITIES[: CAPABILITIES.index(cpu_capability()) + 1]


@pytest.mark.parametrize("capability", CAPABILITIES[:-1])
def test_every_vector_unit_and_both_bfloat16_paths_agree_with_the_reference(capability):
    """All other tests run on the best vector unit; this one runs on the others."""
    if capability not in available()[:-1]:
        pytest.skip(f"this processor's kernels are {cpu_capability()}")
    test = Path(__file__).with_name("test_deform_conv2d_op.py")
    result = run_python(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "agrees_with_the_reference", str(test)),
        # As scripts/check_versions.sh does: the other environment need not have the plugins.
        *("-o", "addopts=", "--import-mode=importlib", f"--confcutdir={test.parent}"),
        DEFORMLAB_CPU_CAPABILITY=capability,
        DEFORMLAB_CPU_BFLOAT16="library" if capability == "default" else "float",
    )
    assert result.returncode == 0, result.stdout


def test_the_environment_can_only_lower_the_vector_unit():
    for capability in {*available()[:-1], CAPABILITIES[-1]}:
        result = run_python("-c", SCRIPT, DEFORMLAB_CPU_CAPABILITY=capability)
        assert result.stdout.strip() == (capability if capability in available() else cpu_capability())
        assert ("this processor does not support it" in result.stderr) == (capability not in available())


def test_an_unknown_vector_unit_is_named_and_ignored():
    result = run_python("-c", SCRIPT, DEFORMLAB_CPU_CAPABILITY="sse9")
    assert result.stdout.strip() == cpu_capability()
    assert "DEFORMLAB_CPU_CAPABILITY is 'sse9': it must be one of default, avx2, avx512" in result.stderr


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_scratch_memory_is_bounded(memory_format):
    """Forward 20 MB and backward 40 MB beyond inputs and outputs, where the columns would take 151 MB."""
    N, C, H, W = 1, 512, 64, 128
    input = torch.randn(N, C, H, W).contiguous(memory_format=memory_format).requires_grad_()
    weight = torch.randn(C, C, 3, 3).contiguous(memory_format=memory_format).requires_grad_()
    offset = torch.randn(N, 18, H, W, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as forward:
        output = deform_conv2d(input, offset, weight, padding=2, dilation=2)
    grad = torch.randn(N, C, H, W).contiguous(memory_format=memory_format)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as backward:
        gradients = torch.autograd.grad(output, (input, offset, weight), grad)
    assert peak_bytes(forward) - output.nbytes <= 20e6
    assert peak_bytes(backward) - sum(gradient.nbytes for gradient in gradients) <= 40e6


def peak_bytes(profiled: profile) -> int:
    """The most that PyTorch's allocator held at once, counted from the beginning."""
    held = peak = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak
