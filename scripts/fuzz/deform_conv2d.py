"""Random calls of deform_conv2d."""

import math
import random
from typing import Any

import torch
from torch import Tensor

from fuzz.operator import DTYPES, FAR, Arguments, Operator, grid, lay_out

__all__ = ["DeformConv2d"]

_GEOMETRY = ("stride", "padding", "dilation")


class DeformConv2d(Operator):
    """Convolutions of any shape; many samples lie exactly on a border, some far away."""

    name = "deform_conv2d"
    share = 4
    tensors = ("input", "offset", "weight", "bias", "mask")
    others = (*_GEOMETRY, "boundary")
    spoiled = _GEOMETRY
    gradients = ("input", "offset", "weight", "mask")

    def __init__(self, library: Any) -> None:
        super().__init__(library)
        packet = library.deform_conv2d_backward
        self.backwards = [getattr(packet, name) for name in packet.overloads()]

    def legal_arguments(self, rng: random.Random, most_work: int) -> Arguments:
        """Return arguments with at most `most_work` products in the forward pass."""
        while True:
            groups, offset_groups = rng.choice((1, 1, 2, 3)), rng.choice((1, 1, 2, 3))
            channels = math.lcm(groups, offset_groups) * rng.choice((1, 2, 3, 4, 5, 8, 17))
            outputs = groups * rng.choice((1, 2, 3, 5, 8, 17, 33))
            batch = rng.choice((0, 1, 1, 2, 3))
            # With more channels, every kernel and image size would be too large.
            if batch * channels * outputs <= most_work:
                break
        while True:
            kernel = [rng.choice((1, 2, 3, 3, 3, 5, 7)) for _ in range(2)]
            size = [rng.choice((1, 1, 2, 3, 5, 8, 13, 34)) for _ in range(2)]
            geometry = {
                name: tuple(rng.randint(least, 3) for _ in range(2))
                for name, least in zip(_GEOMETRY, (1, 0, 1), strict=True)
            }
            P, Q = (
                (length + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
                for length, taps, stride, padding, dilation in zip(
                    size, kernel, *geometry.values(), strict=True
                )
            )
            if min(P, Q) > 0 and batch * channels * math.prod(kernel) * P * Q * outputs <= most_work:
                break
        dtype = rng.choice(DTYPES)
        offset_dtype = rng.choice((dtype, torch.float32)) if dtype.itemsize == 2 else dtype
        taps = offset_groups * math.prod(kernel)
        tensors = {
            "input": grid(rng, (batch, channels, *size), 2).to(dtype),
            "offset": _offsets(rng, (batch, 2 * taps, P, Q)).to(offset_dtype),
            "weight": grid(rng, (outputs, channels // groups, *kernel), 1).to(dtype),
            "bias": grid(rng, (outputs,), 2).to(dtype) if rng.random() < 0.5 else None,
            "mask": (grid(rng, (batch, taps, P, Q), 1).abs() / rng.choice((1, 2))).to(dtype)
            if rng.random() < 0.5
            else None,
            "grad": grid(rng, (batch, outputs, P, Q), 1).to(dtype),
        }
        laid_out = {name: None if value is None else lay_out(rng, value) for name, value in tensors.items()}
        boundary = rng.choice(("zeros", "zeros", "clamp"))
        return laid_out | geometry | {"boundary": boundary, "needs": [rng.random() < 0.7 for _ in range(4)]}

    def check(self, values: Arguments) -> None:
        """Check the arguments."""
        from deformlab.ops._impl.deform_conv2d import check_deform_conv2d

        check_deform_conv2d(**values)

    def forward(self, values: Arguments) -> Any:
        """Call the operator."""
        tensors, geometry = (tuple(values[name] for name in names) for names in (self.tensors, _GEOMETRY))
        return self.library.deform_conv2d(*tensors, *geometry, values["boundary"] == "clamp")

    def backward(self, rng: random.Random, values: Arguments, grad: Any, needs: list[bool]) -> Any:
        """Call one of the gradients: with or without atomics."""
        backward = rng.choice(self.backwards)
        tensors = [values[name] for name in self.gradients]
        clamp = values["boundary"] == "clamp"
        return backward(grad, *tensors, *(values[name] for name in _GEOMETRY), clamp, *needs)

    def reference(self, values: Arguments) -> Any:
        """Call the reference."""
        from deformlab.ops import reference

        return reference.deform_conv2d(**values)


def _offsets(rng: random.Random, shape: tuple[int, ...]) -> Tensor:
    """Return offsets of half cells, so that many samples lie on a border; some are far away or NaN."""
    values = grid(rng, shape, 6) / 2
    if rng.random() < 0.4:
        flat = values.view(-1)
        for _ in range(values.numel() // 8):
            flat[rng.randrange(values.numel())] = rng.choice(FAR)
    return values
