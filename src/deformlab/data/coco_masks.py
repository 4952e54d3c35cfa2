"""COCO's polygons and run lengths as masks, by COCO's own rasteriser."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def decode_mask(
    segmentation: Sequence[Sequence[float]] | Mapping[str, Any], size: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """The mask of one annotation, shape `size`.

    Args:
        segmentation: polygons, each x and y of three points or more in turn, in pixels; or run lengths as
            `{"size": [height, width], "counts": ...}`, counts a list of integers or COCO's compressed text.
        size: height and width of the image.

    Raises:
        ValueError: it is neither, or run lengths are of another size.
    """
    # Compiled, and nothing but COCO needs it.
    from pycocotools import mask

    height, width = size
    if isinstance(segmentation, Mapping):
        return _from_run_lengths(segmentation, size)
    if not isinstance(segmentation, Sequence) or not segmentation:
        raise ValueError("its segmentation is neither polygons nor run lengths")
    for polygon in segmentation:
        # Four numbers would be taken for a box.
        if not isinstance(polygon, Sequence) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon is not x and y of three points or more")
        if not np.isfinite(np.asarray(polygon, dtype=np.float64)).all():
            raise ValueError("a polygon has a coordinate that is not a number")
    encoded = mask.merge(mask.frPyObjects([list(polygon) for polygon in segmentation], height, width))
    return _decode(encoded)


def _decode(encoded: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    from pycocotools import mask

    with warnings.catch_warnings():
        # pycocotools 2.0.11 hands its array to NumPy 2 by an interface of NumPy 1, at every mask.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        return mask.decode(encoded).astype(bool)


def _from_run_lengths(segmentation: Mapping[str, Any], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    from pycocotools import mask

    counts = segmentation.get("counts")
    if list(segmentation.get("size", ())) != list(size):
        raise ValueError(
            f"its run lengths are for height and width {segmentation.get('size')}, the image has {list(size)}"
        )
    if isinstance(counts, str):
        encoded = {"size": list(size), "counts": counts.encode("ascii")}
        if int(mask.area(encoded)) > size[0] * size[1]:
            raise ValueError("its run lengths are longer than the image")
        return _decode(encoded)
    if not isinstance(counts, Sequence) or not all(isinstance(run, int) and run >= 0 for run in counts):
        raise ValueError("its counts are neither integers >= 0 nor COCO's compressed text")
    if sum(counts) != size[0] * size[1]:
        raise ValueError(
            f"its run lengths add up to {sum(counts)}, not to the image's {size[0] * size[1]} pixels"
        )
    # Runs of 0 and 1 in turn, down the columns.
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size[1], size[0]).T
