"""Write the boxes that torchvision's nms and batched_nms keep in small cases, for tests without torchvision.

Needs an environment with torchvision. Run: python scripts/freeze_torchvision_nms.py
"""

import json
from pathlib import Path

import torch
from torch import Tensor

OUTPUT = Path(__file__).parents[1] / "tests" / "ops" / "data" / "torchvision_nms.json"
THRESHOLDS = (0.0, 0.25, 0.3, 1 / 3, 0.5, 0.7, 1.0)


def case(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes, scores and classes: 90 boxes on a grid, with many equal IoUs and scores.

    They come from formulas, because random numbers could change between versions of torch. Some boxes have a
    zero or a negative size, NaN or infinite coordinates; some scores are NaN or infinite.
    """
    number = torch.arange(90)
    corners = torch.stack((number * 7 % 11, number * 5 % 13), dim=1)
    sizes = torch.stack((number * 3 % 10 - 1, number * number % 9), dim=1)
    boxes = torch.cat((corners, corners + sizes), dim=1).to(dtype)
    boxes[17, 2], boxes[34, 0], boxes[35, 3] = torch.inf, -torch.inf, torch.nan
    scores = (number * 17 % 23 / 4).to(dtype)
    scores[40], scores[50], scores[60] = torch.nan, torch.inf, -torch.inf
    return boxes, scores, number * 3 % 4


def main() -> None:
    import torchvision

    values: dict[str, object] = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    for dtype in (torch.float32, torch.float64):
        boxes, scores, classes = case(dtype)
        name = str(dtype).removeprefix("torch.")
        values[f"nms {name}"] = [
            torchvision.ops.nms(boxes, scores, threshold).tolist() for threshold in THRESHOLDS
        ]
        # torchvision moves classes apart by the largest coordinate, so these boxes must be finite.
        boxes = boxes.nan_to_num(3, 30, -3)
        values[f"batched_nms {name}"] = [
            torchvision.ops.batched_nms(boxes, scores, classes, threshold).tolist()
            for threshold in THRESHOLDS
        ]
    OUTPUT.write_text(json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
