"""An interactive HTML page: click on an image to see where the unit there samples.

The page is one file that loads nothing from elsewhere. It contains precomputed samples of a grid of units.
Points are stored as 16-bit multiples of `step` pixels of the image, and weights as 8 bits. Weight 0 marks a
sample outside the feature map, which reads zero.
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
# Bytes for markup, style, script, and the JSON around the samples.
RESERVED = 100_000
# Fewer units than this per view show too little of an image.
FEWEST_UNITS = 16
MAX_WIDTH = 1280
# Points are clipped at this many image sides from the origin, far outside the visible area.
FAR = 4.0
# Per point: y and x with 16 bits, weight with 8 bits. Per unit: effective dilation with 32 bits.
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
    """Writes the interactive page of units to a file.

    Args:
        networks: As for `unit_page`.
        scenes: As for `unit_page`.
        output: The HTML file.
        levels: As for `unit_page`.
        layer: As for `unit_page`.
        progress: As for `unit_page`.

    Returns:
        `output`.

    Raises:
        ConfigError: As for `unit_page`, or the file cannot be written.
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
    """Builds the interactive page of units.

    The page has at most `MAX_BYTES` bytes, so the grid of units is coarser with more networks and images.

    Args:
        networks: The networks to choose from, for example a deformable and an atrous one.
        scenes: The images to choose from.
        levels: Number of consecutive layers through which units are followed, >= 1.
        layer: The layer of the units; None for the last one.
        progress: Called with a description of each step.

    Returns:
        The HTML text.

    Raises:
        ConfigError: The layer does not exist, there are fewer layers than `levels`, or the images leave no
            room for units.
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
            f"--levels {levels}: {len(scenes)} images and {len(networks)} networks leave room for only "
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
    """A view of the units of `layer`: their own filters (one level), or followed through several levels."""

    layer: str
    levels: int


def levels_of(network: TrainedNetwork, levels: int = 3, layer: str | None = None) -> list[Levels]:
    """The views of a network: each of its last layers alone, and the last one through several levels.

    Args:
        network: The network.
        levels: Number of 3x3 convolutions.
        layer: The last of these layers; None for the last layer of the network.

    Raises:
        ConfigError: The network has fewer layers.
    """
    names = level_names(network, levels, layer)
    alone = [Levels(name, 1) for name in reversed(names)]
    return [alone[0], *(Levels(names[-1], depth) for depth in range(2, levels + 1)), *alone[1:]]


def bytes_per_unit(view: Levels) -> float:
    """Number of characters that one unit takes in the page, in base64."""
    points = 9**view.levels
    return (points * BYTES_PER_POINT + BYTES_PER_UNIT) * 4 / 3


def sampling_grid(network: TrainedNetwork, scene: Scene, view: Levels, most: int) -> dict[str, Any]:
    """The samples of at most `most` units, evenly spaced over the output of `view.layer`.

    Returns:
        A dictionary for JSON: `map`, rows and columns of the layer's output; `rows` and `columns` of the
        units; `step` in pixels of the image. The following arrays are in little-endian base64, with units in
        row order: `points` (M, P, 2), int16 (y, x) in steps; `weights` (M, P), uint8, where 255 means
        `weight_scale`; `dilation` (M,), float32 in cells; `centres` (M, 2), float32, the centres of the
        undeformed filters in pixels.
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
    # Small positive weights must not become 0.
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
    """Rows and columns of at most `most` cells with equal spacing in both directions."""
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
    """Units of this view per unit of the deepest view; views with fewer samples per unit get more units."""
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
