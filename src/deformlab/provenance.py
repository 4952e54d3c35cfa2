"""The provenance of a result: library versions, git revision and machine."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

import deformlab

__all__ = ["git_revision", "machine", "peak_memory_bytes", "versions"]


def versions() -> dict[str, str]:
    """Versions of deformlab, Python and the libraries that affect results, by name."""
    found = {
        "deformlab": deformlab.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    for name, package in (("lightning", "pytorch-lightning"), ("albumentations", "albumentations")):
        try:
            found[name] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {name: str(version) for name, version in found.items()}


def git_revision() -> str | None:
    """The commit of the checkout that deformlab runs from, as 12 hexadecimal digits.

    `-dirty` is appended if `src` or `csrc` has uncommitted changes. None if deformlab does not run from its
    own checkout.
    """
    folder = Path(deformlab.__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    try:
        # An installed package may be inside another repository. In ours, this file is tracked.
        git("ls-files", "--error-unmatch", "provenance.py")
        dirty = git("status", "--porcelain", "--untracked-files=no", "--", ":/src", ":/csrc")
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if dirty else "")
    except (OSError, subprocess.SubprocessError):
        return None


def machine() -> str:
    """The name of the GPU, or of the CPU if there is none, and the number of cores, as one line."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {os.cpu_count()} cores"
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} cores"


def peak_memory_bytes() -> int:
    """The peak memory of this process in bytes.

    This is memory allocated on the GPU if the process used one, and resident memory otherwise; 0 if the
    system does not report it.
    """
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
