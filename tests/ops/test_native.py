"""Loading the compiled operators, and running without them."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from deformlab.ops import NativeStatus, backend, deform_conv2d, native_status, reference
from deformlab.ops._impl import native as loader

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib


def test_status_and_backend_agree():
    status = native_status()
    assert backend("cpu") == ("native" if status.loaded else "reference")
    assert (status.reason == "") == status.loaded
    if status.loaded:
        assert status.path.name == "_C.abi3.so"


def test_devices_without_kernels_get_the_reference():
    assert backend("mps") == "reference"
    assert backend("cuda") == ("native" if native_status().cuda else "reference")


def test_without_the_library_the_reference_runs_and_warns_once(monkeypatch, arguments):
    status = NativeStatus(loaded=False, path=None, cuda=False, reason="nothing was compiled")
    monkeypatch.setattr(loader, "_STATUS", status)
    loader._warn_once.cache_clear()
    args = arguments()
    with pytest.warns(UserWarning, match=r"plain PyTorch .* nothing was compiled") as warned:
        output = deform_conv2d(**args)
    assert [Path(warning.filename).name for warning in warned] == [Path(__file__).name]  # the caller's line
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deform_conv2d(**args)
    assert torch.equal(output, reference.deform_conv2d(**args))


def test_without_the_library_a_compiled_call_is_one_graph_without_a_warning(monkeypatch, arguments):
    status = NativeStatus(loaded=False, path=None, cuda=False, reason="nothing was compiled")
    monkeypatch.setattr(loader, "_STATUS", status)
    loader._warn_once.cache_clear()
    args = arguments()
    compiled = torch.compile(deform_conv2d, fullgraph=True, backend="eager")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        output = compiled(**args)
    assert torch.equal(output, reference.deform_conv2d(**args))


def test_a_library_that_does_not_load_is_reported_as_the_reason(monkeypatch, tmp_path):
    broken = tmp_path / "_C.abi3.so"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(loader, "_library_path", lambda name: broken)
    status = loader._load()
    assert not status.loaded
    assert "_C.abi3.so does not load in torch" in status.reason
    assert "\n" not in status.reason


@pytest.mark.parametrize(
    ("operator", "argument"), [("deform_conv2d", "newer"), ("newer", None), ("deform_conv2d.newer", None)]
)
def test_a_library_from_older_sources_is_reported_as_the_reason(monkeypatch, native, operator, argument):
    monkeypatch.setitem(loader._CPU_OPERATORS, operator, argument)
    status = loader._load()
    assert not status.loaded
    assert "_C.abi3.so was built from older sources" in status.reason
    assert "pip install" in status.reason
    assert "\n" not in status.reason


def test_the_reason_for_a_missing_library_says_how_to_build_it(monkeypatch):
    monkeypatch.setattr(loader, "_library_path", lambda name: None)
    assert "pip install" in loader._load().reason


def test_cuda_kernels_are_loaded_or_there_is_a_reason():
    status = native_status()
    assert (status.cuda_reason == "") == status.cuda or not status.loaded


@pytest.mark.parametrize(
    ("version", "reason"), [(None, "torch without CUDA"), ("13.0", "the nvcc of CUDA 13.0")]
)
def test_missing_cuda_kernels_are_reported_and_the_cpu_kernels_still_run(
    monkeypatch, native, version, reason
):
    monkeypatch.setattr(torch.version, "cuda", version)
    find = loader._library_path
    monkeypatch.setattr(loader, "_library_path", lambda name: None if name == "_C_cuda" else find(name))
    monkeypatch.setattr(loader, "_STATUS", loader._load())
    assert reason in native_status().cuda_reason
    assert backend("cuda") == "reference"
    assert backend("cpu") == "native"


def test_cuda_kernels_that_do_not_load_are_reported_and_the_cpu_kernels_still_run(
    monkeypatch, native, tmp_path
):
    broken = tmp_path / "_C_cuda.abi3.so"
    broken.write_bytes(b"no library")
    find = loader._library_path
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(loader, "_library_path", lambda name: broken if name == "_C_cuda" else find(name))
    status = loader._load()
    assert status.loaded
    assert not status.cuda
    assert "_C_cuda.abi3.so does not load in torch" in status.cuda_reason


def test_operators_and_layers_need_only_torch():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["onnx"], "torchvision"]
    imported_as = {"opencv-python-headless": "cv2", "pillow": "PIL", "pyyaml": "yaml"}
    names = {Requirement(line).name for line in lines} - {"torch", "numpy"}  # torch itself imports numpy
    blocked = {imported_as.get(name, name.replace("-", "_")) for name in names}
    code = f"""
import sys
sys.modules.update(dict.fromkeys({sorted(blocked)!r}))  # None there makes an import fail
import torch, deformlab.layers
assert "torch._dynamo" not in sys.modules, "the compiler takes seconds to load"
from deformlab.ops import deform_conv2d
deform_conv2d(torch.ones(1, 1, 3, 3), torch.zeros(1, 18, 1, 1), torch.ones(1, 1, 3, 3))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
