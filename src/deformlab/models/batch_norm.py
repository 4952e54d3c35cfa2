"""Batch norm trainable, frozen or synchronised; the same parameter names in all three.

The papers' segmentation networks keep batch norm frozen (DCNv1's code: use_global_stats, fixed γ and β).
"""

from torch import nn

__all__ = ["BATCH_NORMS", "FrozenBatchNorm2d"]


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that always uses its global statistics and whose γ and β are not trained.

    Its state is `nn.BatchNorm2d`'s, so that a checkpoint of either loads into the other.

    Args:
        num_features: Channels C of the (N, C, H, W) input.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.eval()
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> "FrozenBatchNorm2d":
        """Stays in evaluation mode, also when the network is set to training."""
        return super().train(False)


BATCH_NORMS: dict[str, type[nn.BatchNorm2d | nn.SyncBatchNorm]] = {
    "trainable": nn.BatchNorm2d,
    "frozen": FrozenBatchNorm2d,
    "sync": nn.SyncBatchNorm,
}
