"""Images from the run folders, small enough to embed in the report's page, and links to interactive pages.

Training writes image, label and prediction side by side into `predictions/` of each run folder. Figures of
`deformlab show` are in `pictures/`; it also writes interactive HTML pages.
"""

import base64
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

from PIL import Image, UnidentifiedImageError

from deformlab.analysis.trials import Run, Trial, natural

MAX_PREDICTIONS = 3
MAX_SHOWN = 6
PANEL_WIDTH = 480
FIGURE_WIDTH = 1400
PANELS = ("image", "label", "prediction")
IGNORED_COLOUR = "#000000"


class Picture(NamedTuple):
    """An image or figure as a data URI; `trial` is None if all trials share it."""

    caption: str
    uri: str
    trial: str | None = None


@dataclass(frozen=True)
class Gallery:
    """Predictions and figures of the trials, and links to interactive pages.

    Attributes:
        predictions: For each image its title, and the image, its label and the predictions of all trials.
        shown: For each figure of `deformlab show` its title and the figure of every trial.
        left_out: File names of further figures of `deformlab show`, beyond `MAX_SHOWN`.
        broken: Files that could not be read.
        pages: Caption and address of each interactive page; addresses are relative to the report.
        legend: Name and colour (`#rrggbb`) of each class that occurs in `predictions`.
    """

    predictions: tuple[tuple[str, tuple[Picture, ...]], ...]
    shown: tuple[tuple[str, tuple[Picture, ...]], ...]
    left_out: tuple[str, ...]
    broken: tuple[str, ...]
    pages: tuple[tuple[str, str], ...]
    legend: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to show."""
        return any((self.predictions, self.shown, self.left_out, self.broken, self.pages))


def gallery(trials: Sequence[Trial], output: Path) -> Gallery:
    """Collect the images and figures of the trials for a page in the folder `output`.

    For each file name and trial, the run with the smallest seed that has the file is used.
    """
    broken: list[str] = []
    colours: set[str] = set()
    predictions = tuple(
        (Path(name).stem, pictures)
        for name in _names(trials, "predictions")[:MAX_PREDICTIONS]
        if (pictures := tuple(_predictions(trials, name, broken, colours)))
    )
    names = _names(trials, "pictures")
    shown = tuple(
        (Path(name).stem, pictures)
        for name in names[:MAX_SHOWN]
        if (pictures := tuple(_figures(trials, name, broken)))
    )
    return Gallery(
        predictions,
        shown,
        tuple(names[MAX_SHOWN:]),
        tuple(broken),
        tuple(_pages(trials, output)),
        tuple(_legend(trials, colours)),
    )


def _names(trials: Sequence[Trial], folder: str) -> list[str]:
    paths = (path for trial in trials for run in trial.runs for path in (run.folder / folder).glob("*.png"))
    return sorted({path.name for path in paths}, key=natural)


def _of_each_trial(
    trials: Sequence[Trial], folder: str, name: str, broken: list[str]
) -> Iterator[tuple[Run, Image.Image]]:
    for trial in trials:
        for run in trial.runs:
            path = run.folder / folder / name
            if not path.is_file():
                continue
            try:
                with Image.open(path) as image:
                    yield run, image.convert("RGB")
            except (OSError, UnidentifiedImageError):
                broken.append(f"{run.folder.name}/{folder}/{name}")
            else:
                break


def _predictions(
    trials: Sequence[Trial], name: str, broken: list[str], colours: set[str]
) -> Iterator[Picture]:
    """Yield image and label once, then each trial's prediction; add the colours it finds to `colours`."""
    for number, (run, image) in enumerate(_of_each_trial(trials, "predictions", name, broken)):
        width = image.width // len(PANELS)
        parts = {
            panel: image.crop((i * width, 0, (i + 1) * width, image.height)) for i, panel in enumerate(PANELS)
        }
        if number == 0:
            colours |= _colours(parts["label"])
            for panel in PANELS[:-1]:
                yield Picture(panel, _data_uri(parts[panel], PANEL_WIDTH))
        colours |= _colours(parts["prediction"])
        caption = f"{run.trial}, seed {run.seed}"
        yield Picture(caption, _data_uri(parts["prediction"], PANEL_WIDTH), run.trial)


def _colours(picture: Image.Image) -> set[str]:
    counted = picture.getcolors(picture.width * picture.height) or []
    return {f"#{bytes(cast('tuple[int, int, int]', colour)).hex()}" for _, colour in counted}


def _legend(trials: Sequence[Trial], colours: set[str]) -> Iterator[tuple[str, str]]:
    """Classes whose colours occur; none for early runs, which did not record their palette."""
    known = next((run for trial in trials for run in trial.runs if run.result.palette), None)
    if known is None:
        return
    for name, colour in zip(known.result.classes, known.result.palette, strict=False):
        if colour in colours:
            yield (f"{name}, or ignored" if colour == IGNORED_COLOUR else name), colour
    if IGNORED_COLOUR in colours and IGNORED_COLOUR not in known.result.palette:
        yield "ignored", IGNORED_COLOUR


def _figures(trials: Sequence[Trial], name: str, broken: list[str]) -> Iterator[Picture]:
    for run, image in _of_each_trial(trials, "pictures", name, broken):
        yield Picture(f"{run.trial}, seed {run.seed}", _data_uri(image, FIGURE_WIDTH), run.trial)


def _pages(trials: Sequence[Trial], output: Path) -> Iterator[tuple[str, str]]:
    for trial in trials:
        for run in trial.runs:
            for path in sorted([*run.folder.glob("*.html"), *(run.folder / "pictures").glob("*.html")]):
                address = Path(os.path.relpath(path, output)).as_posix()
                yield f"{run.trial}, seed {run.seed}: {path.name}", address


def _data_uri(image: Image.Image, width: int) -> str:
    if image.width > width:
        image = image.resize((width, max(1, image.height * width // image.width)))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
