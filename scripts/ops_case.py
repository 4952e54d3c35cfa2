"""One case of the operator benchmark: its tensors, and the calls that are compared."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from deformlab.ops import deform_conv2d

# Batch, channels in and out, height, width: conv5 on Cityscapes, conv5 on VOC, a training batch.
SHAPES = {
    "cityscapes": (1, 512, 64, 128),
    "voc": (1, 512, 23, 32),
    "batch": (4, 128, 32, 32),
    "tiny": (1, 16, 8, 8),  # for warming up
}
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "tf32": torch.float32,
}
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
OPERATORS = ("dense", "deformable", "torchvision")
KERNEL = 3
DILATION = 2


class Case(NamedTuple):
    """What is measured: names of SHAPES, DTYPES and FORMATS, v2 or v1, `cpu` or `cuda`."""

    shape: str
    dtype: str
    memory_format: str
    modulated: bool
    device: str


class Operator(NamedTuple):
    """A convolution with its arguments bound, and the tensors that training wants gradients of."""

    forward: Callable[[], Tensor]
    inputs: Sequence[Tensor]
    grad: Tensor

    def inference(self) -> None:
        """A forward pass that no gradient will be asked of."""
        with torch.no_grad():
            self.forward()

    def training(self) -> None:
        """Forward and backward, with the gradients of all arguments."""
        torch.autograd.grad(self.forward(), self.inputs, self.grad)


def make_operators(case: Case, names: Sequence[str] = OPERATORS) -> dict[str, Operator]:
    """Those of the named operators that run here; without bias, as in a ResNet.

    All of them get the same input and weight; the offsets are normal with a standard deviation of one cell.
    """
    use_tf32(case.dtype == "tf32")
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

    calls = {
        "dense": (lambda: conv2d(input, weight, **geometry), learned[:2]),
        "deformable": (lambda: deform_conv2d(input, offset, weight, mask=mask, **geometry), learned),
    }
    torchvision = torchvision_ops()
    if torchvision is not None and (case.device, case.dtype) != ("cpu", "bfloat16"):  # it has none
        calls["torchvision"] = (
            lambda: torchvision.deform_conv2d(input, offset, weight, mask=mask, **geometry),
            learned,
        )
    return {name: Operator(*calls[name], grad) for name in names if name in calls}


def torchvision_ops() -> Any:
    """torchvision.ops, or None where it cannot be imported."""
    try:
        import torchvision.ops
    except (ImportError, RuntimeError):  # RuntimeError: its binary is for another torch
        return None
    return torchvision.ops


def use_tf32(allowed: bool) -> None:
    """Let float32 products on a GPU use TF32, the dense convolution's as well as ours, or neither."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
