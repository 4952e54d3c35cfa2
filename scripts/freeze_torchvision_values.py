"""Write torchvision's deform_conv2d values for one small case: what tests compare with where it is missing.

Needs an environment with torchvision. Run: python scripts/freeze_torchvision_values.py
"""

import json
from pathlib import Path

import torch
from torch import Tensor

OUTPUT = Path(__file__).parents[1] / "tests" / "ops" / "data" / "torchvision_deform_conv2d.json"
# torchvision's own test conditions: everything asymmetric.
GEOMETRY = {"stride": (2, 1), "padding": (1, 0), "dilation": (2, 1)}
NAMES = ("input", "offset", "weight", "bias", "mask")


def case(modulated: bool) -> dict[str, Tensor]:
    """Arguments without a random generator, whose numbers could change between versions of torch.

    33 images would be torchvision's batch; two show the same. 2 weight groups, 3 offset groups, 3x2 kernel.
    """
    sizes = {
        "input": (2, 6, 5, 4),
        "offset": (2, 36, 2, 3),
        "weight": (2, 3, 3, 2),
        "bias": (2,),
        "mask": (2, 18, 2, 3),
    }
    tensors = {}
    for number, name in enumerate(NAMES):
        count = torch.Size(sizes[name]).numel()
        values = torch.sin(torch.arange(count, dtype=torch.float64) * (1.3 + 0.37 * number) + number)
        tensors[name] = values.reshape(sizes[name])
    tensors["offset"] *= 1.7
    tensors["mask"] = tensors["mask"].abs()
    if not modulated:
        del tensors["mask"]
    return tensors


def gradient_of_output(output: Tensor) -> Tensor:
    return torch.cos(torch.arange(output.numel(), dtype=torch.float64)).reshape(output.shape)


def main() -> None:
    import torchvision

    values: dict[str, object] = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    for name, modulated in (("v1", False), ("v2", True)):
        tensors = {key: tensor.requires_grad_() for key, tensor in case(modulated).items()}
        output = torchvision.ops.deform_conv2d(**tensors, **GEOMETRY)
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
