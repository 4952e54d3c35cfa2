"""Profile operators and a training step; write tables of the most expensive kernels and calls.

    python scripts/profile_step.py OUTPUT.txt [--device cpu|cuda] [--shapes cityscapes batch]
        [--dtype bfloat16] [--backbone resnet101] [--size IMAGES HEIGHT WIDTH]

Profiles forward + backward of each operator (see scripts/bench_ops.py), v2, channels last; then a training
step of the modulated DeepLab in mixed bfloat16 (see scripts/bench_network.py). Each table is written to the
file when it is complete.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from bench_network import NETWORKS, make_call
from benchmark import DEVICES, measured_on, prepare
from ops_case import DTYPES, SHAPES, Case, make_operators
from torch.profiler import ProfilerActivity, profile

OPERATOR_CALLS, STEPS = 5, 2
ROWS = 25


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path)
    parser.add_argument("--device", default="cpu", choices=DEVICES)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=["cityscapes", "batch"])
    parser.add_argument("--dtype", choices=list(DTYPES), default="bfloat16")
    parser.add_argument("--backbone", default=NETWORKS["cityscapes"].backbone)
    parser.add_argument("--size", nargs=3, type=int, default=NETWORKS["cityscapes"].size)
    options = parser.parse_args()
    prepare(options.device)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(f"{measured_on(options.device)}\n")

    def add(title: str, call: Callable[[], None], count: int) -> None:
        with options.output.open("a") as file:
            file.write(f"\n{title}, {count} calls\n{table(call, count, options.device)}\n")
        print(title, flush=True)

    for shape in options.shapes:
        case = Case(shape, options.dtype, "channels_last", True, options.device)
        for name, operator in make_operators(case).items():
            add(f"{name}, forward + backward, {case}", operator.training, OPERATOR_CALLS)
    network = NETWORKS["cityscapes"]._replace(backbone=options.backbone, size=tuple(options.size))
    step = make_call(network, "modulated", "training_step", "bf16-mixed", "channels_last", options.device)
    add(f"training step of the modulated {network}", step, STEPS)


def table(call: Callable[[], None], count: int, device: str) -> str:
    """A table of the calls with the most self time, after one call of warm-up."""
    activities = [ProfilerActivity.CPU]
    if device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    call()
    with profile(activities=activities) as profiled:
        for _ in range(count):
            call()
        if device == "cuda":
            torch.cuda.synchronize()
    order = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    return profiled.key_averages().table(sort_by=order, row_limit=ROWS, max_name_column_width=90)


if __name__ == "__main__":
    main()
