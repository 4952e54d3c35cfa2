"""The box regression loss of the R-CNN family."""

from torch import Tensor
from torch.nn import functional as F

__all__ = ["smooth_l1_sum"]


def smooth_l1_sum(prediction: Tensor, target: Tensor, sigma: float) -> Tensor:
    """Return the sum of smooth L1 losses: (σx)² / 2 where |x| < 1 / σ², else |x| - 1 / (2σ²).

    Source: Fast R-CNN (arXiv 1504.08083), equation 3; with σ, py-faster-rcnn.

    Args:
        prediction: Any shape.
        target: The same shape.
        sigma: σ > 0; 3 in region proposal networks, 1 elsewhere.
    """
    return F.smooth_l1_loss(prediction, target, reduction="sum", beta=1 / sigma**2)
