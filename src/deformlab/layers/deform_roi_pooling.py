"""Deformable pooling of regions as layers that predict the shifts of their own bins.

Sources: DCNv1 (arXiv 1703.06211), sections 2.2 and 2.3; for modulation, DCNv2 (arXiv 1811.11168), section
3.2; initial values and learning rates from the authors' code.

Shape letters: N images, C channels, H W size of the map, K regions, k bins per side, G classes that share
offsets, O outputs.
"""

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from deformlab.layers.deform_conv import _OffsetConv2d
from deformlab.ops import deform_roi_pool

__all__ = ["BinPositions", "DeformPSRoIPool", "DeformRoIPool"]

Convention = Literal["authors", "aligned"]
MaskBranch = Literal["joint", "separate"]
Regions = Tensor | list[Tensor]


class BinPositions(NamedTuple):
    """Where deformable pooling reads the bins of K regions, in pixels of the network's input, x before y.

    Edges are continuous: x2 - x1 is the width, also with the convention `authors`. Where a region or an
    offset is not finite, the operator reads nothing, and the values here are not finite either.

    Attributes:
        rois: (K, 5), the regions as they were passed to the layer, the index of the image first.
        size: (K, 2), width and height of the regions.
        bins: (K, k, k, 4), the bins before they are shifted, as (x1, y1, x2, y2).
        displacement: (K, G, k, k, 2), how far each bin is shifted: γ · offset · size.
        mask: (K, G, k, k), the factor on each bin; None without modulation.
    """

    rois: Tensor
    size: Tensor
    bins: Tensor
    displacement: Tensor
    mask: Tensor | None

    @property
    def shifted(self) -> Tensor:
        """(K, G, k, k, 4), the bins after they are shifted, as (x1, y1, x2, y2)."""
        return self.bins[:, None] + self.displacement.repeat(1, 1, 1, 1, 2)


class _ZeroLinear(nn.Linear):
    """A linear layer whose parameters are zero initially and after every reset."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


class _HiddenLinear(nn.Linear):
    """A linear layer with the initial values of the authors' new layers."""

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.01)
        nn.init.zeros_(self.bias)


class BinSampler(nn.Module):
    """Calls `deform_roi_pool` with fixed options. It has no parameters; `record_bins` reads its arguments.

    Args:
        output_size: Bins per side, k, from 1 to 4096.
        spatial_scale: Cells of the map per pixel of the network's input, > 0.
        group_size: Channel groups per axis, >= 1.
        gamma: γ, > 0.
        samples_per_bin: Samples per bin and axis, >= 1; 0 with `aligned` for one per cell.
        convention: `authors` or `aligned`.

    Raises:
        ValueError: A number is out of its range.
    """

    def __init__(
        self,
        output_size: int,
        spatial_scale: float,
        group_size: int,
        gamma: float,
        samples_per_bin: int,
        convention: Convention,
    ) -> None:
        super().__init__()
        if convention not in get_args(Convention):
            raise ValueError(f"convention must be 'authors' or 'aligned', got {convention!r}")
        _check_integer("output_size", output_size, 1, 4096)
        _check_integer("samples_per_bin", samples_per_bin, 1 if convention == "authors" else 0)
        for name, value in (("spatial_scale", spatial_scale), ("gamma", gamma)):
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} must be > 0 and finite, got {value!r}")
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.group_size = group_size
        self.gamma = gamma
        self.samples_per_bin = samples_per_bin
        self.convention: Convention = convention

    def forward(
        self, maps: Tensor, rois: Regions, offset: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Pool regions, as `deform_roi_pool` does.

        Args:
            maps: (N, O·group_size², H, W).
            rois: (K, 5), or a list of N tensors (L, 4).
            offset: (K, 2·G, k, k) or None.
            mask: (K, G, k, k) or None.

        Returns:
            (K, O, k, k).
        """
        return deform_roi_pool(
            maps,
            rois,
            self.output_size,
            self.spatial_scale,
            offset,
            mask,
            group_size=self.group_size,
            samples_per_bin=self.samples_per_bin,
            gamma=self.gamma,
            convention=self.convention,
        )

    def positions(self, rois: Regions, offset: Tensor, mask: Tensor | None) -> BinPositions:
        """Return where `forward` reads the bins.

        Args:
            rois: As for `forward`.
            offset: As for `forward`.
            mask: As for `forward`.
        """
        if not isinstance(rois, Tensor):
            parts = [nn.functional.pad(boxes, (1, 0), value=image) for image, boxes in enumerate(rois)]
            rois = torch.cat(parts) if parts else offset.new_zeros(0, 5)
        dtype = torch.promote_types(torch.promote_types(rois.dtype, offset.dtype), torch.float32)
        start, end = rois[:, 1:3].to(dtype), rois[:, 3:5].to(dtype)
        if self.convention == "authors":
            start, end = _round(start), _round(end) + 1
            size = (end - start).clamp_min(0.1 / self.spatial_scale)
        else:
            size = end - start
        k = self.output_size
        edges = torch.arange(k + 1, dtype=dtype, device=rois.device) / k
        x, y = (start[:, None] + edges[:, None] * size[:, None]).unbind(-1)
        grid = (K, k, k) = (len(rois), k, k)
        bins = torch.stack(
            [
                x[:, None, :-1].expand(grid),
                y[:, :-1, None].expand(grid),
                x[:, None, 1:].expand(grid),
                y[:, 1:, None].expand(grid),
            ],
            dim=-1,
        )
        xy = offset.to(dtype).reshape(K, offset.shape[1] // 2, 2, k, k).permute(0, 1, 3, 4, 2)
        displacement = self.gamma * xy * size[:, None, None, None]
        return BinPositions(rois, size, bins, displacement, mask)

    def extra_repr(self) -> str:
        """Return the options."""
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale:g}, "
            f"group_size={self.group_size}, gamma={self.gamma:g}, samples_per_bin={self.samples_per_bin}, "
            f"convention={self.convention!r}"
        )


class DeformRoIPool(nn.Module):
    """Deformable pooling of all channels, as in Faster R-CNN: one shift per bin, which all channels share.

    The region is first pooled without shifts. Fully connected layers predict the shifts from the result, and
    the region is pooled again with them. The last layer, `offset_fc`, starts at zero: at first, bins are not
    shifted and masks are 0.5.

    Learning rate of `offset_fc`: 0.01 times the base rate in DCNv1's Faster R-CNN, the base rate in DCNv2.
    With `deformlab`'s optimization, set the multiplier of offsets; in a training of your own, select the
    parameters with `offset_fc` in their name.

    State dicts of mmcv's `DeformRoIPoolPack` and `ModulatedDeformRoIPoolPack` load directly. To compute the
    same, use `hidden_channels=1024`, `convention="aligned"`, mmcv's `sampling_ratio` as `samples_per_bin`,
    and for the modulated one `mask_branch="separate"`.

    Source: DCNv1 (arXiv 1703.06211), sections 2.2 and 2.3; DCNv2 (arXiv 1811.11168), section 3.2.

    Args:
        in_channels: C, >= 1.
        output_size: Bins per side, k, from 1 to 4096.
        spatial_scale: Cells of the map per pixel of the network's input, > 0, such as 1/16.
        modulated: Whether each bin is multiplied by a predicted mask from 0 to 1 (DCNv2).
        hidden_channels: Width of two hidden layers with ReLU before the last one, >= 1 (DCNv2: 1024); None
            for none (DCNv1).
        mask_branch: Where the mask comes from: `joint`, from the last layer of the offsets (DCNv2: 147
            outputs for 7x7 bins); `separate`, from the layer `mask_fc` after one hidden layer of its own
            (mmcv). Has no effect without `modulated`.
        gamma: A predicted offset of 1 shifts a bin by this share of the region's width or height, > 0.
        samples_per_bin: Bilinear samples per bin and axis, >= 1 (DCNv1: 4, DCNv2: 2). With `aligned`, 0
            means one per cell.
        convention: `authors`: x2 and y2 of a region are its last pixels; `aligned` (mmcv): they are its right
            and bottom edges. See `deform_roi_pool`.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        Features (N, C, H, W) and regions (K, 5); output (K, C, k, k).

    Raises:
        ValueError: An argument is out of its range.

    Example:
        >>> pool = DeformRoIPool(8, 7, 1 / 16)
        >>> pool(torch.rand(1, 8, 32, 32), torch.tensor([[0.0, 16, 16, 200, 300]])).shape
        torch.Size([1, 8, 7, 7])
    """

    def __init__(
        self,
        in_channels: int,
        output_size: int,
        spatial_scale: float,
        *,
        modulated: bool = False,
        hidden_channels: int | None = None,
        mask_branch: MaskBranch = "joint",
        gamma: float = 0.1,
        samples_per_bin: int = 4,
        convention: Convention = "authors",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check_integer("in_channels", in_channels, 1)
        if hidden_channels is not None:
            _check_integer("hidden_channels", hidden_channels, 1)
        if mask_branch not in get_args(MaskBranch):
            raise ValueError(f"mask_branch must be 'joint' or 'separate', got {mask_branch!r}")
        self.sampler = BinSampler(output_size, spatial_scale, 1, gamma, samples_per_bin, convention)
        self.in_channels = in_channels
        self.modulated = modulated
        self.mask_branch: MaskBranch = mask_branch
        bins = output_size**2
        width = in_channels * bins
        separate = modulated and mask_branch == "separate"

        def hidden(layers: int) -> nn.Sequential:
            modules: list[nn.Module] = []
            if hidden_channels is not None:
                for inputs in (width, hidden_channels)[:layers]:
                    modules += [_HiddenLinear(inputs, hidden_channels, device=device, dtype=dtype), nn.ReLU()]
            return nn.Sequential(*modules)

        last_width = width if hidden_channels is None else hidden_channels
        self.offset_hidden = hidden(2)
        self.offset_fc = _ZeroLinear(
            last_width, (3 if modulated and not separate else 2) * bins, device=device, dtype=dtype
        )
        if separate:
            self.mask_hidden = hidden(1)
            self.mask_fc = _ZeroLinear(last_width, bins, device=device, dtype=dtype)

    def forward(self, features: Tensor, rois: Regions) -> Tensor:
        """Predict the shifts of the bins, and pool with them.

        Args:
            features: (N, C, H, W).
            rois: (K, 5): the index of the image, then left, top, right and bottom in pixels of the network's
                input; or a list of N tensors (L, 4). No gradient.

        Returns:
            (K, C, k, k).

        Raises:
            ValueError: The features do not have C channels, or the regions are not legal.
        """
        return self.sample(features, rois, *self.predict_offsets(features, rois))

    def predict_offsets(self, features: Tensor, rois: Regions) -> tuple[Tensor, Tensor | None]:
        """Predict the shifts of the bins without pooling with them.

        Args:
            features: (N, C, H, W).
            rois: As for `forward`.

        Returns:
            The offsets (K, 2, k, k), x before y, in units of γ times the region's size; and the mask
            (K, 1, k, k), from 0 to 1, or None if the layer is not modulated.

        Raises:
            ValueError: The features do not have C channels, or the regions are not legal.
        """
        _check_features("features", features, self.in_channels)
        k = self.sampler.output_size
        plain = self.sampler(features, rois).flatten(1)
        predicted = self.offset_fc(self.offset_hidden(plain)).view(
            -1, self.offset_fc.out_features // k**2, k, k
        )
        if not self.modulated:
            return predicted, None
        if self.mask_branch == "separate":
            return predicted, self.mask_fc(self.mask_hidden(plain)).sigmoid().view(-1, 1, k, k)
        return predicted[:, :2], predicted[:, 2:].sigmoid()

    def sample(self, features: Tensor, rois: Regions, offset: Tensor | None, mask: Tensor | None) -> Tensor:
        """Pool with the given shifts instead of the predicted ones.

        Args:
            features: (N, C, H, W).
            rois: As for `forward`.
            offset: (K, 2, k, k), as `predict_offsets` returns it, or None for no shifts.
            mask: (K, 1, k, k), as `predict_offsets` returns it, or None for no modulation.

        Returns:
            (K, C, k, k).
        """
        pooled: Tensor = self.sampler(features, rois, offset, mask)
        return pooled

    def extra_repr(self) -> str:
        """Return the options that the submodules do not show."""
        mask = f", modulated=True, mask_branch={self.mask_branch!r}" if self.modulated else ""
        return f"{self.in_channels}{mask}"

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        # mmcv has the hidden layers and the last one in one nn.Sequential.
        names = {
            "offset_fc.0": "offset_hidden.0",
            "offset_fc.2": "offset_hidden.2",
            "offset_fc.4": "offset_fc",
        }
        names |= {"mask_fc.0": "mask_hidden.0", "mask_fc.2": "mask_fc"}
        for theirs, ours in names.items():
            for end in (".weight", ".bias"):
                if prefix + theirs + end in state_dict:
                    state_dict[prefix + ours + end] = state_dict.pop(prefix + theirs + end)
        super()._load_from_state_dict(state_dict, prefix, *args)


class DeformPSRoIPool(nn.Module):
    """Deformable position-sensitive pooling, as in R-FCN: one shift per bin and class.

    A 1x1 convolution, `conv_offset`, computes position-sensitive maps of offsets. They are pooled without
    shifts; the result shifts the bins when the score maps are pooled. The convolution starts at zero: at
    first, bins are not shifted and masks are 0.5.

    Learning rate of `conv_offset`: the base rate in the authors' R-FCN. DCNv1 has no modulated R-FCN.

    Source: DCNv1 (arXiv 1703.06211), sections 2.2 and 2.3; R-FCN (arXiv 1605.06409), section 2.2.

    Args:
        in_channels: Channels C of the features from which the shifts are predicted, >= 1.
        output_size: Bins per side, k, from 1 to 4096; also the number of channel groups per axis.
        spatial_scale: Cells of the map per pixel of the network's input, > 0, such as 1/16.
        classes: G, classes with shifts of their own, >= 1; must divide the outputs of the score maps. The
            authors use C + 1 for the scores and 1 for the boxes.
        modulated: Whether each bin is multiplied by a predicted mask from 0 to 1.
        gamma: A predicted offset of 1 shifts a bin by this share of the region's width or height, > 0.
        samples_per_bin: Bilinear samples per bin and axis, >= 1 (DCNv1: 4). With `aligned`, 0 means one per
            cell.
        convention: `authors`: x2 and y2 of a region are its last pixels; `aligned`: they are its right and
            bottom edges. See `deform_roi_pool`.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        Score maps (N, O·k², H, W), features (N, C, H, W) and regions (K, 5); output (K, O, k, k).

    Raises:
        ValueError: An argument is out of its range.

    Example:
        >>> pool = DeformPSRoIPool(8, 3, 1 / 16, classes=21)
        >>> maps, features = torch.rand(1, 21 * 9, 32, 32), torch.rand(1, 8, 32, 32)
        >>> pool(maps, features, torch.tensor([[0.0, 16, 16, 200, 300]])).shape
        torch.Size([1, 21, 3, 3])
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
        convention: Convention = "authors",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check_integer("in_channels", in_channels, 1)
        _check_integer("classes", classes, 1)
        self.sampler = BinSampler(output_size, spatial_scale, output_size, gamma, samples_per_bin, convention)
        self.in_channels = in_channels
        self.classes = classes
        self.modulated = modulated
        self.conv_offset = _OffsetConv2d(
            in_channels, (3 if modulated else 2) * classes * output_size**2, 1, device=device, dtype=dtype
        )

    def forward(self, maps: Tensor, features: Tensor, rois: Regions) -> Tensor:
        """Predict the shifts of the bins, and pool the score maps with them.

        Args:
            maps: (N, O·k², H, W), the position-sensitive score maps: channel (o·k + p)·k + q is for bin
                (p, q) of output o.
            features: (N, C, H, W), from which the shifts are predicted.
            rois: (K, 5): the index of the image, then left, top, right and bottom in pixels of the network's
                input; or a list of N tensors (L, 4). No gradient.

        Returns:
            (K, O, k, k). The mean over the bins is the vote of R-FCN.

        Raises:
            ValueError: The features do not have C channels, the maps do not fit to the bins and classes, or
                the regions are not legal.
        """
        return self.sample(maps, rois, *self.predict_offsets(features, rois))

    def predict_offsets(self, features: Tensor, rois: Regions) -> tuple[Tensor, Tensor | None]:
        """Predict the shifts of the bins without pooling with them.

        Args:
            features: (N, C, H, W).
            rois: As for `forward`.

        Returns:
            The offsets (K, 2·G, k, k): for each class x, then y, in units of γ times the region's size; and
            the mask (K, G, k, k), from 0 to 1, or None if the layer is not modulated.

        Raises:
            ValueError: The features do not have C channels, or the regions are not legal.
        """
        _check_features("features", features, self.in_channels)
        predicted = self.sampler(self.conv_offset(features), rois)
        if not self.modulated:
            return predicted, None
        return predicted[:, : 2 * self.classes], predicted[:, 2 * self.classes :].sigmoid()

    def sample(self, maps: Tensor, rois: Regions, offset: Tensor | None, mask: Tensor | None) -> Tensor:
        """Pool the score maps with the given shifts instead of the predicted ones.

        Args:
            maps: (N, O·k², H, W).
            rois: As for `forward`.
            offset: (K, 2·G, k, k), as `predict_offsets` returns it, or None for no shifts.
            mask: (K, G, k, k), as `predict_offsets` returns it, or None for no modulation.

        Returns:
            (K, O, k, k).
        """
        pooled: Tensor = self.sampler(maps, rois, offset, mask)
        return pooled

    def extra_repr(self) -> str:
        """Return the options that the submodules do not show."""
        return f"{self.in_channels}, classes={self.classes}" + (", modulated=True" if self.modulated else "")


def _check_integer(name: str, value: int, least: int, most: int | None = None) -> None:
    legal = isinstance(value, int) and not isinstance(value, bool) and value >= least
    if not legal or (most is not None and value > most):
        range_ = f">= {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be an integer {range_}, got {value!r}")


def _check_features(name: str, features: Tensor, channels: int) -> None:
    if features.dim() != 4 or features.shape[1] != channels:
        raise ValueError(
            f"{name} must be (N, {channels}, H, W), got a tensor of shape {tuple(features.shape)}"
        )


def _round(value: Tensor) -> Tensor:
    """Round half away from zero, as the operator does; torch.round rounds half to even."""
    whole = value.trunc()
    return whole + ((value - whole).abs() >= 0.5) * value.sign()
