"""Measure deformable against dense convolution in one process and save the ratios.

Calls alternate between the two operators, so that a busy machine slows both alike; medians are reported.
Run: python scripts/bench_ops.py [--output FILE] [--device cpu|cuda] [--repeats 9] [--threads N]
"""

import argparse
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import conv2d

import deformlab
from deformlab.ops import backend, deform_conv2d

# Batch, channels in and out, height, width: conv5 on Cityscapes, conv5 on VOC, a training batch.
SHAPES = {
    "cityscapes": (1, 512, 64, 128),
    "voc": (1, 512, 23, 32),
    "batch": (4, 128, 32, 32),
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
DILATION = 2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    rows = []
    for shape in arguments.shapes:
        for dtype in arguments.dtypes:
            for memory_format in FORMATS:
                for modulated in (False, True):
                    row = measure(shape, dtype, memory_format, modulated, arguments.device, arguments.repeats)
                    print(describe(row), flush=True)
                    rows.append(row)
    if arguments.output:
        result = {"machine": machine(arguments.device), "revision": revision(), "rows": rows}
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


def measure(
    shape: str, dtype: str, memory_format: str, modulated: bool, device: str, repeats: int
) -> dict[str, Any]:
    """Median milliseconds and the median of the ratios of neighbouring calls, for both operators."""
    N, C, H, W = SHAPES[shape]
    generator = torch.Generator().manual_seed(0)

    def random(*size: int) -> torch.Tensor:
        tensor = torch.randn(*size, generator=generator).to(device, DTYPES[dtype])
        return tensor.to(memory_format=FORMATS[memory_format]).requires_grad_()

    input, weight, offset = random(N, C, H, W), random(C, C, 3, 3), random(N, 18, H, W)
    mask = random(N, 9, H, W).detach().sigmoid().requires_grad_() if modulated else None
    grad = random(N, C, H, W).detach()

    def dense() -> torch.Tensor:
        return conv2d(input, weight, padding=DILATION, dilation=DILATION)

    def deformable() -> torch.Tensor:
        return deform_conv2d(input, offset, weight, padding=DILATION, dilation=DILATION, mask=mask)

    def forward(operator: Callable[[], torch.Tensor]) -> None:
        with torch.no_grad():
            operator()

    def training(operator: Callable[[], torch.Tensor]) -> None:
        operator().backward(grad)
        for tensor in (input, weight, offset, mask):
            if tensor is not None:
                tensor.grad = None

    row: dict[str, Any] = {
        "shape": shape,
        "size": [N, C, H, W],
        "dtype": dtype,
        "memory_format": memory_format,
        "modulated": modulated,
    }
    for name, call in (("forward", forward), ("forward_backward", training)):
        times = [
            (seconds(lambda: call(dense), device), seconds(lambda: call(deformable), device))  # noqa: B023
            for _ in range(repeats + 2)
        ][2:]
        row[name] = {
            "dense_ms": 1e3 * statistics.median(dense for dense, _ in times),
            "deformable_ms": 1e3 * statistics.median(deformable for _, deformable in times),
            "ratio": statistics.median(deformable / dense for dense, deformable in times),
        }
    return row


def seconds(call: Callable[[], None], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def describe(row: dict[str, Any]) -> str:
    times = "; ".join(
        f"{name} {measured['dense_ms']:.1f} -> {measured['deformable_ms']:.1f} ms, {measured['ratio']:.2f}x"
        for name, measured in ((name, row[name]) for name in ("forward", "forward_backward"))
    )
    version = "v2" if row["modulated"] else "v1"
    return f"{row['shape']:10} {row['dtype']:8} {row['memory_format']:13} {version}: {times}"


def machine(device: str) -> dict[str, Any]:
    return {
        "processor": processor(),
        "vector_unit": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "deformlab": deformlab.__version__,
        "backend": backend(device),
    }


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def revision() -> str | None:
    root = Path(__file__).parents[1]
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=False
    )
    return described.stdout.strip() or None


if __name__ == "__main__":
    main()
