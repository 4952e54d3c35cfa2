import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["deformlab.run_folder", "deformlab.sweep"])
def test_the_package_imports_neither_torch_nor_other_slow_libraries(package: str):
    slow = {"torch", "pytorch_lightning", "lightning_fabric", "pandas", "matplotlib", "albumentations"}
    code = f"import sys, {package}; print(*({slow!r} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert process.stdout.split() == []
