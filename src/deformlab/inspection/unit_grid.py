"""What a page needs to show where any unit of a network samples: a grid of units, small enough to travel.

Points are whole numbers: multiples of `step` pixels of the image, in 16 bits. Weights have 8 bits, 0 for a
sample that falls outside the map and does not count.
"""

import base64
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deformlab.inspection.network import TrainedNetwork
from deformlab.inspection.scene import Scene
from deformlab.inspection.units import Unit
from deformlab.inspection.views import cells_of, level_names, sampling_panels

__all__ = ["Levels", "bytes_per_unit", "levels_of", "sampling_grid"]

# Points this many image sides away are drawn no farther: they are off the picture at any size.
FAR = 4.0
# Per point: y and x in 16 bits, a weight in 8. Per unit: its effective dilation in 32.
BYTES_PER_POINT = 5
BYTES_PER_UNIT = 4


class Levels(NamedTuple):
    """One way to look at a unit of `layer`: its own filter, or followed down through `levels` of them."""

    layer: str
    levels: int


def levels_of(network: TrainedNetwork, levels: int = 3, layer: str | None = None) -> list[Levels]:
    """Each of the last `levels` 3x3 convolutions by itself, and the last one followed down step by step.

    Args:
        network: The network.
        levels: How many layers.
        layer: The last of them; None for the network's last.

    Raises:
        ConfigError: There are not so many layers.
    """
    names = level_names(network, levels, layer)
    alone = [Levels(name, 1) for name in reversed(names)]
    return [alone[0], *(Levels(names[-1], depth) for depth in range(2, levels + 1)), *alone[1:]]


def bytes_per_unit(view: Levels) -> float:
    """Characters that one unit takes in a page, in base64."""
    points = 9**view.levels
    return (points * BYTES_PER_POINT + BYTES_PER_UNIT) * 4 / 3


def sampling_grid(network: TrainedNetwork, scene: Scene, view: Levels, most: int) -> dict[str, Any]:
    """The samples of at most `most` units, evenly over the map of `view.layer`.

    Returns:
        As JSON takes it: `map` (rows, columns) of the layer's output; `rows` and `columns` of the units;
        `step` in pixels of the image; and in base64, little-endian, units in row order: `points` (M, P, 2)
        as int16 (y, x), `weights` (M, P) as uint8, where 255 is `weight_scale`, `dilation` (M) in cells and
        `centres` (M, 2) of the undeformed filters in pixels, as float32.
    """
    size = cells_of(network, scene, view.layer).size
    rows, columns = _every(size, most)
    units = [Unit("", (0, 0), (row, column)) for row in rows for column in columns]
    panels = sampling_panels(network, scene, units, view.levels, view.layer)
    limit = FAR * max(scene.size)
    points = np.stack([panel.points for panel in panels])
    points = np.clip(np.nan_to_num(points, posinf=limit, neginf=-limit), -limit, limit)
    weights = np.stack([np.where(panel.inside, panel.weight, 0) for panel in panels])
    scale = max(1.0, float(weights.max()))
    # A small weight is not none.
    coded = np.where(weights > 0, np.maximum(1, np.round(weights / scale * 255)), 0)
    step = limit / 32767
    return {
        "layer": view.layer,
        "levels": view.levels,
        "map": list(size),
        "rows": rows,
        "columns": columns,
        "step": step,
        "weight_scale": scale,
        "points": _text(np.round(points / step), "<i2"),
        "weights": _text(coded, "u1"),
        "dilation": _text(np.array([panel.effective_dilation for panel in panels]), "<f4"),
        "centres": _text(np.stack([panel.unit.centre for panel in panels]), "<f4"),
    }


def _every(size: tuple[int, int], most: int) -> tuple[list[int], list[int]]:
    """Rows and columns of at most `most` cells, the same distance apart in both directions."""
    step = 1
    while ceil(size[0] / step) * ceil(size[1] / step) > most:
        step += 1
    return _centred(size[0], step), _centred(size[1], step)


def _centred(cells: int, step: int) -> list[int]:
    number = ceil(cells / step)
    first = (cells - 1 - (number - 1) * step) // 2
    return list(range(first, cells, step))


def _text(values: NDArray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values.astype(kind)).tobytes()).decode()
