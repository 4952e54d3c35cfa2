"""What deform_conv2d is meant to cost: limits on the ratios that bench_ops.py measures, and the verdicts.

A dense convolution of the same shape, type and layout is the unit; torchvision's operator is the other one.
"""

from typing import Any, Literal

# (device, type) to the most time, in dense convolutions: forward, and forward + backward.
AGAINST_DENSE = {
    ("cpu", "float32"): {"forward": 1.25, "forward_backward": 1.35},
    ("cpu", "bfloat16"): {"forward": 2.0, "forward_backward": 2.5},
    ("cuda", "bfloat16"): {"forward": 1.5, "forward_backward": 2.0},
    ("cuda", "float16"): {"forward": 1.5, "forward_backward": 2.0},
    ("cuda", "tf32"): {"forward": 1.7, "forward_backward": 2.5},
}
# The least factor by which torchvision is slower. It has no bfloat16 on the CPU.
AGAINST_TORCHVISION = {
    ("cpu", "float32"): {"forward": 4.5, "forward_backward": 12.0},
    ("cuda", "bfloat16"): {"forward": 5.0, "forward_backward": 5.0},
    ("cuda", "float16"): {"forward": 5.0, "forward_backward": 5.0},
    ("cuda", "tf32"): {"forward": 3.0, "forward_backward": 3.0},
}
# MB (10^6 bytes) besides arguments and results, at the Cityscapes shape.
SCRATCH_MB = {"cpu": {"forward": 20.0, "backward": 40.0}}
# One thread's time over two threads', at the Cityscapes shape.
TWO_THREADS = 1.8
# Whole networks: deformable over atrous, one forward of ResNet-101 DeepLab at 1024x2048 on the CPU.
NETWORK = 1.05

Verdict = Literal["met", "not met"]


def judged(
    measured: dict[str, Any], name: str, *, most: float | None = None, least: float | None = None
) -> dict[str, Any]:
    """The measurement with the limit on `measured[name]` and the verdict; as it is without a limit."""
    if measured[name] is None:
        return measured
    if most is not None:
        return measured | {"most": most, "verdict": _word(measured[name] <= most)}
    if least is not None:
        return measured | {"least": least, "verdict": _word(measured[name] >= least)}
    return measured


def _word(met: bool) -> Verdict:
    return "met" if met else "not met"
