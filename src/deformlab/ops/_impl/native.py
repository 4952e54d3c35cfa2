"""Finds and loads the compiled operators; never compiles, and says why when there are none."""

import importlib.util
import os
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

__all__ = ["NativeStatus", "backend", "cpu_capability", "native_status", "warn_without_native"]

# In the order of the numbers that the library gives.
_CPU_CAPABILITIES = ("default", "avx2", "avx512")
_CPU_CAPABILITY_LIMIT = "DEFORMLAB_CPU_CAPABILITY"
# The operators of each library, with their newest argument. A library without them is older than this file.
_CPU_OPERATORS = {"deform_conv2d": "clamp", "_cpu_capability": None}
_CUDA_OPERATORS = {"deform_conv2d": "clamp", "deform_conv2d_backward.deterministic": "clamp"}


class NativeStatus(NamedTuple):
    """Whether the compiled operators are in use.

    `cuda` says the same of the kernels for CUDA devices, which are a library of their own. The reasons are
    empty where kernels are loaded, else one line each.
    """

    loaded: bool
    path: Path | None
    cuda: bool
    reason: str
    cuda_reason: str = ""


def native_status() -> NativeStatus:
    """Return what came of loading the library when this module was imported."""
    return _STATUS


def _load() -> NativeStatus:
    path = _library_path("_C")
    if path is None:
        return NativeStatus(
            False,
            None,
            False,
            "the package was installed without compiled operators; with a C++ compiler and torch >= 2.10 "
            "there, run in its source folder: pip install --no-build-isolation --no-deps .",
        )
    reason = _load_library(path, "CPU", _CPU_OPERATORS)
    if reason:
        return NativeStatus(False, path, False, reason)
    _check_capability_limit()
    cuda_reason = _load_cuda()
    return NativeStatus(True, path, not cuda_reason, "", cuda_reason)


def _check_capability_limit() -> None:
    """Say so where the environment asks for a vector unit that will not be used."""
    limit = os.environ.get(_CPU_CAPABILITY_LIMIT)
    used = _CPU_CAPABILITIES[torch.ops.deformlab._cpu_capability()]
    if limit is not None and limit not in _CPU_CAPABILITIES:
        legal = ", ".join(_CPU_CAPABILITIES)
        problem = f"it must be one of {legal}"
    elif limit is not None and limit != used:
        problem = "this processor does not have it"
    else:
        return
    warnings.warn(f"{_CPU_CAPABILITY_LIMIT} is {limit!r}: {problem}; deformlab uses {used}", stacklevel=2)


def _load_cuda() -> str:
    """Load the kernels for CUDA devices; return why there are none, or nothing."""
    if torch.version.cuda is None:
        return "this is a build of torch without CUDA"
    path = _library_path("_C_cuda")
    if path is None:
        return (
            f"the package was installed without CUDA kernels; with the nvcc of CUDA {torch.version.cuda} "
            "there, run in its source folder: pip install --no-build-isolation --no-deps ."
        )
    return _load_library(path, "CUDA", _CUDA_OPERATORS)


def _load_library(path: Path, device: str, operators: Mapping[str, str | None]) -> str:
    """Load a library; return why it cannot be used, or nothing."""
    try:
        torch.ops.load_library(path)
    except (OSError, RuntimeError) as error:
        return f"{path.name} does not load in torch {torch.__version__}: {str(error).splitlines()[0]}"
    if all(_has_kernel(name, device, argument) for name, argument in operators.items()):
        return ""
    return (
        f"{path.name} was built from older sources than the Python files beside it; build it again, in "
        "the source folder: pip install --no-build-isolation --no-deps ."
    )


def _has_kernel(operator: str, device: str, argument: str | None) -> bool:
    name, _, overload = operator.partition(".")
    packet = getattr(torch.ops.deformlab, name, None)
    schema = getattr(getattr(packet, overload or "default", None), "_schema", None)
    return (
        schema is not None
        and (argument is None or argument in [known.name for known in schema.arguments])
        and torch._C._dispatch_has_computed_kernel_for_dispatch_key(f"deformlab::{operator}", device)
    )


def backend(device_type: str = "cpu") -> str:
    """Return "native" where compiled kernels serve tensors on `device_type`, else "reference"."""
    status = native_status()
    served = device_type in ("cpu", "meta") or (device_type == "cuda" and status.cuda)
    return "native" if status.loaded and served else "reference"


def cpu_capability() -> str | None:
    """Return the vector unit that the compiled kernels use on this CPU, or None where there are none.

    "avx512", "avx2", or "default" for the architecture's baseline: the best that the processor has, unless
    the environment variable DEFORMLAB_CPU_CAPABILITY names a lower one.
    """
    return _CPU_CAPABILITIES[torch.ops.deformlab._cpu_capability()] if native_status().loaded else None


def warn_without_native() -> None:
    """Say once per process that the slow path is taken."""
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
