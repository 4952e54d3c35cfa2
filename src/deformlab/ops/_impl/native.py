"""Finds and loads the compiled operators, and reports why if it cannot. It never compiles anything."""

import importlib.util
import os
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

__all__ = ["NativeStatus", "backend", "cpu_capability", "native_status", "warn_without_native"]

# Indexed by the number that the library returns.
_CPU_CAPABILITIES = ("default", "avx2", "avx512")
_CPU_CAPABILITY_LIMIT = "DEFORMLAB_CPU_CAPABILITY"
# The operators that each library must have, with the newest argument of each (None: any version will do). A
# library that lacks one of them was built from older sources than this file.
_CPU_OPERATORS = {
    "deform_conv2d": "clamp",
    "nms": None,
    "roi_average": None,
    "roi_pool": None,
    "soft_nms": None,
    "_cpu_capability": None,
}
_CUDA_OPERATORS = {
    "deform_conv2d": "clamp",
    "deform_conv2d_backward.deterministic": "clamp",
    "nms": None,
    "roi_average": None,
    "roi_pool": None,
    "soft_nms": None,
}


class NativeStatus(NamedTuple):
    """Whether the compiled operators are in use, and if not, why.

    Attributes:
        loaded: Whether the CPU library is loaded.
        path: The file of the CPU library; None if there is no such file.
        cuda: Whether the CUDA kernels, which are a separate library, are loaded.
        reason: Why the CPU library is not loaded, as one line; empty if it is.
        cuda_reason: Why the CUDA kernels are not loaded, as one line; empty if they are, or if the CPU
            library is not loaded.
    """

    loaded: bool
    path: Path | None
    cuda: bool
    reason: str
    cuda_reason: str = ""


def native_status() -> NativeStatus:
    """Return whether the compiled libraries were loaded when deformlab was imported, and if not, why."""
    return _STATUS


def _load() -> NativeStatus:
    path = _library_path("_C")
    if path is None:
        return NativeStatus(
            False,
            None,
            False,
            "the package was installed without compiled operators; to compile them, install a C++ compiler "
            "and torch >= 2.10, and run in the source folder: pip install --no-build-isolation --no-deps .",
        )
    reason = _load_library(path, "CPU", _CPU_OPERATORS)
    if reason:
        return NativeStatus(False, path, False, reason)
    _check_capability_limit()
    cuda_reason = _load_cuda()
    return NativeStatus(True, path, not cuda_reason, "", cuda_reason)


def _check_capability_limit() -> None:
    """Warn if the environment variable names a vector unit that will not be used."""
    limit = os.environ.get(_CPU_CAPABILITY_LIMIT)
    used = _CPU_CAPABILITIES[torch.ops.deformlab._cpu_capability()]
    if limit is not None and limit not in _CPU_CAPABILITIES:
        legal = ", ".join(_CPU_CAPABILITIES)
        problem = f"it must be one of {legal}"
    elif limit is not None and limit != used:
        problem = "this processor does not support it"
    else:
        return
    warnings.warn(f"{_CPU_CAPABILITY_LIMIT} is {limit!r}: {problem}; deformlab uses {used}", stacklevel=2)


def _load_cuda() -> str:
    """Load the CUDA kernels. Return why they cannot be used, or an empty string."""
    if torch.version.cuda is None:
        return "this is a build of torch without CUDA"
    path = _library_path("_C_cuda")
    if path is None:
        return (
            "the package was installed without CUDA kernels; to compile them, install the nvcc of CUDA "
            f"{torch.version.cuda} and run in the source folder: pip install --no-build-isolation --no-deps ."
        )
    return _load_library(path, "CUDA", _CUDA_OPERATORS)


def _load_library(path: Path, device: str, operators: Mapping[str, str | None]) -> str:
    """Load a library. Return why it cannot be used, or an empty string."""
    try:
        torch.ops.load_library(path)
    except (OSError, RuntimeError) as error:
        return f"{path.name} does not load in torch {torch.__version__}: {str(error).splitlines()[0]}"
    if all(_has_kernel(name, device, argument) for name, argument in operators.items()):
        return ""
    return (
        f"{path.name} was built from older sources than the installed Python files; to rebuild it, run in "
        "the source folder: pip install --no-build-isolation --no-deps ."
    )


def _has_kernel(operator: str, device: str, argument: str | None) -> bool:
    name, _, overload = operator.partition(".")
    packet = getattr(torch.ops.deformlab, name, None)
    schema = getattr(getattr(packet, overload or "default", None), "_schema", None)
    return (
        schema is not None
        and (argument is None or argument in [parameter.name for parameter in schema.arguments])
        and torch._C._dispatch_has_computed_kernel_for_dispatch_key(f"deformlab::{operator}", device)
    )


def backend(device_type: str = "cpu") -> str:
    """Return which implementation of the operators runs on a device.

    Args:
        device_type: The type of the device, as in `torch.device.type`.

    Returns:
        `native` if compiled kernels exist for tensors on this device, otherwise `reference` (plain PyTorch).
    """
    status = native_status()
    supported = device_type in ("cpu", "meta") or (device_type == "cuda" and status.cuda)
    return "native" if status.loaded and supported else "reference"


def cpu_capability() -> str | None:
    """Return the vector unit that the compiled kernels use on this CPU.

    It is the best that the processor supports, unless the environment variable `DEFORMLAB_CPU_CAPABILITY`
    names a lower one.

    Returns:
        `avx512`, `avx2` or `default` (the architecture's baseline); None if no compiled kernels are loaded.
    """
    return _CPU_CAPABILITIES[torch.ops.deformlab._cpu_capability()] if native_status().loaded else None


def warn_without_native() -> None:
    """Warn once per process that the operators run on plain PyTorch."""
    if not torch.compiler.is_compiling():  # a warning cannot be traced
        _warn_once()


@cache
def _warn_once() -> None:
    status = native_status()
    reason = status.reason or status.cuda_reason
    warnings.warn(f"deformlab runs its operators on plain PyTorch (slow): {reason}", stacklevel=4)


def _library_path(name: str) -> Path | None:
    spec = importlib.util.find_spec("deformlab")
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        path = Path(folder) / f"{name}.abi3.so"
        if path.exists():
            return path
    return None


_STATUS = _load()
