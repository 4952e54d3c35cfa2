"""A page on which one clicks on an image and sees where that unit of a network samples.

One file that needs no network: the samples of a grid of units are computed beforehand and lie in it.
"""

import base64
import io
import json
from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from PIL import Image

from deformlab.errors import ConfigError
from deformlab.inspection.network import TrainedNetwork
from deformlab.inspection.scene import Scene
from deformlab.inspection.unit_grid import Levels, bytes_per_unit, levels_of, sampling_grid

__all__ = ["MAX_BYTES", "unit_page", "write_unit_page"]

MAX_BYTES = 10_000_000
# Markup, style and script, and the JSON around the samples.
RESERVED = 100_000
# Fewer units than this in a view say little about an image.
FEWEST_UNITS = 16
MAX_WIDTH = 1280


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
