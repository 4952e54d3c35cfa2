"""Deformable pooling of regions as layers that learn the shifts of their bins.

Sources: DCNv1 (arXiv 1703.06211), sections 2.2 and 2.3; for modulation, DCNv2 (arXiv 1811.11168), section
3.2; details of the authors' code.

Shape letters: N images, C channels, K regions, k bins per side, G classes that share offsets, O outputs.
"""

from typing import Literal, cast

from torch import Tensor, nn

from deformlab.ops import deform_roi_pool

__all__ = ["BinOffsetMaps", "BinOffsets", "DeformPSRoIPool", "DeformRoIPool"]


class BinOffsets(nn.Module):
    """Predicts the shifts of a region's bins from its plainly pooled features, by fully connected layers.

    The last layer, `offset_fc`, starts at zero, so bins start unshifted and masks start at 0.5. The authors
    train it with 0.01 times the learning rate in Faster R-CNN (DCNv1), and with the whole rate in DCNv2.

    Args:
        in_channels: C.
        bins: k.
        outputs: Numbers per bin: 2 for the shifts in x and y, 3 with a mask.
        hidden_channels: Width of two more layers with ReLU before the last one (DCNv2: 1024); None for the
            last one only (DCNv1).
    """

    def __init__(self, in_channels: int, bins: int, outputs: int, hidden_channels: int | None = None) -> None:
        super().__init__()
        self.bins = bins
        self.outputs = outputs
        width = in_channels * bins * bins
        hidden: list[nn.Module] = []
        if hidden_channels is not None:
            hidden = [
                *(nn.Linear(width, hidden_channels), nn.ReLU(inplace=True)),
                *(nn.Linear(hidden_channels, hidden_channels), nn.ReLU(inplace=True)),
            ]
            width = hidden_channels
        self.hidden = nn.Sequential(*hidden)
        self.offset_fc = nn.Linear(width, outputs * bins * bins)
        for layer in self.hidden:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.offset_fc.weight)
        nn.init.zeros_(self.offset_fc.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """Predict from pooled features.

        Args:
            pooled: (K, C, k, k).

        Returns:
            (K, outputs, k, k): shifts in x, shifts in y, and the logits of masks if there are any.
        """
        found: Tensor = self.offset_fc(self.hidden(pooled.flatten(1)))
        return found.view(-1, self.outputs, self.bins, self.bins)


class BinOffsetMaps(nn.Module):
    """Predicts shifts of bins for each class, as position-sensitive maps that are pooled like the scores.

    The convolution `offset_maps` starts at zero. The authors train it with the whole learning rate.

    Args:
        in_channels: C.
        bins: k.
        spatial_scale: Cells of the map per pixel of the network's input, > 0.
        classes: G.
        outputs: Numbers per bin and class: 2 for the shifts in x and y, 3 with a mask.
        samples_per_bin: Samples per bin and axis.
    """

    def __init__(
        self,
        in_channels: int,
        bins: int,
        spatial_scale: float,
        classes: int,
        outputs: int,
        samples_per_bin: int = 4,
    ) -> None:
        super().__init__()
        self.bins = bins
        self.spatial_scale = spatial_scale
        self.samples_per_bin = samples_per_bin
        self.offset_maps = nn.Conv2d(in_channels, outputs * classes * bins * bins, 1)
        nn.init.zeros_(self.offset_maps.weight)
        nn.init.zeros_(cast(Tensor, self.offset_maps.bias))

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """Predict for regions.

        Args:
            features: (N, C, H, W).
            rois: (K, 5), as for `deform_roi_pool`.

        Returns:
            (K, outputs·G, k, k): for each class the shifts in x and in y; then the logits of the G masks.
        """
        return deform_roi_pool(
            self.offset_maps(features),
            rois,
            self.bins,
            self.spatial_scale,
            group_size=self.bins,
            samples_per_bin=self.samples_per_bin,
        )


class DeformRoIPool(nn.Module):
    """Deformable pooling of all channels, as in Faster R-CNN.

    The region is first pooled without shifts; from this, `offsets` predicts one shift per bin, which all
    channels share.

    Args:
        in_channels: C.
        output_size: Bins per side, k.
        spatial_scale: Cells of the map per pixel of the network's input, > 0.
        modulated: Whether bins also get a mask from 0 to 1 (DCNv2).
        hidden_channels: Width of two hidden layers that predict shifts (DCNv2: 1024); None for none (DCNv1).
        gamma: A predicted shift of 1 moves a bin by this share of the region's width or height, > 0.
        samples_per_bin: Bilinear samples per bin and axis (DCNv1: 4, DCNv2: 2).
        convention: `authors` (right and bottom edges are the last pixels) or `aligned` (continuous edges), as
            for `deform_roi_pool`.

    Attributes:
        offsets: The module that predicts the shifts; record its output to see them.
    """

    def __init__(
        self,
        in_channels: int,
        output_size: int,
        spatial_scale: float,
        *,
        modulated: bool = False,
        hidden_channels: int | None = None,
        gamma: float = 0.1,
        samples_per_bin: int = 4,
        convention: Literal["authors", "aligned"] = "authors",
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.gamma = gamma
        self.samples_per_bin = samples_per_bin
        self.convention: Literal["authors", "aligned"] = convention
        self.offsets = BinOffsets(in_channels, output_size, 3 if modulated else 2, hidden_channels)

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """Pool regions.

        Args:
            features: (N, C, H, W).
            rois: (K, 5), as for `deform_roi_pool`.

        Returns:
            (K, C, k, k).
        """
        plain = self._pool(features, rois)
        predicted = self.offsets(plain)
        mask = predicted[:, 2:].sigmoid() if predicted.shape[1] == 3 else None
        return self._pool(features, rois, predicted[:, :2], mask)

    def _pool(
        self, features: Tensor, rois: Tensor, offset: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        return deform_roi_pool(
            features,
            rois,
            self.output_size,
            self.spatial_scale,
            _in_dtype(offset, features),
            _in_dtype(mask, features),
            samples_per_bin=self.samples_per_bin,
            gamma=self.gamma,
            convention=self.convention,
        )


class DeformPSRoIPool(nn.Module):
    """Deformable position-sensitive pooling, as in R-FCN.

    Args:
        in_channels: Channels C of the features from which the shifts are predicted.
        output_size: Bins per side, k; also the number of channel groups per axis.
        spatial_scale: Cells of the map per pixel of the network's input, > 0.
        classes: G, classes with shifts of their own; divides the outputs.
        modulated: Whether bins also get a mask from 0 to 1 (DCNv2).
        gamma: As for `DeformRoIPool`.
        samples_per_bin: As for `DeformRoIPool`.

    Attributes:
        offsets: The module that predicts the shifts; record its output to see them.
    """

    def __init__(
        self,
        in_channels: int,
        output_size: int,
        spatial_scale: float,
        classes: int,
        *,
        modulated: bool = False,
        gamma: float = 0.1,
        samples_per_bin: int = 4,
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.classes = classes
        self.gamma = gamma
        self.samples_per_bin = samples_per_bin
        outputs = 3 if modulated else 2
        self.offsets = BinOffsetMaps(
            in_channels, output_size, spatial_scale, classes, outputs, samples_per_bin
        )

    def forward(self, maps: Tensor, features: Tensor, rois: Tensor) -> Tensor:
        """Pool regions of position-sensitive maps.

        Args:
            maps: (N, O·k·k, H, W).
            features: (N, C, H, W), from which the shifts are predicted.
            rois: (K, 5), as for `deform_roi_pool`; right and bottom edges are the last pixels.

        Returns:
            (K, O, k, k).
        """
        predicted = self.offsets(features, rois)
        shifts = predicted[:, : 2 * self.classes]
        mask = predicted[:, 2 * self.classes :].sigmoid() if predicted.shape[1] > shifts.shape[1] else None
        return deform_roi_pool(
            maps,
            rois,
            self.output_size,
            self.spatial_scale,
            _in_dtype(shifts, maps),
            _in_dtype(mask, maps),
            group_size=self.output_size,
            samples_per_bin=self.samples_per_bin,
            gamma=self.gamma,
        )


def _in_dtype(value: Tensor | None, like: Tensor) -> Tensor | None:
    """A prediction in the dtype of the features, from which autocast may have made it differ."""
    return None if value is None else value.to(like.dtype)
