"""Measure nms and batched_nms against torchvision, and soft_nms; save the times.

    python scripts/bench_nms.py [--output FILE] [--device cpu|cuda] [--repeats 9] [--threads 1 2]

A row is an operator, a number of boxes, where they are, and a number of threads. Boxes are `spread`, random
in an image of 1000x600 with sides of 10 to 210 pixels, of which most are kept; or `crowded`, around 30
objects, of which few are kept, as proposals of a trained detector. The threshold is 0.7, batched_nms has 80
classes, and soft_nms is the Gaussian one with all boxes selected.

Calls of both libraries alternate: two rounds of warm-up, then at least `--repeats` measured rounds, more for
small cases. Milliseconds are medians; `times_faster` is the median of the ratios of neighbouring calls. The
boxes that nms keeps must be torchvision's. Without torchvision, only our times are measured.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from benchmark import DEVICES, alternate, prepare, ratio, save, start_result
from torch import Tensor

from deformlab import ops

COUNTS = (100, 1000, 2000, 12000)
PLACES = ("spread", "crowded")
OPERATORS = ("nms", "batched_nms", "soft_nms")
THRESHOLD = 0.7
IMAGE = torch.tensor([1000.0, 600.0])
Calls = dict[str, Callable[[], Any]]


def make_boxes(count: int, place: str, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes, scores and classes: the same in each call."""
    generator = torch.Generator().manual_seed(0)
    if place == "spread":
        centres = torch.rand(count, 2, generator=generator) * IMAGE
        sizes = 10 + 200 * torch.rand(count, 2, generator=generator)
    else:
        objects = torch.rand(30, 2, generator=generator) * IMAGE
        owners = torch.randint(30, (count,), generator=generator)
        centres = objects[owners] + 8 * torch.randn(count, 2, generator=generator)
        sizes = 100 + 15 * torch.randn(count, 2, generator=generator)
    boxes = torch.cat((centres - sizes / 2, centres + sizes / 2), dim=1)
    scores = torch.rand(count, generator=generator)
    return boxes.to(device), scores.to(device), torch.randint(80, (count,), generator=generator).to(device)


def calls_of(operator: str, count: int, place: str, device: str = "cpu") -> Calls:
    """Return the calls to time: `deformlab`, and `torchvision` if it is installed and has the operator."""
    boxes, scores, classes = make_boxes(count, place, device)
    if operator == "soft_nms":
        return {"deformlab": partial(ops.soft_nms, boxes, scores)}
    args = (boxes, scores, THRESHOLD) if operator == "nms" else (boxes, scores, classes, THRESHOLD)
    calls: Calls = {"deformlab": partial(getattr(ops, operator), *args)}
    theirs = torchvision_ops()
    if theirs is not None:
        calls["torchvision"] = partial(getattr(theirs, operator), *args)
    return calls


def torchvision_ops() -> ModuleType | None:
    try:
        import torchvision.ops as theirs
    except ImportError:
        return None
    return theirs


def measure(operator: str, count: int, place: str, threads: int, repeats: int, device: str) -> dict[str, Any]:
    """Return one row."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        calls = calls_of(operator, count, place, device)
        times = alternate(calls, max(repeats, min(200, repeats * 20_000 // count)), device)
        results = {name: call() for name, call in calls.items()}
    finally:
        torch.set_num_threads(before)
    kept = results["deformlab"][1] if operator == "soft_nms" else results["deformlab"]
    row = {"operator": operator, "boxes": count, "place": place, "threads": threads, "kept": len(kept)}
    row["deformlab_ms"] = statistics.median(times["deformlab"])
    if "torchvision" in calls:
        # With the trick of moved coordinates, torchvision rounds boxes and may keep others.
        if operator == "nms" and not torch.equal(kept, results["torchvision"]):
            raise RuntimeError(f"{operator} of {count} {place} boxes: torchvision keeps other boxes")
        row["torchvision_ms"] = statistics.median(times["torchvision"])
        row["times_faster"] = ratio(times["torchvision"], times["deformlab"])
    return row


def describe(row: dict[str, Any]) -> str:
    text = (
        f"{row['operator']:12} {row['boxes']:6} {row['place']:8} {row['threads']} threads, "
        f"{row['kept']:5} kept: {row['deformlab_ms']:8.3f} ms"
    )
    if "torchvision_ms" in row:
        text += f", torchvision {row['torchvision_ms']:8.3f} ms, {row['times_faster']:.1f} times faster"
    return text


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--device", default="cpu", choices=DEVICES)
    parser.add_argument("--repeats", type=int, default=9, help="measured rounds at least, default 9")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--operators", nargs="+", choices=OPERATORS, default=list(OPERATORS))
    options = parser.parse_args(arguments)
    prepare(options.device)
    if torchvision_ops() is None:
        print("torchvision cannot be imported: no comparison with it")
    result = start_result(options.device, options.output)
    result["rows"] = []
    cases = product(options.operators, options.counts, PLACES, options.threads)
    for operator, count, place, threads in cases:
        if operator == "soft_nms" and count > 2000:  # at most a few thousand boxes reach it
            continue
        row = measure(operator, count, place, threads, options.repeats, options.device)
        print(describe(row), flush=True)
        result["rows"].append(row)
        save(options.output, result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
