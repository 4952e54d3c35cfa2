"""A page on which one clicks on an image and sees where that unit of a network samples.

One file that needs no network: it holds the samples of a grid of units, computed beforehand. Points are whole
numbers, multiples of `step` pixels of the image, in 16 bits. Weights have 8 bits, 0 for a sample that falls
outside the map and does not count.
"""

import base64
import io
import json
from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deformlab.errors import ConfigError
from deformlab.inspection.network import TrainedNetwork
from deformlab.inspection.scene import Scene
from deformlab.inspection.units import Unit
from deformlab.inspection.views import cells_of, level_names, sampling_panels

__all__ = [
    "MAX_BYTES",
    "Levels",
    "bytes_per_unit",
    "levels_of",
    "sampling_grid",
    "unit_page",
    "write_unit_page",
]

MAX_BYTES = 10_000_000
# Markup, style and script, and the JSON around the samples.
RESERVED = 100_000
# Fewer units than this in a view say little about an image.
FEWEST_UNITS = 16
MAX_WIDTH = 1280
# Points this many image sides away are drawn no farther: they are off the picture at any size.
FAR = 4.0
# Per point: y and x in 16 bits, a weight in 8. Per unit: its effective dilation in 32.
BYTES_PER_POINT = 5
BYTES_PER_UNIT = 4


def write_unit_page(
    networks: Sequence[TrainedNetwork],
    scenes: Sequence[Scene],
    output: Path,
    *,
    levels: int = 3,
    layer: str | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Path:
    """Writes the page; arguments as for `unit_page`.

    Raises:
        ConfigError: As `unit_page`, or the file cannot be written.
    """
    text = unit_page(networks, scenes, levels=levels, layer=layer, progress=progress)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"--output {output}: cannot be written ({error.strerror}); choose another file"
        ) from error
    return output


def unit_page(
    networks: Sequence[TrainedNetwork],
    scenes: Sequence[Scene],
    *,
    levels: int = 3,
    layer: str | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> str:
    """The page, at most `MAX_BYTES` long: the more networks and images, the coarser the grids of units.

    Args:
        networks: Those that can be chosen, for example deformable and atrous.
        scenes: The images.
        levels: Through how many layers units are followed.
        layer: The units' layer; None for the last one.
        progress: Told what is being computed.

    Raises:
        ConfigError: There is no such layer, there are not so many levels, or the images leave no room.
    """
    pictures = [_picture(scene) for scene in scenes]
    room = MAX_BYTES - RESERVED - sum(len(picture) for picture in pictures)
    views = [levels_of(network, levels, layer) for network in networks]
    cost = len(scenes) * sum(
        _density(view, levels) * bytes_per_unit(view) for listed in views for view in listed
    )
    most = int(room // cost)
    if most < FEWEST_UNITS:
        raise ConfigError(
            f"--levels {levels}: {len(scenes)} images and {len(networks)} networks leave room for "
            f"{max(most, 0)} units each in a page of {MAX_BYTES // 10**6} MB; give fewer images or levels"
        )
    content = []
    for scene, picture in zip(scenes, pictures, strict=True):
        shown = []
        for network, listed in zip(networks, views, strict=True):
            progress(f"{scene.name}: units of {network.name}")
            grids = [sampling_grid(network, scene, view, most * _density(view, levels)) for view in listed]
            shown.append({"name": network.name, "views": grids})
        content.append({"name": scene.name, "size": scene.size, "picture": picture, "networks": shown})
    return _html(content, [network.name for network in networks])


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


def _density(view: Levels, levels: int) -> int:
    """How many units of a view there are for one that is followed down: the fewer samples, the more units."""
    return 2 ** (levels - view.levels)


def _picture(scene: Scene) -> str:
    image = Image.fromarray(scene.image)
    if image.width > MAX_WIDTH:
        image = image.resize((MAX_WIDTH, max(1, image.height * MAX_WIDTH // image.width)))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _html(content: list[dict], names: Sequence[str]) -> str:
    style = files("deformlab.analysis").joinpath("templates/report.css").read_text("utf-8")
    own = files("deformlab.inspection")
    # Inside a script element only "<" can end it.
    data = json.dumps({"images": content}, separators=(",", ":")).replace("<", "\\u003c")
    title = escape("Where units sample: " + " and ".join(names))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}{own.joinpath('page.css').read_text('utf-8')}</style>\n"
        f"</head>\n<body>\n<h1>{title}</h1>\n{own.joinpath('page.html').read_text('utf-8')}"
        f'<script type="application/json" id="data">{data}</script>\n'
        f"<script>\n{own.joinpath('page.js').read_text('utf-8')}</script>\n</body>\n</html>\n"
    )
