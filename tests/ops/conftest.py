"""What the operators' tests share: both implementations, and arguments that are asymmetric in every way."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from deformlab.ops import backend, deform_conv2d, reference

GEOMETRY = {"stride": (2, 1), "padding": (1, 0), "dilation": (2, 1)}
GROUPS, OFFSET_GROUPS, KERNEL = 2, 3, (3, 2)


@pytest.fixture(params=["native", "reference"])
def operator(request: pytest.FixtureRequest) -> Callable[..., Tensor]:
    """Each implementation in turn."""
    if request.param == "reference":
        return reference.deform_conv2d
    if backend("cpu") != "native":
        pytest.skip("the native operators are not compiled")
    return deform_conv2d


@pytest.fixture
def native() -> None:
    """Skip where there is nothing compiled to test."""
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
