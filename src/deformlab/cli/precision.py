"""Replaces bfloat16 on processors that are slow in it."""

import torch
from pytorch_lightning.utilities import rank_zero_info

__all__ = ["affordable_precision"]


def affordable_precision(precision: str | int | None, accelerator: str | object) -> str | int | None:
    """Returns float32 instead of mixed bfloat16 if the processor is slow in bfloat16.

    PyTorch convolves bfloat16 on any processor, but without oneDNN's help (x86-64 without AVX-512) tens of
    times slower than float32. Weights are float32 either way, so checkpoints fit both.

    Args:
        precision: Lightning's `precision`.
        accelerator: Lightning's `accelerator`.
    """
    if precision != "bf16-mixed" or not _trains_on_cpu(accelerator) or _multiplies_bfloat16():
        return precision
    rank_zero_info("This processor is slow in bfloat16, so float32 is used instead (bf16-mixed -> 32-true).")
    return "32-true"


def _trains_on_cpu(accelerator: str | object) -> bool:
    return accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())


def _multiplies_bfloat16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
