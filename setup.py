"""Compiles the native operators if there are a compiler and torch; everything else is in pyproject.toml.

Without them, the package installs all the same and computes with plain PyTorch, which is slower.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

# The oldest LibTorch stable ABI that has what csrc uses: one binary for torch 2.10 and later.
TORCH_TARGET = "0x020a000000000000"


def sources(pattern: str) -> list[str]:
    """Sources of all operators; each has a folder in csrc, and csrc/common has what they share."""
    return sorted(str(path) for path in Path("csrc").glob(pattern))


def native_extension() -> dict:
    try:
        from torch.utils.cpp_extension import BuildExtension, CppExtension
    except ImportError as error:
        print(f"deformlab: no native operators, torch cannot be imported: {error}", file=sys.stderr)
        return {}

    class OptionalBuild(BuildExtension):
        def run(self) -> None:
            before = dict(vars(self))  # a failed run leaves its compiler and folders set
            try:
                super().run()
            except Exception as error:  # no failure of a compiler may stop the installation
                name = self.extensions[-1].name
                print(f"deformlab: no {name}, the build failed: {error}", file=sys.stderr)
                if len(self.extensions) > 1:
                    vars(self).update(before, extensions=self.extensions[:-1])
                    self.run()

    extension = CppExtension(
        "deformlab._C",
        sources("*/cpu/*.cpp"),
        py_limited_api=True,  # torch then defines Py_LIMITED_API
        define_macros=[("TORCH_TARGET_VERSION", TORCH_TARGET)],
        extra_compile_args={"cxx": ["-O3", "-std=c++20", "-fopenmp-simd", "-fvisibility=hidden"]},
    )
    extension.optional = True  # setuptools then does not look for it after a failed build
    extensions = [extension, *cuda_extension()]
    return {
        "ext_modules": extensions,
        "cmdclass": {"build_ext": OptionalBuild},
        "options": {"bdist_wheel": {"py_limited_api": "cp310"}},
    }


def cuda_extension() -> list[Extension]:
    """The GPU kernels, in a library of their own: it needs CUDA to load, the CPU's does not."""
    import torch
    from torch.utils.cpp_extension import CUDA_HOME, CUDAExtension

    if torch.version.cuda is None or CUDA_HOME is None:
        return []
    flags = Path(__file__).with_name("csrc").joinpath("common/cuda/nvcc.flags").read_text().split()
    if os.environ.get("TORCH_CUDA_ARCH_LIST"):
        flags = [flag for flag in flags if "arch=" not in flag]
    extension = CUDAExtension(
        "deformlab._C_cuda",
        sources("*/cuda/*.cu"),
        py_limited_api=True,
        define_macros=[("TORCH_TARGET_VERSION", TORCH_TARGET)],
        extra_compile_args={
            "cxx": ["-O3", "-std=c++20", "-fvisibility=hidden"],
            "nvcc": flags,
        },
    )
    extension.optional = True
    return [extension]


setup(**native_extension())
