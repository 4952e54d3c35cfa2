"""Batch norm in three forms: trainable, frozen or synchronised. All three have the same parameter names.

The papers' segmentation networks use frozen batch norm (in DCNv1's code: `use_global_stats`, fixed γ and β).
"""

from torch import nn

__all__ = ["BATCH_NORMS", "FrozenBatchNorm2d"]


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that always uses its running statistics, and whose γ and β are not trained.

    It has the same state as `nn.BatchNorm2d`, so a checkpoint of either loads into the other.

    Args:
        num_features: Channels C of the (N, C, H, W) input.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.eval()
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> "FrozenBatchNorm2d":
        """Stay in evaluation mode, even if the network is switched to training mode."""
        return super().train(False)


BATCH_NORMS: dict[str, type[nn.BatchNorm2d | nn.SyncBatchNorm]] = {
    "trainable": nn.BatchNorm2d,
    "frozen": FrozenBatchNorm2d,
    "sync": nn.SyncBatchNorm,
}
