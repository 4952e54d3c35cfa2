"""`deformlab show` as a command: says what it does, shows how far it is, prints what it wrote."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from deformlab.errors import ConfigError
from deformlab.inspection.network import load_network
from deformlab.inspection.page import write_unit_page
from deformlab.inspection.scene import read_scene
from deformlab.inspection.show import KINDS, Show, seen_as

__all__ = ["run"]

SUFFIXES = (".png", ".pdf")


def run(
    kind: str, checkpoint: Path, images: Sequence[str], output: Path | None = None, **options: Any
) -> int:
    """Draws one picture or all of them, or writes the page of units.

    Args:
        kind: One of `KINDS`, `all`, or `units`.
        checkpoint: As in `Show`.
        images: As in `Show`; several only with `units`.
        output: A file; with `all`, a folder. None for files named by kind and image in this folder.
        options: Further options of `Show`.

    Returns:
        The exit code.

    Raises:
        DeformlabError: Something the user can mend.
    """
    if kind == "units":
        return _units(checkpoint, images, output, **options)
    if kind not in (*KINDS, "all"):
        raise ConfigError(
            f"show {kind}: there is no such picture; choose one of {', '.join(KINDS)}, units, or all"
        )
    if len(images) > 1:
        raise ConfigError(
            f"show {kind}: draws one image, but {len(images)} are given; several go with show units"
        )
    image = images[0]
    if output is not None and kind != "all" and output.suffix not in SUFFIXES:
        raise ConfigError(f"--output {output}: must end in .png or .pdf; both are written")
    console = Console(stderr=True)
    with console.status("reading the network") as status:
        # Without a terminal nothing of the status is seen, and nothing needs to be.
        show = Show(
            checkpoint, image, say=lambda line: print(line, flush=True), progress=status.update, **options
        )
        for name in KINDS if kind == "all" else (kind,):
            reason = show.why_not(name) if kind == "all" else None
            if reason is not None:
                print(f"left out {reason}")
                continue
            status.update(f"drawing {name}")
            path = output / f"{name}-{show.scene.name}.png" if output and kind == "all" else output
            print(f"wrote {' and '.join(str(file) for file in show.save(name, path))}", flush=True)
    return 0


def _units(
    checkpoint: Path,
    images: Sequence[str],
    output: Path | None,
    *,
    compare: Path | None,
    at: Sequence[str],
    layer: str | None,
    levels: int,
    error_bound: float,
) -> int:
    """Writes the page of units; `at` and `error_bound` are of other pictures and mean nothing to it."""
    if at:
        raise ConfigError("--at: show units has every unit; on the page one clicks on the image")
    if not 1 <= levels <= 4:
        raise ConfigError(f"--levels {levels}: choose 1 to 4; each level has nine times as many samples")
    if output is not None and output.suffix != ".html":
        raise ConfigError(f"--output {output}: must end in .html; show units writes a page")
    console = Console(stderr=True)
    with console.status("reading the network") as status:
        networks = [load_network(path) for path in (checkpoint, compare) if path is not None]
        scenes = [read_scene(image, networks[0]) for image in images]
        for scene in scenes:
            print(seen_as(networks[0], scene), flush=True)
        page = output or Path(f"units-{scenes[0].name}.html")
        write_unit_page(networks, scenes, page, levels=levels, layer=layer, progress=status.update)
    print(f"wrote {page} ({page.stat().st_size / 1e6:.1f} MB)")
    return 0
