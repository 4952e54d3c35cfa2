"""Measure the time of the metrics: mIoU against torchmetrics, a validation step against its forward pass.

    python scripts/bench_metrics.py [--output FILE] [--part miou|validation ...] [--repeats N] [--threads N]

miou updates both metrics alternately with one pair of 2048x1024 label maps and compares their results.
validation runs one 2048x1024 image through DeepLab with a deformable ResNet-101, mIoU and effective dilation.
It times the forward pass within each step, because two passes differ by more than the time of the metrics.
Ratios are medians of the ratios of neighbouring calls. Parts can be measured one at a time: FILE keeps the
results of the other parts.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from benchmark import alternate, measured_on, ratio
from torchmetrics.classification import MulticlassJaccardIndex

from deformlab.metrics import MeanIoU
from deformlab.tasks import SemanticSegmentation

HEIGHT, WIDTH, CLASSES, IGNORED = 1024, 2048, 19, 255
OBJECT_SIDE = 128
# Limits on the ratios: mIoU over torchmetrics, and a validation step over its forward pass.
LIMITS = {"miou": 0.1, "validation": 1.1}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--part", nargs="+", choices=list(LIMITS), default=list(LIMITS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    measure = {"miou": measure_miou, "validation": measure_validation}
    results = json.loads(options.output.read_text()) if options.output and options.output.is_file() else {}
    for part in options.part:
        result = measure[part](options.repeats)
        times = ", ".join(f"{name} {ms[len(ms) // 2]:.1f} ms" for name, ms in result["milliseconds"].items())
        verdict = "met" if result["ratio"] <= LIMITS[part] else "MISSED"
        print(f"{part}: {times}, ratio {result['ratio']:.3f}, limit {LIMITS[part]} {verdict}", flush=True)
        results[part] = {
            **result,
            "limit": LIMITS[part],
            **measured_on("cpu"),
        }
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(results, indent=1) + "\n")


def measure_miou(repeats: int) -> dict[str, Any]:
    """Sorted milliseconds of an update of each metric; checks that both give the same IoU of every class."""
    label, _ = label_maps()
    generator = torch.Generator().manual_seed(1)
    wrong = torch.rand(label.shape, generator=generator) < 0.2
    guess = torch.randint(CLASSES, label.shape, generator=generator)
    prediction = torch.where(wrong | (label == IGNORED), guess, label)
    ours = MeanIoU(CLASSES, IGNORED)
    theirs = MulticlassJaccardIndex(CLASSES, average=None, ignore_index=IGNORED)
    times = alternate(
        {
            "deformlab": lambda: ours.update(prediction, label),
            "torchmetrics": lambda: theirs.update(prediction, label),
        },
        repeats,
        "cpu",
    )
    difference = (ours.compute().iou - theirs.compute()).abs().max().item()
    assert difference < 1e-6, f"the two metrics differ by {difference}"
    return summary(times, "deformlab", "torchmetrics") | {"largest_difference_of_iou": difference}


def measure_validation(repeats: int) -> dict[str, Any]:
    """Sorted milliseconds of whole validation steps and of the forward pass within each."""
    torch.manual_seed(0)
    task = SemanticSegmentation(num_classes=CLASSES, backbone="resnet101", conv5="deformable").eval()
    # With offsets of zero, all samples would be at whole cells, unlike in a trained network.
    for name, parameter in task.named_parameters():
        if "conv_offset.bias" in name:
            torch.nn.init.uniform_(parameter, -1, 1)
    label, instance = label_maps()
    batch: dict[str, Any] = {
        "image": torch.randn(1, 3, HEIGHT, WIDTH),
        "label": label,
        "instance": instance,
        "name": ["a"],
    }
    times: dict[str, list[float]] = {"forward": [], "validation step": []}
    started = 0.0

    def start(*arguments: Any) -> None:
        nonlocal started
        started = time.perf_counter()

    def stop(*arguments: Any) -> None:
        times["forward"].append(1e3 * (time.perf_counter() - started))

    task.model.register_forward_pre_hook(start)
    task.model.register_forward_hook(stop)
    with torch.inference_mode():
        for _ in range(1 + repeats):
            begun = time.perf_counter()
            task.validation_step(batch, 0)
            times["validation step"].append(1e3 * (time.perf_counter() - begun))
    times = {name: values[1:] for name, values in times.items()}
    return summary(times, "validation step", "forward")


def label_maps() -> tuple[torch.Tensor, torch.Tensor]:
    """Classes and instance ids, (1, H, W) int64: blocks of one class, of which every second is an object."""
    generator = torch.Generator().manual_seed(0)
    blocks = (1, HEIGHT // OBJECT_SIDE, WIDTH // OBJECT_SIDE)
    ids = torch.arange(blocks[1] * blocks[2]).view(blocks)
    label = torch.randint(CLASSES, blocks, generator=generator)
    label[ids % 7 == 0] = IGNORED
    instance = torch.where((ids % 2 == 0) & (label != IGNORED), ids + 1, 0)
    enlarged = [
        values.repeat_interleave(OBJECT_SIDE, 1).repeat_interleave(OBJECT_SIDE, 2)
        for values in (label, instance)
    ]
    return enlarged[0], enlarged[1]


def summary(times: dict[str, list[float]], of: str, against: str) -> dict[str, Any]:
    """The sorted times, and the ratio."""
    return {
        "milliseconds": {name: sorted(values) for name, values in times.items()},
        "ratio": ratio(times[of], times[against]),
    }


if __name__ == "__main__":
    main()
