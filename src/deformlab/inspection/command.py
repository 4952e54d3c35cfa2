"""`deformlab show` as a command: says what it does, shows how far it is, prints what it wrote."""

from pathlib import Path
from typing import Any

from rich.console import Console

from deformlab.errors import ConfigError
from deformlab.inspection.show import KINDS, Show

__all__ = ["run"]

SUFFIXES = (".png", ".pdf")


def run(kind: str, checkpoint: Path, image: str, output: Path | None = None, **options: Any) -> int:
    """Draws one picture or all of them.

    Args:
        kind: One of `KINDS`, or `all`.
        checkpoint: As in `Show`.
        image: As in `Show`.
        output: A file; with `all`, a folder. None for files named by kind and image in this folder.
        options: Further options of `Show`.

    Returns:
        The exit code.

    Raises:
        DeformlabError: Something the user can mend.
    """
    if kind not in (*KINDS, "all"):
        raise ConfigError(f"show {kind}: there is no such picture; choose one of {', '.join(KINDS)}, or all")
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
