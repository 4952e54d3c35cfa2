"""Measure the scratch memory of an operator: the peak during a call, without arguments and result.

    python scripts/scratch_memory.py SHAPE DTYPE MEMORY_FORMAT v1|v2 dense|deformable|torchvision

This command measures on the CPU, in its own process (Linux only). It measures the rise of the resident set,
which includes all kinds of allocation. A call at a tiny size first loads the code; then the first call at
full size is measured, including buffers that the operator or its matrix products keep for later calls. Freed
blocks are returned to the system immediately, so that the next call must allocate them again. The command
prints the MB (10^6 bytes) of the forward and the backward pass as JSON.

On the GPU, `scratch_mb` reads PyTorch's allocator in the calling process. Before, it makes one call at full
size, in which cuDNN tries its algorithms and cuBLAS allocates a workspace that it keeps.
"""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from ops_case import Case, Operator, make_operators
from torch import Tensor

STATUS = Path("/proc/self/status")
PEAK = Path("/proc/self/clear_refs")


def scratch_mb(case: Case, name: str, operator: Operator) -> dict[str, float | None]:
    """MB of `forward` and `backward` of the operator with this name; None if they cannot be measured."""
    if case.device == "cuda":
        operator.training()
        return dict(_passes(operator, "cuda"))
    if not PEAK.exists():
        return {"forward": None, "backward": None}
    version = "v2" if case.modulated else "v1"
    result = subprocess.run(
        [sys.executable, __file__, case.shape, case.dtype, case.memory_format, version, name],
        # Without a fixed threshold, glibc raises it, and larger blocks stay resident when freed.
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    measured: dict[str, float | None] = json.loads(result.stdout)
    return measured


def main() -> None:
    shape, dtype, memory_format, version, name = sys.argv[1:]
    case = Case(shape, dtype, memory_format, version == "v2", "cpu")
    make_operators(case._replace(shape="tiny"), [name])[name].training()
    print(json.dumps(_passes(make_operators(case, [name])[name], "cpu")))


def _passes(operator: Operator, device: str) -> dict[str, float]:
    (output,), forward = rise(lambda: [operator.forward()], device)
    _, backward = rise(lambda: operator.backward(output), device)
    return {"forward": forward, "backward": backward}


def rise(call: Callable[[], Sequence[Tensor]], device: str) -> tuple[Sequence[Tensor], float]:
    """The call's result, and the rise of peak memory in MB minus the size of the result."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = call()
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated()
    else:
        ctypes.CDLL(None).malloc_trim(0)
        PEAK.write_text("5")  # resets the peak of the resident set
        before = _resident("VmRSS")
        result = call()
        peak = _resident("VmHWM")
    size = sum(tensor.numel() * tensor.element_size() for tensor in result)
    return result, max(0.0, (peak - before - size) / 1e6)


def _resident(name: str) -> int:
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main()
