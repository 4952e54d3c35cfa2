"""What effective dilation needs to know of a layer, and which of its filters are near the map's border."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["LayerGeometry", "distance_from_border"]


class LayerGeometry(NamedTuple):
    """A layer as its filters see it.

    Attributes:
        kernel_size: Taps (height, width).
        dilation: The undeformed dilation (height, width).
        stride: Pixels of the network's input from one filter to the next.
        deform_groups: Channel groups with offsets of their own.
        modulated: Whether its samples are modulated (DCNv2).
        offset_dilation: Dilation (height, width) of the convolution that predicts the offsets, whose kernel
            is as large; None for the layer's own.
        step: Cells of the layer's input from one filter to the next: its own stride.
    """

    kernel_size: tuple[int, int]
    dilation: tuple[int, int]
    stride: int
    deform_groups: int = 1
    modulated: bool = False
    offset_dilation: tuple[int, int] | None = None
    step: int = 1

    @property
    def margin(self) -> int:
        """Outermost rings of filters that count as near the border of the map.

        An undeformed filter, and the convolution that predicts its offsets, reach (k - 1) / 2 · dilation
        cells. Closer to the border than that they meet the zeros around the map, and effective dilation
        differs there whatever is in the image. One cell more is left out, because a tap on the outermost cell
        that is moved outwards by any part of a cell is interpolated with those zeros: 3 rings for a 3x3
        kernel of dilation 2, 5 for dilation 4, on maps of any size.

        Where a filter really samples does not matter: to leave out those that look far enough to meet the
        border would leave out what is measured.
        """
        dilations = (self.dilation, self.dilation if self.offset_dilation is None else self.offset_dilation)
        reach = max(
            -(-(taps - 1) * dilation // 2)
            for of_both in dilations
            for taps, dilation in zip(self.kernel_size, of_both, strict=True)
        )
        return -(-(reach + 1) // self.step)


def distance_from_border(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """(height, width) cells from each filter to the nearest border of its map, 0 in the outermost ring.

    The map's border is the image's: networks are evaluated on whole images without padding, and pixels that
    are ignored are content like others to the convolutions that see them.
    """
    row, column = torch.arange(height, device=device), torch.arange(width, device=device)
    return torch.minimum(
        torch.minimum(row, height - 1 - row)[:, None], torch.minimum(column, width - 1 - column)[None]
    )
