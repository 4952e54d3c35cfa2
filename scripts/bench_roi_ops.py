"""Measure the poolings of regions against torchvision's; save the times and the scratch memory.

    python scripts/bench_roi_ops.py [--output FILE] [--device cpu|cuda] [--repeats 9] [--threads 1 2]

A row is an operator, a memory format and a number of threads: 300 regions of 7x7 bins, of a map of 38x63 with
1024 channels (1029 = 21·49 for position-sensitive pooling) in float32, as in the papers. Regions have sides
of 32 to 512 pixels (log-uniform) and are clipped to the image of 608x1008; there are 2x2 samples per bin.

`deform_roi_pool` has random offsets and is compared with our `roi_align` at equal samples, its position-
sensitive form (`ps_deform_roi_pool`) with our `ps_roi_align`. The others are compared with torchvision's
operator of the same name, `roi_mean_pool` with its `roi_pool`.

Directions are forward without gradients, and forward + backward with the gradients of the input and of
offsets. Calls alternate: two rounds of warm-up, then `--repeats` measured rounds. Milliseconds are medians;
`times_faster` is the median of the ratios of neighbouring calls. Scratch memory is the rise of the peak
memory during a call without its result, measured in a process of its own (scripts/scratch_memory.py); for
`roi_pool`, it includes the cells of the maxima, which the backward pass needs. The values must be
torchvision's. Without torchvision, only our times are measured.

scripts/bench_nms.py measures non-maximum suppression.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from benchmark import DEVICES, alternate, prepare, ratio, save, start_result
from ops_case import FORMATS, torchvision_ops
from scratch_memory import PEAK, rise
from torch import Tensor

from deformlab import ops

OPERATORS = (
    "roi_align",
    "roi_pool",
    "roi_mean_pool",
    "ps_roi_align",
    "ps_roi_pool",
    "deform_roi_pool",
    "ps_deform_roi_pool",
)
DIRECTIONS = ("forward", "forward_backward")
STRIDE, BINS, SAMPLES = 16, 7, 2


class Size(NamedTuple):
    """Number of regions, output channels of a group, height and width of the map."""

    regions: int = 300
    channels: int = 1024
    height: int = 38
    width: int = 63


TINY = Size(3, 8, 6, 8)


class Pooling(NamedTuple):
    """An operator with bound arguments and the tensors that need gradients."""

    pool: Callable[[], Tensor]
    leaves: Sequence[Tensor]

    def forward(self) -> Tensor:
        """The output without a graph."""
        with torch.no_grad():
            return self.pool()

    def training(self) -> None:
        """Forward and backward."""
        self.backward(self.pool())

    def backward(self, output: Tensor) -> Sequence[Tensor]:
        """The gradients of the leaves. The gradient of the output is a constant without memory of its own."""
        # The same for all operators: they would otherwise also be charged with writing the gradient.
        return torch.autograd.grad(output, self.leaves, _ones(output))


_GRADIENTS: dict[tuple[Any, ...], Tensor] = {}


def _ones(output: Tensor) -> Tensor:
    key = (output.shape, output.dtype, output.device)
    if key not in _GRADIENTS:
        _GRADIENTS.clear()
        _GRADIENTS[key] = torch.ones_like(output)
    return _GRADIENTS[key]


def make_boxes(size: Size) -> Tensor:
    """Return regions (K, 5) in one image: the same in each call."""
    generator = torch.Generator().manual_seed(0)
    image = STRIDE * torch.tensor([size.width, size.height])
    sides = 32 * 16 ** torch.rand(size.regions, 2, generator=generator)
    centres = torch.rand(size.regions, 2, generator=generator) * image
    corners = ((centres - sides / 2).clamp_min(0), torch.minimum(centres + sides / 2, image - 1))
    return torch.cat((torch.zeros(size.regions, 1), *corners), dim=1)


def poolings_of(operator: str, memory_format: str, size: Size, device: str) -> dict[str, Pooling]:
    """Return the operators to time: `deformlab`, and what it is compared with, if that exists."""
    generator = torch.Generator().manual_seed(1)
    sensitive = operator.startswith("ps_")
    channels = max(1, round(size.channels / BINS**2)) * BINS**2 if sensitive else size.channels
    input = torch.randn(1, channels, size.height, size.width, generator=generator).to(device)
    input = input.contiguous(memory_format=FORMATS[memory_format]).requires_grad_()
    boxes = make_boxes(size).to(device)
    common = (input, boxes, BINS, 1 / STRIDE)
    if operator.endswith("deform_roi_pool"):
        offset = torch.randn(size.regions, 2, BINS, BINS, generator=generator).to(device).requires_grad_()
        group = BINS if sensitive else 1
        pool = partial(ops.deform_roi_pool, *common, offset, group_size=group, samples_per_bin=SAMPLES)
        baseline = ops.ps_roi_align if sensitive else ops.roi_align
        return {
            "deformlab": Pooling(pool, (input, offset)),
            baseline.__name__: Pooling(partial(baseline, *common, SAMPLES), (input,)),
        }
    samples = (SAMPLES,) if operator.endswith("align") else ()
    # torchvision's rule, so that both compute the same; the authors' costs as much.
    options = {"convention": "torchvision"} if operator == "ps_roi_pool" else {}
    found = {
        "deformlab": Pooling(partial(getattr(ops, operator), *common, *samples, **options), (input,)),
    }
    theirs = torchvision_ops()
    if theirs is not None:
        name = "roi_pool" if operator == "roi_mean_pool" else operator
        found["torchvision"] = Pooling(partial(getattr(theirs, name), *common, *samples), (input,))
    return found


def measure(
    operator: str, memory_format: str, threads: int, repeats: int, size: Size, device: str
) -> dict[str, Any]:
    """Return one row."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        poolings = poolings_of(operator, memory_format, size, device)
        _, *others = poolings
        if "torchvision" in poolings and operator != "roi_mean_pool":
            _check_values(operator, poolings)
        row: dict[str, Any] = {
            "operator": operator,
            "memory_format": memory_format,
            "threads": threads,
            "size": list(size),
        }
        for direction in DIRECTIONS:
            calls = {
                name: pooling.forward if direction == "forward" else pooling.training
                for name, pooling in poolings.items()
            }
            times = alternate(calls, repeats, device)
            row[direction] = {f"{name}_ms": statistics.median(values) for name, values in times.items()}
            for other in others:
                row[direction] |= {
                    "compared_with": other,
                    "times_faster": ratio(times[other], times["deformlab"]),
                }
    finally:
        torch.set_num_threads(before)
    row["scratch_mb"] = scratch_mb(operator, memory_format, size, device)
    return row


def _check_values(operator: str, poolings: dict[str, Pooling]) -> None:
    ours, theirs = (poolings[name].forward() for name in ("deformlab", "torchvision"))
    # Positions in float32 are rounded in another order: bins of roi_pool may differ by a cell where an edge
    # is a whole number.
    error = (ours - theirs).abs()
    if error.mean() > 1e-4 or (operator != "roi_pool" and error.max() > 1e-2):
        raise RuntimeError(f"{operator}: torchvision computes other values, off by {error.max():.3g}")


def scratch_mb(operator: str, memory_format: str, size: Size, device: str) -> dict[str, float | None]:
    """MB of `forward` and `backward` of our operator; None if they cannot be measured."""
    if device == "cuda":
        pooling = poolings_of(operator, memory_format, size, device)["deformlab"]
        pooling.training()
        return dict(_passes(pooling, device))
    if not PEAK.exists():
        return {"forward": None, "backward": None}
    result = subprocess.run(
        [sys.executable, __file__, "--scratch-of", operator, memory_format, *map(str, size)],
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    measured: dict[str, float | None] = json.loads(result.stdout)
    return measured


def _print_scratch(operator: str, memory_format: str, *numbers: str) -> None:
    poolings_of(operator, memory_format, TINY, "cpu")["deformlab"].training()  # loads the code
    size = Size(*map(int, numbers))
    print(json.dumps(_passes(poolings_of(operator, memory_format, size, "cpu")["deformlab"], "cpu")))


def _passes(pooling: Pooling, device: str) -> dict[str, float]:
    (output,), forward = rise(lambda: [pooling.pool()], device)
    _ones(output)
    _, backward = rise(lambda: pooling.backward(output), device)
    return {"forward": forward, "backward": backward}


def describe(row: dict[str, Any]) -> str:
    """One line per direction."""
    lines = []
    for direction in DIRECTIONS:
        found = row[direction]
        scratch = row["scratch_mb"]["forward" if direction == "forward" else "backward"]
        text = (
            f"{row['operator']:18} {row['memory_format']:13} {row['threads']} threads {direction:16} "
            f"{found['deformlab_ms']:8.2f} ms"
        )
        if "compared_with" in found:
            other = found["compared_with"]
            text += f", {other} {found[other + '_ms']:8.2f} ms, {found['times_faster']:.2f} times faster"
        lines.append(text + ("" if scratch is None else f", scratch {scratch:.1f} MB"))
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--device", default="cpu", choices=DEVICES)
    parser.add_argument("--repeats", type=int, default=9, help="measured rounds, default 9")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    parser.add_argument("--operators", nargs="+", choices=OPERATORS, default=list(OPERATORS))
    parser.add_argument("--tiny", action="store_true", help="a tiny case, for rehearsing")
    parser.add_argument("--scratch-of", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.scratch_of:
        _print_scratch(*options.scratch_of)
        return 0
    prepare(options.device)
    if torchvision_ops() is None:
        print("torchvision cannot be imported: no comparison with it")
    size = TINY if options.tiny else Size()
    result = start_result(options.device, options.output)
    result["rows"] = []
    for operator, memory_format, threads in product(options.operators, options.formats, options.threads):
        row = measure(operator, memory_format, threads, options.repeats, size, options.device)
        print(describe(row), flush=True)
        result["rows"].append(row)
        save(options.output, result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
