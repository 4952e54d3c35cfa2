"""Prediction pictures of the trials, small enough to travel inside a page.

Training leaves image, label and prediction side by side in `predictions/` of each run folder.
"""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from deformlab.analysis.run import natural
from deformlab.analysis.trial import Trial

MAX_PICTURES = 3
MAX_WIDTH = 960


class Picture(NamedTuple):
    """One trial's prediction for one image, as a data URI."""

    trial: str
    seed: int | None
    uri: str


def gallery(trials: Sequence[Trial]) -> dict[str, list[Picture]]:
    """For at most `MAX_PICTURES` images, by name, one picture per trial: that of its smallest seed.

    Unreadable pictures are left out.
    """
    names = sorted(
        {path.name for trial in trials for path in (trial.first.folder / "predictions").glob("*.png")},
        key=natural,
    )
    shown: dict[str, list[Picture]] = {}
    for name in names:
        pictures = []
        for trial in trials:
            path = trial.first.folder / "predictions" / name
            try:
                with Image.open(path) as image:
                    pictures.append(Picture(trial.name, trial.first.seed, _data_uri(image)))
            except (OSError, UnidentifiedImageError):
                continue
        if pictures:
            shown[name] = pictures
        if len(shown) == MAX_PICTURES:
            break
    return shown


def _data_uri(image: Image.Image) -> str:
    image = image.convert("RGB")
    if image.width > MAX_WIDTH:
        image = image.resize((MAX_WIDTH, max(1, image.height * MAX_WIDTH // image.width)))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
