"""Measures a training step of the deformable network against the atrous one, in one process.

    python scripts/bench_training_step.py [--output FILE] [--repeats 9]

The networks are those of experiments/camvid.yaml (ResNet-18, 240x180, batch 8). Steps alternate between them,
so that a busy machine slows both alike; the ratio is the median over neighbouring steps. Mixed bfloat16 is
measured where a training would use it.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from deformlab import ops, provenance
from deformlab.models import BackboneConfig, DeepLab, build_backbone
from deformlab.precision import affordable_precision

VARIANTS = ("atrous", "deformable", "modulated")
PRECISIONS = ("bf16-mixed", "32-true")
CLASSES = 11


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="JSON file for the result")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    precisions = dict.fromkeys(affordable_precision(precision, "cpu") for precision in PRECISIONS)
    rows = [measure(str(precision), options.repeats) for precision in precisions]
    for row in rows:
        times = ", ".join(
            f"{name} {row['milliseconds'][name]:.0f} ms ({row['ratio'][name]:.2f}x)" for name in VARIANTS
        )
        print(f"{row['precision']:10} {times}")
    if options.output:
        result = {
            "machine": provenance.machine(),
            "threads": torch.get_num_threads(),
            "vector_unit": torch.backends.cpu.get_cpu_capability(),
            "operator_backend": ops.backend("cpu"),
            "git_revision": provenance.git_revision(),
            "versions": provenance.versions(),
            "batch": [8, 3, 180, 240],
            "rows": rows,
        }
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=1) + "\n")


def measure(precision: str, repeats: int) -> dict[str, Any]:
    """Median milliseconds of a step, and its ratio to the atrous network's step just before it."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(8, 3, 180, 240, generator=generator).to(memory_format=torch.channels_last)
    label = torch.randint(CLASSES, (8, 180, 240), generator=generator)
    steps = {variant: make_step(variant, image, label, precision) for variant in VARIANTS}
    times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(repeats + 2):
        for variant, step in steps.items():
            start = time.perf_counter()
            step()
            times[variant].append(time.perf_counter() - start)
    times = {variant: values[2:] for variant, values in times.items()}
    return {
        "precision": precision,
        "milliseconds": {name: 1e3 * statistics.median(values) for name, values in times.items()},
        "ratio": {
            name: statistics.median(a / b for a, b in zip(values, times["atrous"], strict=True))
            for name, values in times.items()
        },
    }


def make_step(variant: str, image: torch.Tensor, label: torch.Tensor, precision: str) -> Any:
    """A function that does one step of SGD."""
    torch.manual_seed(0)
    backbone = build_backbone(BackboneConfig("resnet18", conv5=variant))  # type: ignore[arg-type]
    network = DeepLab(backbone, CLASSES, head_channels=256).train()
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # Offsets at rest would only be read at whole cells, which no trained network does.
    for name, parameter in network.named_parameters():
        if "conv_offset.bias" in name:
            torch.nn.init.uniform_(parameter, -1, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
            scores = network(image)
        cross_entropy(scores.float(), label).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main()
