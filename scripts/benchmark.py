"""Shared code of the benchmarks: alternating timed calls, the machine, and the result file."""

import hashlib
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import deformlab
from deformlab import provenance
from deformlab.ops import backend, native_status

DEVICES = ("cpu", "cuda")
WARM_UP = 2
# CUDA events resolve about a microsecond, so a sample is as many calls as fill this time.
CUDA_SAMPLE_MS = 5.0
CUDA_CALLS_AT_MOST = 1000


def prepare(device: str) -> None:
    """Checks that compiled kernels exist for the device, and lets cuDNN choose its fastest algorithms.

    Raises:
        SystemExit: The device does not exist, or its operators would run on plain PyTorch.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no CUDA device")
    if backend(device) != "native":
        reason = native_status().reason or native_status().cuda_reason
        raise SystemExit(f"--device {device}: the operators are not compiled for it: {reason}")
    torch.backends.cudnn.benchmark = True


def use_tf32(allowed: bool) -> None:
    """Allows or forbids TF32 on a GPU, for float32 matrix products (including ours) and cuDNN."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


# Times


def alternate(
    calls: Mapping[str, Callable[[], Any]], repeats: int, device: str, warm_up: int = WARM_UP
) -> dict[str, list[float]]:
    """Milliseconds of each call; calls alternate, so that other load on the machine slows all equally.

    Args:
        calls: The functions to time, by name.
        repeats: Number of measured rounds; each round calls every function once.
        device: `cpu` or `cuda`.
        warm_up: Number of rounds before the measured ones.

    Returns:
        The milliseconds of each measured round, by name.
    """
    samplers = {name: _sampler(call, device) for name, call in calls.items()}
    rounds = [{name: sample() for name, sample in samplers.items()} for _ in range(warm_up + repeats)]
    return {name: [times[name] for times in rounds[warm_up:]] for name in calls}


def ratio(numerator: list[float], denominator: list[float]) -> float:
    """The median of the ratios of neighbouring calls, which varies less with load than a ratio of medians."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def _sampler(call: Callable[[], Any], device: str) -> Callable[[], float]:
    if device == "cpu":
        return lambda: _cpu_ms(call)
    # cuDNN tries its algorithms in the first call; the caching allocator needs a second call.
    for _ in range(3):
        call()
    calls = math.ceil(CUDA_SAMPLE_MS / max(_cuda_ms(call, 3), 1e-3))
    return lambda: _cuda_ms(call, min(CUDA_CALLS_AT_MOST, calls))


def _cpu_ms(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def _cuda_ms(call: Callable[[], Any], count: int) -> float:
    """Mean milliseconds of `count` successive calls, from the device's clock."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for _ in range(count):
        call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / count


# Where, and from what


def measured_on(device: str) -> dict[str, Any]:
    """Device, machine, versions and revision, which every result file contains."""
    return {
        "device": device,
        "machine": _machine(device),
        "versions": _versions(device),
        # For a copy without its repository, the environment variable REVISION gives the commit.
        "revision": os.environ.get("REVISION") or provenance.git_revision(),
    }


def _machine(device: str) -> dict[str, Any]:
    name, matrix_instructions = _processor()
    return {
        "processor": name,
        "vector_unit": torch.backends.cpu.get_cpu_capability(),
        "matrix_instructions": matrix_instructions,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "capability": list(torch.cuda.get_device_capability()) if device == "cuda" else None,
        "backend": backend(device),
        "library": _library_digest(),
    }


def _versions(device: str) -> dict[str, str]:
    found: dict[str, Any] = {
        "deformlab": deformlab.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device == "cuda":
        found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    with suppress(metadata.PackageNotFoundError):
        found["torchvision"] = metadata.version("torchvision")
    return {name: str(version) for name, version in found.items()}


def _library_digest() -> str | None:
    """A digest that identifies a build of the compiled operators."""
    path = native_status().path
    if path is None:
        return None
    libraries = sorted(path.parent.glob("*.abi3.so"))
    return hashlib.sha256(b"".join(library.read_bytes() for library in libraries)).hexdigest()[:12]


def _processor() -> tuple[str, list[str]]:
    """The processor's name and its instructions for 16-bit matrix products."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or platform.machine(), []
    fields = dict(line.split("\t", 1) for line in cpuinfo.read_text().splitlines() if "\t" in line)
    values = {name: value.lstrip("\t: ") for name, value in fields.items()}
    flags = values.get("flags", "").split()
    name = values.get("model name", platform.machine())
    return name, [flag for flag in ("avx512_bf16", "amx_bf16", "amx_fp16") if flag in flags]


# The result file


def start_result(device: str, output: Path | None) -> dict[str, Any]:
    """A result without rows, or with those of `output` if its machine, build and versions are the same."""
    result: dict[str, Any] = measured_on(device) | {"rows": []}
    if output is not None and output.exists():
        earlier = json.loads(output.read_text())
        if all(earlier.get(name) == result[name] for name in ("device", "machine", "versions")):
            result["rows"] = earlier["rows"]
        else:
            print(f"{output} is from another machine, build or version and will be replaced")
    return result


def save(output: Path | None, result: dict[str, Any]) -> None:
    """Writes the result atomically, so that a stopped benchmark leaves the last complete file."""
    if output is None:
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=1) + "\n")
    partial.replace(output)
