"""Measure the time that the offset monitor adds to a training step, in one process.

    python scripts/bench_offset_monitor.py [--output FILE] [--repeats 9] [--kinds deformable modulated]

The networks are those of experiments/camvid.yaml (ResNet-18, 240x180, batches of 8, 46 batches per epoch).
Steps of a network with the monitor and of one without alternate; the ratio is the median of the ratios of
neighbouring steps. Because the difference is smaller than the variation between steps, the monitor's calls
are also timed separately: `share` is their time in an epoch, including the statistics at its end, over the
time of the epoch's steps.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from benchmark import measured_on, ratio, save

from deformlab.callbacks import OffsetMonitor
from deformlab.tasks import SemanticSegmentation

KINDS = ("deformable", "modulated")
CLASSES, BATCHES = 11, 46
LIMIT = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="JSON file for the result")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    options = parser.parse_args()
    rows = []
    for kind in options.kinds:
        row = measure(kind, options.repeats)
        rows.append(row)
        print(
            f"{row['conv5']:10} step {row['step_ms']:.0f} ms, with monitor {row['ratio']:.3f}x; monitor "
            f"{row['monitor_ms_per_epoch']:.1f} ms per epoch, {row['share']:.3%} of its steps, "
            f"limit {LIMIT:.0%} {'met' if row['share'] <= LIMIT else 'MISSED'}",
            flush=True,
        )
    if options.output:
        result = {
            **measured_on("cpu"),
            "batch": [8, 3, 180, 240],
            "batches_per_epoch": BATCHES,
            "limit": LIMIT,
            "rows": rows,
        }
        save(options.output, result)


def measure(conv5: str, repeats: int) -> dict[str, Any]:
    """Times steps with and without the monitor, then the monitor's calls in an epoch."""
    generator = torch.Generator().manual_seed(0)
    batch = {
        "image": torch.randn(8, 3, 180, 240, generator=generator),
        "label": torch.randint(CLASSES, (8, 180, 240), generator=generator),
    }
    monitored, alone = make_task(conv5), make_task(conv5)
    steps = {"monitored": make_step(monitored, batch), "alone": make_step(alone, batch)}
    with tempfile.TemporaryDirectory() as folder:
        monitor, trainer = OffsetMonitor(Path(folder)), make_trainer()
        monitor.setup(trainer, monitored, "fit")
        monitor.on_train_epoch_start(trainer, monitored)
        times: dict[str, list[float]] = {"monitored": [], "alone": []}
        for _ in range(repeats + 2):
            for name, step in steps.items():
                start = time.perf_counter()
                step()
                if name == "monitored":
                    monitor.on_train_batch_end(trainer, monitored, None, batch, 0)
                times[name].append(1e3 * (time.perf_counter() - start))
        times = {name: values[2:] for name, values in times.items()}
        monitor_ms = epoch_ms(monitor, trainer, monitored, batch)
    step_ms = statistics.median(times["alone"])
    return {
        "conv5": conv5,
        "step_ms": step_ms,
        "ratio": ratio(times["monitored"], times["alone"]),
        "monitor_ms_per_epoch": monitor_ms,
        "share": monitor_ms / (BATCHES * step_ms),
    }


def epoch_ms(
    monitor: OffsetMonitor, trainer: Any, task: SemanticSegmentation, batch: dict[str, torch.Tensor]
) -> float:
    """Milliseconds of the monitor's calls in an epoch, without the forward passes between them."""
    total = 0.0
    monitor.on_train_epoch_start(trainer, task)
    for index in range(BATCHES):
        with torch.no_grad():
            task(batch["image"])
        start = time.perf_counter()
        monitor.on_train_batch_end(trainer, task, None, batch, index)
        total += time.perf_counter() - start
    start = time.perf_counter()
    monitor.on_train_epoch_end(trainer, task)
    return 1e3 * (total + time.perf_counter() - start)


def make_task(conv5: str) -> SemanticSegmentation:
    torch.manual_seed(0)
    task = SemanticSegmentation(num_classes=CLASSES, backbone="resnet18", conv5=conv5, head_channels=256)
    # With offsets of zero, all samples would be at whole cells, unlike in a trained network.
    for name, parameter in task.named_parameters():
        if "conv_offset.bias" in name:
            torch.nn.init.uniform_(parameter, -1, 1)
    return task.train()


def make_step(task: SemanticSegmentation, batch: dict[str, torch.Tensor]) -> Any:
    """A function that runs one step of SGD in float32."""
    optimizer = torch.optim.SGD(task.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        loss = task.loss(task(batch["image"]), batch["label"]) / batch["label"].numel()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def make_trainer() -> Any:
    """A stub with the attributes of a trainer that the monitor reads."""
    return SimpleNamespace(
        is_global_zero=True, current_epoch=0, global_step=0, num_training_batches=BATCHES, loggers=[]
    )


if __name__ == "__main__":
    main()
