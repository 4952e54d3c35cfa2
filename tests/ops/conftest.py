"""Fixtures of the operators' tests: all implementations, and arguments that are asymmetric in every way."""

import inspect
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from torch import Tensor

from deformlab import ops
from deformlab.ops import backend, deform_conv2d, native_status, reference
from deformlab.ops._impl.deform_conv2d import check_deform_conv2d

GEOMETRY = {"stride": (2, 1), "padding": (1, 0), "dilation": (2, 1)}
GROUPS, OFFSET_GROUPS, KERNEL = 2, 3, (3, 2)


@pytest.fixture(params=["native", "reference", "cuda on host", pytest.param("cuda", marks=pytest.mark.gpu)])
def operator(request: pytest.FixtureRequest) -> Callable[..., Tensor]:
    """Each implementation in turn; all take and return tensors on the CPU."""
    if request.param == "reference":
        return reference.deform_conv2d
    if request.param == "cuda on host":
        return request.getfixturevalue("cuda_on_host")
    if request.param == "cuda":
        return request.getfixturevalue("cuda_operator")
    if backend("cpu") != "native":
        pytest.skip("the native operators are not compiled")
    return deform_conv2d


@pytest.fixture(scope="session")
def host_operators(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """All operators of the CUDA sources, compiled for the CPU with an emulation of the device."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # several processes compile it once
        folder = folder.parent
    library = folder / "cuda_on_host.so"
    with FileLock(library.with_suffix(".lock")):
        if not library.exists():
            compile_for_the_host(library)
    torch.ops.load_library(library)
    return torch.ops.deformlab_cuda_on_host


@pytest.fixture
def cuda_on_host(host_operators: Any) -> Callable[..., Tensor]:
    """deform_conv2d from the CUDA source, with its gradients."""
    return _on_host


def compile_for_the_host(library: Path) -> None:
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    root = Path(__file__).parents[2]
    torch_folder = Path(torch.__file__).parent
    command = [
        *(compiler, "-std=c++20", "-O1", "-fPIC", "-shared", "-fvisibility=hidden"),
        *("-Wno-attributes", "-Wno-unknown-pragmas"),
        # Unaligned vectors crash on a GPU but not on a CPU, so check the alignment. This needs no sanitizer
        # library.
        *("-fsanitize=alignment", "-fsanitize-undefined-trap-on-error"),
        *("-DDEFORMLAB_ON_HOST", "-DTORCH_TARGET_VERSION=0x020a000000000000"),
        *(f"-I{root}", f"-I{root / 'tests/ops/cuda'}", "-isystem", str(torch_folder / "include")),
        *(str(root / "tests/ops/cuda/host_library.cpp"), "-o", str(library)),
        *(f"-L{torch_folder / 'lib'}", "-ltorch_cpu", f"-Wl,-rpath,{torch_folder / 'lib'}"),
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


class _OnHost(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, offset, weight, bias, mask, *sampling):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(input, offset, weight, mask)
        ctx.sampling = sampling
        return torch.ops.deformlab_cuda_on_host.deform_conv2d(input, offset, weight, bias, mask, *sampling)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        needs = [ctx.needs_input_grad[i] for i in (0, 1, 2, 4)]
        gradients = torch.ops.deformlab_cuda_on_host.deform_conv2d_backward(
            grad, *ctx.saved_tensors, *ctx.sampling, *needs
        )
        input, offset, weight, mask = (
            gradient if need else None for gradient, need in zip(gradients, needs, strict=True)
        )
        bias = grad.sum((0, 2, 3)) if ctx.needs_input_grad[3] else None
        return input, offset, weight, bias, mask, None, None, None, None


def _on_host(  # type: ignore[no-untyped-def]
    input, offset, weight, bias=None, stride=1, padding=0, dilation=1, mask=None, *, boundary="zeros"
):
    geometry = check_deform_conv2d(input, offset, weight, bias, stride, padding, dilation, mask, boundary)
    return _OnHost.apply(input, offset, weight, bias, mask, *map(list, geometry), boundary == "clamp")


@pytest.fixture
def cuda_operator() -> Callable[..., Tensor]:
    """deform_conv2d on a real GPU, with copies of the arguments to the GPU and of the result back."""
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    assert backend("cuda") == "native", native_status().reason

    def on_gpu(*args: Any, **kwargs: Any) -> Tensor:
        arguments = inspect.signature(deform_conv2d).bind(*args, **kwargs).arguments
        for name, value in arguments.items():
            arguments[name] = value.cuda() if isinstance(value, Tensor) else value
        return deform_conv2d(**arguments).cpu()

    return on_gpu


@pytest.fixture
def native() -> None:
    """Skip the test if the native operators are not compiled."""
    if backend("cpu") != "native":
        pytest.skip("the native operators are not compiled")


@pytest.fixture
def arguments() -> Callable[..., dict[str, Any]]:
    """Make random arguments: 2 weight groups, 3 offset groups, a 3x2 kernel, and so on."""

    def make(
        dtype: torch.dtype = torch.float64, batch: int = 2, channels: int = 6, modulated: bool = True
    ) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(0)

        def random(*size: int) -> Tensor:
            return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)

        H, W, outputs, taps = 5, 4, 4, KERNEL[0] * KERNEL[1]
        P, Q = 2, 3
        tensors = {
            "input": random(batch, channels, H, W),
            "offset": random(batch, 2 * OFFSET_GROUPS * taps, P, Q),
            "weight": random(outputs, channels // GROUPS, *KERNEL),
            "bias": random(outputs),
        }
        if modulated:
            tensors["mask"] = random(batch, OFFSET_GROUPS * taps, P, Q).sigmoid()
        return tensors | GEOMETRY

    return make


@pytest.fixture(params=["native", "reference", "cuda on host", pytest.param("cuda", marks=pytest.mark.gpu)])
def suppression(request: pytest.FixtureRequest) -> Any:
    """Each implementation of nms, batched_nms and soft_nms in turn, with tensors on the CPU."""
    if request.param == "reference":
        return reference
    if request.param == "cuda on host":
        return SuppressionOnHost(request.getfixturevalue("host_operators"))
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("there is no CUDA device")
        assert backend("cuda") == "native", native_status().reason
        return SuppressionOnGpu()
    if backend("cpu") != "native":
        pytest.skip("the native operators are not compiled")
    return ops


class SuppressionOnHost:
    """nms, batched_nms and soft_nms from the CUDA source."""

    def __init__(self, operators: Any) -> None:
        self.operators = operators

    def nms(self, boxes: Tensor, scores: Tensor, iou_threshold: float, *, offset: int = 0) -> Tensor:
        return self.operators.nms(boxes, scores, None, iou_threshold, offset)

    def batched_nms(  # type: ignore[no-untyped-def]
        self, boxes, scores, idxs, iou_threshold, *, offset=0
    ):
        return self.operators.nms(boxes, scores, idxs, iou_threshold, offset)

    def soft_nms(  # type: ignore[no-untyped-def]
        self,
        boxes,
        scores,
        iou_threshold=0.3,
        *,
        method="gaussian",
        sigma=0.6,
        min_score=0.0,
        max_output=None,
        offset=0,
    ):
        most = -1 if max_output is None else max_output
        return self.operators.soft_nms(
            boxes, scores, iou_threshold, method == "gaussian", sigma, min_score, most, offset
        )


class SuppressionOnGpu:
    """The public functions with copies of the arguments to a GPU and of the results back."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = getattr(ops, name)(*(a.cuda() if isinstance(a, Tensor) else a for a in args), **kwargs)
            return result.cpu() if isinstance(result, Tensor) else tuple(tensor.cpu() for tensor in result)

        return call
