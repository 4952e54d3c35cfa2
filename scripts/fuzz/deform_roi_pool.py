"""Random calls of deform_roi_pool, which runs on the library's operator roi_average."""

import random
from typing import Any, get_args

import torch
from torch import Tensor

from fuzz.operator import DTYPES, ENDLESS, FAR, Arguments, Operator, grid, lay_out

__all__ = ["DeformRoiPool", "make_boxes"]


class DeformRoiPool(Operator):
    """Regions on half pixels, many at the border and some far away or NaN; all uses, with and without masks.

    All bins, parts, samples and scales are powers of two, so that positions and weights are exact.
    """

    name = "deform_roi_pool"
    native = "roi_average"
    share = 3
    tensors = ("input", "boxes", "offset", "mask")
    others = (
        "output_size",
        "spatial_scale",
        "group_size",
        "part_size",
        "samples_per_bin",
        "gamma",
        "convention",
    )
    spoiled = ("output_size", "spatial_scale", "group_size", "samples_per_bin", "gamma")
    gradients = ("input", "offset", "mask")

    def legal_arguments(self, rng: random.Random, most_work: int) -> Arguments:
        """Return arguments with at most `most_work` products in the forward pass."""
        while True:
            bins = (rng.choice((1, 2, 4)), rng.choice((1, 2, 4)))
            group, part, classes = rng.choice((1, 1, 2, 4)), rng.choice((1, 2, 4)), rng.choice((1, 1, 2, 3))
            outputs = classes * rng.choice((1, 2, 5, 17, 70))
            images, regions = rng.choice((0, 1, 1, 2, 3)), rng.choice((0, 1, 2, 5))
            size = [rng.choice((1, 1, 2, 3, 5, 8, 13)) for _ in range(2)]
            work = 16 * regions * outputs * bins[0] * bins[1] * 4
            if max(work, images * outputs * group**2 * size[0] * size[1]) <= most_work:
                break
        convention = rng.choice(("authors", "authors", "aligned"))
        samples = rng.choice((1, 2) if convention == "authors" else (0, 1, 2, 4))
        scale = rng.choice((0.5, 1.0))
        dtype = rng.choice(DTYPES)
        offset_dtype = rng.choice((dtype, torch.float32)) if dtype.itemsize == 2 else dtype
        regions = regions if images else 0
        boxes = make_boxes(rng, regions, images, bins, scale, convention == "aligned" and samples == 0)
        parts = (regions, 2 * classes, part, part)
        tensors = {
            "input": grid(rng, (images, outputs * group**2, *size), 2).to(dtype),
            "boxes": boxes.to(rng.choice(DTYPES)),
            "offset": _offsets(rng, parts).to(offset_dtype) if rng.random() < 0.7 else None,
            "mask": (grid(rng, (regions, classes, part, part), 2) / 2).to(dtype)
            if rng.random() < 0.5
            else None,
            "grad": grid(rng, (regions, outputs, *bins), 1).to(dtype),
        }
        laid_out = {name: None if value is None else lay_out(rng, value) for name, value in tensors.items()}
        return laid_out | {
            "output_size": bins,
            "spatial_scale": scale,
            "group_size": group,
            "part_size": part,
            "samples_per_bin": samples,
            "gamma": rng.choice((0.25, 0.5)),
            "convention": convention,
            "needs": [rng.random() < 0.7 for _ in range(3)],
        }

    def check(self, values: Arguments) -> None:
        """Check the arguments."""
        from deformlab.ops.deform_roi_pool import check_deform_roi_pool

        try:
            check_deform_roi_pool(**values)
        except RuntimeError as error:
            # The check of the images' indices needs more memory than there is.
            boxes = values["boxes"]
            if not isinstance(boxes, Tensor) or boxes.numel() < ENDLESS:
                raise
            raise ValueError(str(error)) from error

    def forward(self, values: Arguments) -> Any:
        """Call the operator."""
        return self.library.roi_average(*(values[name] for name in self.tensors), *_options(values))

    def backward(self, rng: random.Random, values: Arguments, grad: Any, needs: list[bool]) -> Any:
        """Call the gradient."""
        tensors = [values[name] for name in self.tensors]
        return self.library.roi_average_backward(grad, *tensors, *_options(values), *needs)

    def reference(self, values: Arguments) -> Any:
        """Call the reference."""
        from deformlab.ops import reference

        input, boxes, offset, mask = (values[name] for name in self.tensors)
        size, group = values["output_size"], values["group_size"]
        return reference.roi_average(
            input,
            boxes,
            offset,
            mask,
            kind="authors" if values["convention"] == "authors" else "align_half",
            output_size=size if isinstance(size, tuple) else (size, size),
            spatial_scale=values["spatial_scale"],
            samples=values["samples_per_bin"],
            groups=(group, group),
            gamma=values["gamma"],
        )

    def tolerance(self, dtype: torch.dtype) -> float:
        """Return the allowed error: a spoiled scale or γ may be legal, and then products are not exact."""
        return 4 * torch.finfo(dtype).eps


def _options(values: Arguments) -> tuple[Any, ...]:
    from deformlab.ops.reference.roi_average import Kind

    size, group = values["output_size"], values["group_size"]
    return (
        get_args(Kind).index("authors" if values["convention"] == "authors" else "align_half"),
        list(size) if isinstance(size, tuple) else [size, size],
        values["spatial_scale"],
        values["samples_per_bin"],
        [group, group],
        values["gamma"],
    )


def make_boxes(
    rng: random.Random, regions: int, images: int, bins: tuple[int, int], scale: float, adaptive: bool
) -> Tensor:
    """Return regions (K, 5) with corners on half pixels."""
    corner = grid(rng, (regions, 2), rng.choice((4, 20))) / 2
    if adaptive:  # as many samples as a power of two, or none
        cells = [[rng.choice((0, 1, 2, 4)) * count for count in reversed(bins)] for _ in range(regions)]
        size = torch.tensor(cells, dtype=torch.float64).reshape(regions, 2) / scale
    else:
        size = grid(rng, (regions, 2), 12).abs() / 2
    index = [[rng.randrange(images)] for _ in range(regions)]
    boxes = torch.cat(
        [torch.tensor(index, dtype=torch.float64).reshape(regions, 1), corner, corner + size], 1
    )
    if regions and rng.random() < 0.3:
        far = [value for value in FAR if value != 0]
        boxes[rng.randrange(regions), rng.randrange(1, 5)] = rng.choice(far)
    if regions and rng.random() < 0.05:  # must be refused
        boxes[rng.randrange(regions), 0] = rng.choice((-1, images, 0.5, *FAR[:4]))
    return boxes


def _offsets(rng: random.Random, shape: tuple[int, ...]) -> Tensor:
    """Return offsets that put many samples on whole cells and on the border; some are far away or NaN."""
    values = grid(rng, shape, 4) / 2
    if rng.random() < 0.4:
        flat = values.view(-1)
        for _ in range(values.numel() // 8):
            flat[rng.randrange(values.numel())] = rng.choice(FAR)
    return values
