"""Records of several networks on the same images put together, as for the seeds of one trial."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deformlab.objects.filter_sums import FilterSums
from deformlab.objects.records import ObjectRecords

_SUMMED = ("pixels", "hits", "false_positives", "ring_filters", "ring_total")
_DESCRIBED = ("layers", "groups", "modulated", "margins")


def merge_records(parts: Sequence[ObjectRecords]) -> ObjectRecords:
    """One row per object of an image, with the sums of all parts; an object is counted once.

    Raises:
        ValueError: The parts are not `alike`.
    """
    first = parts[0]
    for part in parts[1:]:
        if not alike(part, first):
            raise ValueError(
                f"layers {', '.join(part.layers)} and {', '.join(first.layers)} do not go together"
            )

    def together(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    _, image = np.unique(together("image"), return_inverse=True)
    keys = np.stack([image, together("object"), together("label")])
    _, index, row = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    row = row.reshape(-1)

    def summed(column: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(index), *column.shape[1:]), dtype=column.dtype)
        np.add.at(sums, row, column)
        return sums

    merged: dict[str, Any] = {}
    for name in ObjectRecords._fields[len(_DESCRIBED) :]:
        if isinstance(getattr(first, name), FilterSums):
            of_parts = zip(*(getattr(part, name) for part in parts), strict=True)
            merged[name] = FilterSums(*(summed(np.concatenate(columns)) for columns in of_parts))
        else:
            merged[name] = summed(together(name)) if name in _SUMMED else together(name)[index]
    return first._replace(**merged)


def alike(one: ObjectRecords, other: ObjectRecords) -> bool:
    """Whether both have the same layers, offset groups, modulation and margins."""
    return all(getattr(one, name) == getattr(other, name) for name in _DESCRIBED)
