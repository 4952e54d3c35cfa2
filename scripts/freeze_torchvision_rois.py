"""Write the values of torchvision's poolings of regions for small cases, for tests without torchvision.

Needs an environment with torchvision. Run: python scripts/freeze_torchvision_rois.py
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

OUTPUT = Path(__file__).parents[1] / "tests" / "ops" / "data" / "torchvision_rois.json"
SIZE, SCALE = (2, 3), 0.5
# Name: the operator, further arguments.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "roi_align adaptive": ("roi_align", {}),
    "roi_align aligned": ("roi_align", {"sampling_ratio": 2, "aligned": True}),
    "roi_pool": ("roi_pool", {}),
    "ps_roi_align": ("ps_roi_align", {"sampling_ratio": 2}),
    "ps_roi_pool": ("ps_roi_pool", {}),
}


def case(name: str) -> tuple[Tensor, Tensor]:
    """Return the input (2, C, 6, 7) and regions in float64, from formulas.

    Random numbers could change between versions of torch. Regions are inside the map, beyond its border,
    outside, without area, and with edges on whole and half cells. None reaches the last row and column of
    ps_roi_pool, where torchvision's gradient is not that of its values.
    """
    channels = 2 * SIZE[0] * SIZE[1] if name.startswith("ps_") else 2
    values = torch.sin(torch.arange(2 * channels * 6 * 7, dtype=torch.float64) * 1.3)
    boxes = [
        [0, 1, 1, 9, 8],
        [1, 0, 0, 5.5, 4],
        [0, -7, -5, 6, 3],
        [1, 3.3, 2.1, 8.9, 7.7],
        [0, 4, 4, 4, 4],
        [1, 60, 60, 80, 90],
    ]
    if name != "ps_roi_pool":
        boxes += [[0, 5, 6, 25, 30], [1, 0.6, -3, 13, 11]]
    return values.view(2, channels, 6, 7), torch.tensor(boxes, dtype=torch.float64)


def gradient_of_output(output: Tensor) -> Tensor:
    """Return the gradient that both libraries are given."""
    return torch.cos(torch.arange(output.numel(), dtype=torch.float64)).reshape(output.shape)


def results(function: Callable[..., Tensor], name: str, **options: Any) -> tuple[Tensor, Tensor]:
    """Return the output of a case, and the gradient of its input."""
    input, boxes = case(name)
    output = function(input.requires_grad_(), boxes, SIZE, SCALE, **CASES[name][1], **options)
    (gradient,) = torch.autograd.grad(output, input, gradient_of_output(output))
    return output.detach(), gradient


def main() -> None:
    import torchvision

    values: dict[str, object] = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    for name, (operator, _) in CASES.items():
        values[name] = [
            [float(f"{value:.10g}") for value in tensor.flatten()]
            for tensor in results(getattr(torchvision.ops, operator), name)
        ]
    OUTPUT.write_text(json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
