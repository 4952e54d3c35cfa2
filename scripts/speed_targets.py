"""What deform_conv2d may cost: limits on what bench_ops.py and bench_network.py measure.

The unit is a dense convolution of the same shape, type and layout. Result files hold measurements only;
limits and verdicts are added when they are shown.

torchvision's operator is the other reference. On the CPU, a fixed factor over it can ask for more than
the processor's matrix products allow: 12 times torchvision at VOC's shape is 179 GFLOP/s on two AVX2
cores whose multiply-adds reach 174 to 195. So the limit there follows from that on conv2d: an operator
that takes exactly L times as long as conv2d is torchvision's time / (L x conv2d's time) times as fast as
torchvision. torchvision's time over conv2d's is (torchvision / ours) x (ours / conv2d), both ratios of
neighbouring calls from the same row, so that a slow minute between them cancels. By construction, this
limit is met where that on conv2d is: it is the same demand in another unit.
"""

from typing import Any, NamedTuple

Row = dict[str, Any]

DIRECTIONS = ("forward", "forward_backward")
# The shapes that the limits were set for; others are measured without a verdict.
LIMITED_SHAPES = ("cityscapes", "voc", "batch")
# (device, type) to the most time, in dense convolutions.
AGAINST_DENSE = {
    ("cpu", "float32"): {"forward": 1.25, "forward_backward": 1.35},
    ("cpu", "bfloat16"): {"forward": 2.0, "forward_backward": 2.5},
    ("cuda", "bfloat16"): {"forward": 1.5, "forward_backward": 2.0},
    ("cuda", "float16"): {"forward": 1.5, "forward_backward": 2.0},
    ("cuda", "tf32"): {"forward": 1.7, "forward_backward": 2.5},
}
# type to the least factor by which torchvision is slower on a GPU.
AGAINST_TORCHVISION_ON_GPU = {"bfloat16": 5.0, "float16": 5.0, "tf32": 3.0}
# MB (10^6 bytes) besides arguments and results, at the Cityscapes shape.
SCRATCH_MB_ON_CPU = {"forward": 20.0, "backward": 40.0}
# One thread's time over two threads', at the Cityscapes shape.
TWO_THREADS = 1.8
# Whole networks: deformable over atrous, one forward of ResNet-101 DeepLab at 1024x2048 on the CPU.
NETWORK = 1.05


class Limit(NamedTuple):
    """The most, or the least, that a measured value should be."""

    value: float
    least: bool = False

    def is_met(self, measured: float) -> bool:
        """Whether the measured value keeps the limit."""
        return measured >= self.value if self.least else measured <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.value:.3g}"


def against_dense(device: str, row: Row, direction: str) -> Limit | None:
    """The most time over conv2d's."""
    most = AGAINST_DENSE.get((device, row["dtype"]), {}).get(direction)
    return Limit(most) if most is not None and row["shape"] in LIMITED_SHAPES else None


def against_torchvision(device: str, row: Row, direction: str) -> Limit | None:
    """The least time of torchvision over ours; derived from the row's own times on the CPU."""
    if row["shape"] not in LIMITED_SHAPES:
        return None
    if device == "cuda":
        least = AGAINST_TORCHVISION_ON_GPU.get(row["dtype"])
        return Limit(least, least=True) if least is not None else None
    most = against_dense(device, row, direction)
    times_faster = row.get("torchvision", {}).get(direction, {}).get("times_faster")
    ours = row.get(direction, {}).get("ratio")
    if most is None or times_faster is None or ours is None:
        return None
    return Limit(times_faster * ours / most.value, least=True)


def scratch_mb(device: str, direction: str) -> Limit | None:
    """The most scratch memory, in MB."""
    return Limit(SCRATCH_MB_ON_CPU[direction]) if device == "cpu" else None


def two_threads() -> Limit:
    """The least time of one thread over that of two."""
    return Limit(TWO_THREADS, least=True)


def network(device: str, row: Row, variant: str) -> Limit | None:
    """The most time of a forward pass over the atrous network's; only for the paper's network and image."""
    limited = (row["pass"], row["network"], row["backbone"], row["size"]) == (
        "forward",
        "cityscapes",
        "resnet101",
        [1, 3, 1024, 2048],
    )
    return Limit(NETWORK) if device == "cpu" and limited and variant == "deformable" else None
