"""Builds the native operators where a compiler and torch are there; everything else is in pyproject.toml.

Without them the package installs all the same and computes with plain PyTorch.
"""

import sys

from setuptools import setup

# The oldest LibTorch stable ABI that has what csrc uses: one binary for torch 2.10 and later.
TORCH_TARGET = "0x020a000000000000"
PYTHON_TARGET = "0x030a0000"


def native_extension() -> dict:
    try:
        from torch.utils.cpp_extension import BuildExtension, CppExtension
    except ImportError as error:
        print(f"deformlab: no native operators, torch cannot be imported: {error}", file=sys.stderr)
        return {}

    class OptionalBuild(BuildExtension):
        def run(self) -> None:
            try:
                super().run()
            except Exception as error:  # whatever a compiler can do wrong must not stop the installation
                print(f"deformlab: no native operators, the build failed: {error}", file=sys.stderr)

    extension = CppExtension(
        "deformlab._C",
        ["csrc/library.cpp", "csrc/cpu/deform_conv2d.cpp"],
        py_limited_api=True,
        define_macros=[("TORCH_TARGET_VERSION", TORCH_TARGET), ("Py_LIMITED_API", PYTHON_TARGET)],
        extra_compile_args={"cxx": ["-O3", "-std=c++20", "-fopenmp-simd", "-fvisibility=hidden"]},
    )
    extension.optional = True  # setuptools then does not look for it after a failed build
    return {
        "ext_modules": [extension],
        "cmdclass": {"build_ext": OptionalBuild},
        "options": {"bdist_wheel": {"py_limited_api": "cp310"}},
    }


setup(**native_extension())
