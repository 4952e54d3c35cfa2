"""A case of the operator benchmark: its tensors, and the operators that are compared."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from benchmark import use_tf32
from torch import Tensor
from torch.nn.functional import conv2d

from deformlab.ops import deform_conv2d

# Batch size, channels (input and output), height, width.
SHAPES = {
    "cityscapes": (1, 512, 64, 128),  # conv5 on Cityscapes
    "voc": (1, 512, 23, 32),  # conv5 on VOC
    "batch": (4, 128, 32, 32),  # a training batch
    "batch37": (37, 128, 32, 32),  # a prime, for which torchvision computes one image at a time
    "maps64": (1, 64, 64, 64),  # few channels: sampling takes longer than the matrix product
    "tiny": (1, 16, 8, 8),  # for warming up and rehearsing
}
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "tf32": torch.float32,  # float32 whose products a GPU may round to TF32
    "autocast": torch.float32,  # under bfloat16 autocast; operations in float32 may use TF32
}
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
OPERATORS = ("dense", "deformable", "torchvision")
KERNEL = 3
DILATION = 2


class Case(NamedTuple):
    """A case: names of SHAPES, DTYPES and FORMATS, whether it is v2, and the device, `cpu` or `cuda`."""

    shape: str
    dtype: str
    memory_format: str
    modulated: bool
    device: str


@dataclass
class Operator:
    """A convolution with bound arguments, the tensors that need gradients, and the output's gradient."""

    convolve: Callable[[], Tensor]
    inputs: Sequence[Tensor]
    grad: Tensor
    autocast: bool

    def forward(self) -> Tensor:
        """The output, with a graph unless gradients are disabled."""
        with torch.autocast(self.grad.device.type, torch.bfloat16, enabled=self.autocast):
            return self.convolve()

    def backward(self, output: Tensor) -> Sequence[Tensor]:
        """The gradients of all arguments."""
        if self.grad.dtype != output.dtype:  # Autocast chooses the output's type; cast once, in the warm-up.
            self.grad = self.grad.to(output.dtype)
        return torch.autograd.grad(output, self.inputs, self.grad)

    def inference(self) -> None:
        """Runs a forward pass without a graph."""
        with torch.no_grad():
            self.forward()

    def training(self) -> None:
        """Runs forward and backward, with the gradients of all arguments."""
        self.backward(self.forward())


def make_operators(case: Case, names: Sequence[str] = OPERATORS) -> dict[str, Operator]:
    """The named operators that can compute the case, without bias, as in a ResNet.

    All have the same input and weight. Offsets are normal with a standard deviation of one cell.
    """
    operators = _bind(case)
    names = [name for name in names if name != "torchvision" or torchvision_computes(case)]
    return {name: operators[name] for name in names}


def torchvision_ops() -> Any:
    """torchvision.ops, or None if it cannot be imported."""
    try:
        import torchvision.ops
    except (ImportError, RuntimeError):  # RuntimeError: its binary is for another torch
        return None
    return torchvision.ops


def torchvision_computes(case: Case) -> bool:
    """Whether torchvision can compute the case; found by a trial, because this differs between versions."""
    return torchvision_ops() is not None and _torchvision_has(case.dtype, case.device)


@cache
def _torchvision_has(dtype: str, device: str) -> bool:
    try:
        _bind(Case("tiny", dtype, "contiguous", True, device))["torchvision"].training()
    except RuntimeError as error:  # NotImplementedError is one
        reason = str(error).splitlines()[0]
        print(f"torchvision does not compute {dtype} on {device}: {reason}", file=sys.stderr)
        return False
    return True


def _bind(case: Case) -> dict[str, Operator]:
    use_tf32(case.dtype in ("tf32", "autocast"))
    N, C, H, W = SHAPES[case.shape]
    generator = torch.Generator().manual_seed(0)

    def random(*size: int) -> Tensor:
        tensor = torch.randn(*size, generator=generator).to(case.device, DTYPES[case.dtype])
        return tensor.contiguous(memory_format=FORMATS[case.memory_format])

    input, weight = random(N, C, H, W), random(C, C, KERNEL, KERNEL)
    offset, grad = random(N, 2 * KERNEL**2, H, W), random(N, C, H, W)
    mask = random(N, KERNEL**2, H, W).sigmoid() if case.modulated else None
    learned = [tensor.requires_grad_() for tensor in (input, weight, offset, mask) if tensor is not None]
    geometry: dict[str, Any] = {"padding": DILATION, "dilation": DILATION}
    torchvision = torchvision_ops()
    calls: dict[str, tuple[Callable[[], Tensor], Sequence[Tensor]]] = {
        "dense": (lambda: conv2d(input, weight, **geometry), learned[:2]),
        "deformable": (lambda: deform_conv2d(input, offset, weight, mask=mask, **geometry), learned),
        "torchvision": (
            lambda: torchvision.deform_conv2d(input, offset, weight, mask=mask, **geometry),
            learned,
        ),
    }
    return {
        name: Operator(convolve, inputs, grad, case.dtype == "autocast")
        for name, (convolve, inputs) in calls.items()
    }
