"""Finds and loads the compiled operators; never compiles, and says why when there are none."""

import importlib.util
import warnings
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

__all__ = ["NativeStatus", "backend", "native_status", "warn_without_native"]


class NativeStatus(NamedTuple):
    """Whether the compiled operators are in use.

    `cuda` says whether the library holds CUDA kernels; `reason` is empty when it is loaded, else one line.
    """

    loaded: bool
    path: Path | None
    cuda: bool
    reason: str


def native_status() -> NativeStatus:
    """Return what came of loading the library when this module was imported."""
    return _STATUS


def _load() -> NativeStatus:
    path = _library_path()
    if path is None:
        return NativeStatus(
            False,
            None,
            False,
            "the package was installed without compiled operators; with a C++ compiler and torch >= 2.10 "
            "there, run in its source folder: pip install --no-build-isolation --no-deps .",
        )
    try:
        torch.ops.load_library(path)
    except (OSError, RuntimeError) as error:
        first_line = str(error).splitlines()[0]
        return NativeStatus(
            False, path, False, f"{path.name} does not load in torch {torch.__version__}: {first_line}"
        )
    cuda = torch._C._dispatch_has_kernel_for_dispatch_key("deformlab::deform_conv2d", "CUDA")
    return NativeStatus(True, path, cuda, "")


def backend(device_type: str = "cpu") -> str:
    """Return "native" where compiled kernels serve tensors on `device_type`, else "reference"."""
    status = native_status()
    served = device_type in ("cpu", "meta") or (device_type == "cuda" and status.cuda)
    return "native" if status.loaded and served else "reference"


def warn_without_native() -> None:
    """Say once per process that the slow path is taken."""
    if not torch.compiler.is_compiling():  # a warning cannot be traced
        _warn_once()


@cache
def _warn_once() -> None:
    warnings.warn(
        f"deformlab runs its operators on plain PyTorch (slow): {native_status().reason}", stacklevel=4
    )


def _library_path() -> Path | None:
    spec = importlib.util.find_spec("deformlab")
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        path = Path(folder) / "_C.abi3.so"
        if path.exists():
            return path
    return None


_STATUS = _load()
