"""Random calls of the poolings of regions without offsets: those that average, and the maximum."""

import random
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor

from fuzz.deform_roi_pool import make_boxes
from fuzz.operator import DTYPES, ENDLESS, Arguments, Operator, grid, lay_out

__all__ = ["PsRoiAlign", "PsRoiPool", "RoiAlign", "RoiMeanPool", "RoiPool"]


class Pooling(Operator):
    """Regions on half pixels, many at the border and some far away or NaN.

    Bins, samples and scales are powers of two, so that positions and weights are exact.
    """

    native = "roi_average"
    tensors = ("input", "boxes")
    others: ClassVar[tuple[str, ...]] = ("output_size", "spatial_scale")
    spoiled: ClassVar[tuple[str, ...]] = ("output_size", "spatial_scale")
    gradients = ("input",)
    sensitive: ClassVar[bool] = False
    """Whether each bin has channels of its own."""

    def legal_arguments(self, rng: random.Random, most_work: int) -> Arguments:
        """Return arguments with at most `most_work` products in the forward pass."""
        while True:
            bins = (rng.choice((1, 2, 4)), rng.choice((1, 2, 4)))
            outputs = rng.choice((1, 2, 5, 17, 70))
            channels = outputs * (bins[0] * bins[1] if self.sensitive else 1)
            images, regions = rng.choice((0, 1, 1, 2, 3)), rng.choice((0, 1, 2, 5))
            size = [rng.choice((1, 1, 2, 3, 5, 8, 13)) for _ in range(2)]
            work = max(64, size[0] * size[1]) * regions * outputs * bins[0] * bins[1]
            if max(work, images * channels * size[0] * size[1]) <= most_work:
                break
        scale = rng.choice((0.5, 1.0))
        options = self.options(rng)
        dtype = rng.choice(DTYPES)
        regions = regions if images else 0
        boxes = make_boxes(rng, regions, images, bins, scale, options.get("sampling_ratio", 1) <= 0)
        tensors = {
            "input": grid(rng, (images, channels, *size), 2).to(dtype),
            "boxes": boxes.to(rng.choice(DTYPES)),
            "grad": grid(rng, (regions, outputs, *bins), 1).to(dtype),
        }
        laid_out = {name: lay_out(rng, value) for name, value in tensors.items()}
        needs = {"needs": [rng.random() < 0.7]}
        return laid_out | {"output_size": bins, "spatial_scale": scale} | options | needs

    def options(self, rng: random.Random) -> dict[str, Any]:
        """Return the further arguments."""
        return {}

    def rule(self, values: Arguments) -> tuple[str, int]:
        """Return the kind of the reference and the samples per bin."""
        raise NotImplementedError

    def check(self, values: Arguments) -> None:
        """Check the arguments: the boxes by their check, and all by a call on the meta device."""
        from deformlab import ops
        from deformlab.ops._impl.rois import check_input, checked_rois

        check_input(self.name, values["input"])
        try:
            checked_rois(self.name, values["input"], values["boxes"])
        except RuntimeError as error:
            # The check of the images' indices needs more memory than there is.
            boxes = values["boxes"]
            if not isinstance(boxes, Tensor) or boxes.numel() < ENDLESS:
                raise
            raise ValueError(str(error)) from error
        on_meta = {name: values[name].to("meta") for name in self.tensors}
        try:
            getattr(ops, self.name)(**(values | on_meta))
        except RuntimeError as error:  # a result with more elements than there are numbers
            raise ValueError(str(error)) from error

    def forward(self, values: Arguments) -> Any:
        """Call the operator."""
        return self.library.roi_average(
            *(values[name] for name in self.tensors), None, None, *self._options(values)
        )

    def backward(self, rng: random.Random, values: Arguments, grad: Any, needs: list[bool]) -> Any:
        """Call the gradient."""
        gradients = self.library.roi_average_backward(
            grad,
            *(values[name] for name in self.tensors),
            None,
            None,
            *self._options(values),
            *needs,
            False,
            False,
        )
        return gradients[:1]

    def reference(self, values: Arguments) -> Any:
        """Call the reference."""
        from deformlab.ops import reference

        kind, samples = self.rule(values)
        return reference.roi_average(
            *(values[name] for name in self.tensors),
            kind=kind,  # type: ignore[arg-type]
            output_size=_pair(values["output_size"]),
            spatial_scale=values["spatial_scale"],
            samples=samples,
            groups=_pair(values["output_size"]) if self.sensitive else (1, 1),
        )

    def tolerance(self, dtype: torch.dtype) -> float:
        """Return the allowed error: means over three cells, say, are not exact."""
        return 4 * torch.finfo(dtype).eps

    def _options(self, values: Arguments) -> tuple[Any, ...]:
        from deformlab.ops.reference.roi_average import Kind

        kind, samples = self.rule(values)
        size = _pair(values["output_size"])
        groups = list(size) if self.sensitive else [1, 1]
        scale = values["spatial_scale"]
        return (get_args(Kind).index(kind), list(size), scale, samples, groups, 0.1)


class RoiAlign(Pooling):
    """RoIAlign, aligned or not, with a fixed or an adaptive number of samples."""

    name = "roi_align"
    others: ClassVar[tuple[str, ...]] = ("output_size", "spatial_scale", "sampling_ratio", "aligned")
    spoiled: ClassVar[tuple[str, ...]] = ("output_size", "spatial_scale", "sampling_ratio")

    def options(self, rng: random.Random) -> dict[str, Any]:
        """Return the further arguments."""
        return {"sampling_ratio": rng.choice((-1, 0, 1, 2, 4)), "aligned": rng.random() < 0.5}

    def rule(self, values: Arguments) -> tuple[str, int]:
        """Return the kind of the reference and the samples per bin."""
        return "align_half" if values.get("aligned", True) else "align", _samples(values)


class PsRoiAlign(RoiAlign):
    """Position-sensitive RoIAlign."""

    name = "ps_roi_align"
    others = ("output_size", "spatial_scale", "sampling_ratio")
    sensitive = True

    def options(self, rng: random.Random) -> dict[str, Any]:
        """Return the further arguments."""
        return {"sampling_ratio": rng.choice((-1, 1, 2, 4))}


class PsRoiPool(Pooling):
    """Position-sensitive pooling over whole cells, by both conventions."""

    name = "ps_roi_pool"
    others = ("output_size", "spatial_scale", "convention")
    sensitive = True

    def options(self, rng: random.Random) -> dict[str, Any]:
        """Return the further arguments."""
        return {"convention": rng.choice(("authors", "torchvision"))}

    def rule(self, values: Arguments) -> tuple[str, int]:
        """Return the kind of the reference and the samples per bin."""
        return f"mean_{values['convention']}", 0


class RoiMeanPool(Pooling):
    """Mean over the bins of max pooling."""

    name = "roi_mean_pool"

    def rule(self, values: Arguments) -> tuple[str, int]:
        """Return the kind of the reference and the samples per bin."""
        return "mean", 0


class RoiPool(Pooling):
    """Max pooling; equal cells are common."""

    name = "roi_pool"
    native = "roi_pool"

    def forward(self, values: Arguments) -> Any:
        """Call the operator."""
        return self._both(values)[0]

    def backward(self, rng: random.Random, values: Arguments, grad: Any, needs: list[bool]) -> Any:
        """Call the gradient, which needs the cells of the maxima."""
        input, boxes = (values[name] for name in self.tensors)
        _, argmax = self._both(values)
        if rng.random() < 0.05:  # must not be followed out of bounds
            spoiled = argmax + rng.choice((-(2**31), -100, 100, 2**31 - 1000))
            self.library.roi_pool_backward(grad, boxes, spoiled, list(input.shape))
        gradient = self.library.roi_pool_backward(grad, boxes, argmax, list(input.shape))
        return [gradient if needs[0] else gradient[:0]]

    def reference(self, values: Arguments) -> Any:
        """Call the reference."""
        from deformlab.ops import reference

        input, boxes = (values[name] for name in self.tensors)
        return reference.roi_pool(input, boxes, _pair(values["output_size"]), values["spatial_scale"])

    def _both(self, values: Arguments) -> Any:
        tensors = (values[name] for name in self.tensors)
        return self.library.roi_pool(*tensors, list(_pair(values["output_size"])), values["spatial_scale"])


def _pair(size: Any) -> Any:
    return size if isinstance(size, tuple) else (size, size)


def _samples(values: Arguments) -> Any:
    samples = values["sampling_ratio"]
    # The public functions take any negative number for an adaptive number of samples.
    return max(samples, 0) if isinstance(samples, int) else samples
