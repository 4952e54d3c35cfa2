"""Limits on the time and memory of deform_conv2d, as bench_ops.py and bench_network.py measure them.

The unit of time is a dense convolution of the same shape, type and layout. Result files contain only
measurements; limits and verdicts are added when results are shown.

torchvision's operator is the second reference. On a GPU, the limit is a fixed factor. On the CPU, a fixed
factor could exceed what the processor's matrix products allow: 12 times torchvision at VOC's shape is 179
GFLOP/s on two AVX2 cores whose multiply-adds reach 174 to 195. The CPU limit is therefore derived from the
limit L on conv2d: an operator that takes exactly L times as long as conv2d is torchvision's time / (L x
conv2d's time) times as fast as torchvision. torchvision's time over conv2d's is computed as (torchvision /
ours) x (ours / conv2d). Both are ratios of neighbouring calls from the same row, so load on the machine
cancels. By construction, this limit is met exactly when the limit on conv2d is met.
"""

from typing import Any, NamedTuple

Row = dict[str, Any]

DIRECTIONS = ("forward", "forward_backward")
# The shapes that have limits; others are measured without a verdict.
LIMITED_SHAPES = ("cityscapes", "voc", "batch")
# Upper limits on the time in dense convolutions, by device and type.
AGAINST_DENSE = {
    ("cpu", "float32"): {"forward": 1.25, "forward_backward": 1.35},
    ("cpu", "bfloat16"): {"forward": 2.0, "forward_backward": 2.5},
    ("cuda", "bfloat16"): {"forward": 1.5, "forward_backward": 2.0},
    ("cuda", "float16"): {"forward": 1.5, "forward_backward": 2.0},
    ("cuda", "tf32"): {"forward": 1.7, "forward_backward": 2.5},
}
# Lower limits on torchvision's time over ours on a GPU, by type.
AGAINST_TORCHVISION_ON_GPU = {"bfloat16": 5.0, "float16": 5.0, "tf32": 3.0}
# Upper limits in MB (10^6 bytes), without arguments and results, at the Cityscapes shape.
SCRATCH_MB_ON_CPU = {"forward": 20.0, "backward": 40.0}
# Lower limit on one thread's time over two threads', at the Cityscapes shape.
TWO_THREADS = 1.8
# Upper limit on deformable over atrous networks: forward of ResNet-101 DeepLab at 1024x2048 on the CPU.
NETWORK = 1.05


class Limit(NamedTuple):
    """An upper limit, or if `least` a lower limit, on a measured value."""

    value: float
    least: bool = False

    def is_met(self, measured: float) -> bool:
        """Whether the measured value is within the limit."""
        return measured >= self.value if self.least else measured <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.value:.3g}"


def against_dense(device: str, row: Row, direction: str) -> Limit | None:
    """The upper limit on our time over conv2d's; None without a limit."""
    most = AGAINST_DENSE.get((device, row["dtype"]), {}).get(direction)
    return Limit(most) if most is not None and row["shape"] in LIMITED_SHAPES else None


def against_torchvision(device: str, row: Row, direction: str) -> Limit | None:
    """The lower limit on torchvision's time over ours; on the CPU it is derived from the row's own ratios."""
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
    """The upper limit on scratch memory in MB; None without a limit."""
    return Limit(SCRATCH_MB_ON_CPU[direction]) if device == "cpu" else None


def two_threads() -> Limit:
    """The lower limit on one thread's time over two threads'."""
    return Limit(TWO_THREADS, least=True)


def network(device: str, row: Row, variant: str) -> Limit | None:
    """The upper limit on forward time over the atrous network's; only for the paper's network and image."""
    limited = (row["pass"], row["network"], row["backbone"], row["size"]) == (
        "forward",
        "cityscapes",
        "resnet101",
        [1, 3, 1024, 2048],
    )
    return Limit(NETWORK) if device == "cpu" and limited and variant == "deformable" else None
