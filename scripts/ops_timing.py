"""Times of operators that alternate, so that a busy machine slows all of them alike."""

import math
import statistics
import time
from collections.abc import Callable, Mapping

import torch

WARM_UP = 2
# A CUDA event resolves about a microsecond; a sample is as many calls as fill this time.
CUDA_SAMPLE_MS = 5.0


def alternate(
    calls: Mapping[str, Callable[[], None]], repeats: int, device: str, warm_up: int = WARM_UP
) -> dict[str, list[float]]:
    """Milliseconds of each call: all in turn, `warm_up` rounds that do not count and then `repeats`."""
    once = {name: _sample(call, device) for name, call in calls.items()}
    rounds = [{name: time_once() for name, time_once in once.items()} for _ in range(warm_up + repeats)]
    return {name: [times[name] for times in rounds[warm_up:]] for name in calls}


def ratio(numerator: list[float], denominator: list[float]) -> float:
    """The median of the ratios of neighbours, which a slow minute moves less than the ratio of medians."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def _sample(call: Callable[[], None], device: str) -> Callable[[], float]:
    if device == "cpu":
        return lambda: _cpu_ms(call)
    for _ in range(3):
        call()
    count = min(1000, math.ceil(CUDA_SAMPLE_MS / max(_cuda_ms(call, 3), 1e-3)))
    return lambda: _cuda_ms(call, count)


def _cpu_ms(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def _cuda_ms(call: Callable[[], None], count: int) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for _ in range(count):
        call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / count
