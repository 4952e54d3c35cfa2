"""The machine, the versions and the build that a benchmark ran on."""

import hashlib
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import deformlab
from deformlab.ops import backend, native_status


def machine(device: str) -> dict[str, Any]:
    """Processor, threads, versions and build, and the GPU where `device` is cuda."""
    name, matrix_instructions = _processor()
    return {
        "processor": name,
        "vector_unit": torch.backends.cpu.get_cpu_capability(),
        "matrix_instructions": matrix_instructions,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "capability": list(torch.cuda.get_device_capability()) if device == "cuda" else None,
        "torch": torch.__version__,
        "torchvision": _torchvision_version(),
        "python": platform.python_version(),
        "deformlab": deformlab.__version__,
        "backend": backend(device),
        "library": _library_digest(),
    }


def _library_digest() -> str | None:
    """Tells builds of the compiled operators apart, also those that have no revision of their own."""
    path = native_status().path
    if path is None:
        return None
    libraries = sorted(path.parent.glob("*.abi3.so"))
    return hashlib.sha256(b"".join(library.read_bytes() for library in libraries)).hexdigest()[:12]


def _processor() -> tuple[str, list[str]]:
    """The processor's name and which instructions for 16-bit matrix products it has."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or platform.machine(), []
    fields = dict(line.split("\t", 1) for line in cpuinfo.read_text().splitlines() if "\t" in line)
    values = {name: value.lstrip("\t: ") for name, value in fields.items()}
    flags = values.get("flags", "").split()
    name = values.get("model name", platform.machine())
    return name, [flag for flag in ("avx512_bf16", "amx_bf16", "amx_fp16") if flag in flags]


def _torchvision_version() -> str | None:
    try:
        return metadata.version("torchvision")
    except metadata.PackageNotFoundError:
        return None
