"""One binary for many versions: the compiled libraries depend only on LibTorch's stable C interface."""

import re
import shutil
import subprocess

import pytest

from deformlab.ops import native_status

pytestmark = pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not there")


@pytest.fixture(params=["_C", "_C_cuda"])
def wanted(request, native):
    """The names that a library expects from others."""
    library = native_status().path.with_name(f"{request.param}.abi3.so")
    if not library.exists():
        pytest.skip(f"{library.name} is not compiled")
    command = ["nm", "--dynamic", "--undefined-only", "--demangle", library]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [re.sub(r"^\s*[Uvw] ", "", line) for line in lines]


def test_the_libraries_use_only_the_stable_interface_of_torch(wanted):
    assert any(name.startswith("aoti_torch_") for name in wanted)
    # C++ names of torch change with every version; those of the C++ library do not begin so.
    cpp = r"\b(at|c10|caffe2|torch)::"
    assert [name for name in wanted if re.search(cpp, name)] == []


def test_the_libraries_do_not_use_python(wanted):
    assert [name for name in wanted if re.match(r"_?Py", name)] == []
