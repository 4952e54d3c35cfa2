"""Write the values of torchvision's deform_conv2d for small cases, for tests without torchvision.

Needs an environment with torchvision. Run: python scripts/freeze_torchvision_values.py
"""

import json
from pathlib import Path

import torch
from torch import Tensor

OUTPUT = Path(__file__).parents[1] / "tests" / "ops" / "data" / "torchvision_deform_conv2d.json"
# The geometry of torchvision's own tests, which is asymmetric in every argument.
GEOMETRY = {"stride": (2, 1), "padding": (1, 0), "dilation": (2, 1)}
BORDER_GEOMETRY = {"padding": (2, 1)}
NAMES = ("input", "offset", "weight", "bias", "mask")


def case(modulated: bool) -> dict[str, Tensor]:
    """Arguments with 2 images, 2 weight groups, 3 offset groups and a 3x2 kernel.

    torchvision's own test uses 33 images; 2 cover the same code.
    """
    tensors = numbers(
        {
            "input": (2, 6, 5, 4),
            "offset": (2, 36, 2, 3),
            "weight": (2, 3, 3, 2),
            "bias": (2,),
            "mask": (2, 18, 2, 3),
        }
    )
    tensors["offset"] *= 1.7
    tensors["mask"] = tensors["mask"].abs()
    if not modulated:
        del tensors["mask"]
    return tensors


def numbers(sizes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Deterministic values, because random numbers could change between versions of torch."""
    tensors = {}
    for number, name in enumerate(NAMES):
        if name in sizes:
            count = torch.Size(sizes[name]).numel()
            values = torch.sin(torch.arange(count, dtype=torch.float64) * (1.3 + 0.37 * number) + number)
            tensors[name] = values.reshape(sizes[name])
    return tensors


def border_case() -> tuple[dict[str, Tensor], Tensor]:
    """Arguments that sample a 3x5 image at the positions where border conventions differ.

    Returns:
        The arguments, and the (y, x) position of the single sample of each output, shape (2, 7, 7).
    """
    height, width, eps = 3, 5, 2.0**-6
    y, x = ([-1 - eps, -1, -1 + eps, 0, size - 1, size - eps, size] for size in (height, width))
    positions = torch.stack(torch.meshgrid(torch.tensor(y), torch.tensor(x), indexing="ij")).double()
    taps = torch.stack(torch.meshgrid(torch.arange(7) - 2, torch.arange(7) - 1, indexing="ij"))
    tensors = numbers({"input": (1, 2, height, width), "weight": (2, 2, 1, 1), "mask": (1, 1, 7, 7)})
    return tensors | {"offset": (positions - taps)[None]}, positions


def gradient_of_output(output: Tensor) -> Tensor:
    return torch.cos(torch.arange(output.numel(), dtype=torch.float64)).reshape(output.shape)


def main() -> None:
    import torchvision

    values: dict[str, object] = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    cases = {
        "v1": (case(modulated=False), GEOMETRY),
        "v2": (case(modulated=True), GEOMETRY),
        "border": (border_case()[0], BORDER_GEOMETRY),
    }
    for name, (arguments, geometry) in cases.items():
        tensors = {key: tensor.requires_grad_() for key, tensor in arguments.items()}
        output = torchvision.ops.deform_conv2d(**tensors, **geometry)
        output.backward(gradient_of_output(output))
        results = {"output": output.detach()} | {
            f"grad_{key}": tensor.grad for key, tensor in tensors.items()
        }
        values[name] = {
            key: [float(f"{value:.12g}") for value in tensor.flatten()] for key, tensor in results.items()
        }
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
