"""Records of several networks on the same images put together, as for the seeds of one trial."""

from collections.abc import Sequence

import numpy as np

from deformlab.objects.records import ObjectRecords

_SUMMED = (
    "pixels",
    "hits",
    "false_positives",
    "filters",
    "total",
    "squares",
    "weighted",
    "group_total",
    "group_squares",
)


def merge_records(parts: Sequence[ObjectRecords]) -> ObjectRecords:
    """One row per object of an image, with the sums of all parts; an object is counted once.

    Raises:
        ValueError: The parts have different layers, offset groups or modulation.
    """
    first = parts[0]
    for part in parts[1:]:
        if (part.layers, part.groups, part.modulated) != (first.layers, first.groups, first.modulated):
            raise ValueError(
                f"layers {', '.join(part.layers)} and {', '.join(first.layers)} do not go together"
            )
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ObjectRecords._fields[3:]
    }
    _, image = np.unique(columns["image"], return_inverse=True)
    keys = np.stack([image, columns["object"], columns["label"]])
    _, index, row = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    row = row.reshape(-1)
    merged = {name: column[index] for name, column in columns.items()}
    for name in _SUMMED:
        sums = np.zeros((len(index), *columns[name].shape[1:]), dtype=columns[name].dtype)
        np.add.at(sums, row, columns[name])
        merged[name] = sums
    return first._replace(**merged)
