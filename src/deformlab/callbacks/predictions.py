"""Figures of predictions during training, and the class maps that `predict` writes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from PIL import Image
from pytorch_lightning.callbacks import BasePredictionWriter
from torch import Tensor

from deformlab.errors import ConfigError
from deformlab.labels import IGNORED

__all__ = ["PredictionPictures", "PredictionWriter", "colourise", "refuse_overwriting", "rgb_image"]

BLACK = (0, 0, 0)
# From left to right.
PANELS = ("image", "label", "prediction")


def colourise(classes: NDArray[np.integer], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A class map in colours; ignored pixels are black.

    Args:
        classes: Class indices or `IGNORED`, shape (H, W).
        palette: RGB colours of the classes, shape (C, 3).

    Returns:
        An RGB image, shape (H, W, 3).
    """
    table = np.full((256, 3), BLACK, dtype=np.uint8)
    table[: len(palette)] = palette
    return table[classes.astype(np.uint8)]


class PredictionPictures(pl.Callback):
    """Writes figures of the first validation images at every validation.

    Each figure, `predictions/<number>-<name>.png`, shows image, label map and prediction side by side.

    Args:
        run_dir: The run folder.
        count: Number of images.
    """

    def __init__(self, run_dir: Path, count: int = 4) -> None:
        self.directory = run_dir / "predictions"
        self.count = count
        self._written = 0

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts again with the first image."""
        self._written = 0

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Writes the figures of the first `count` images."""
        if not trainer.is_global_zero or self._written >= self.count:
            return
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        self.directory.mkdir(parents=True, exist_ok=True)
        for image, label, prediction, name in zip(
            batch["image"], batch["label"], outputs, batch["name"], strict=True
        ):
            if self._written >= self.count:
                return
            prediction = prediction.cpu().numpy()
            label = label.cpu().numpy()
            panels = [
                rgb_image(image, datamodule.eval_transform, label.shape),
                colourise(label, datamodule.palette),
                colourise(np.where(label == IGNORED, IGNORED, prediction), datamodule.palette),
            ]
            picture = Image.fromarray(np.concatenate(panels, axis=1))
            picture.save(self.directory / f"{self._written:02d}-{name.replace('/', '-')}.png")
            self._written += 1


class PredictionWriter(BasePredictionWriter):
    """Writes the class maps of `predict` as PNG files.

    `<name>.png` contains class indices, `<name>_color.png` the classes' colours. A class map has the size and
    orientation in which a viewer shows the image: EXIF orientation is applied to it, and the files have no
    EXIF data.

    Args:
        output: The folder of the class maps; created if it is missing.
    """

    def __init__(self, output: Path) -> None:
        super().__init__(write_interval="batch")
        self.output = output
        self.written = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuses an output folder in which a class map would overwrite an image or another class map.

        Raises:
            ConfigError: A class map would overwrite an image or another class map.
        """
        if stage != "predict":
            return
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        refuse_overwriting(self.output, datamodule.predict_dataset.files, self._files, "class map")

    def _files(self, name: str) -> tuple[Path, Path]:
        return self.output / f"{name}.png", self.output / f"{name}_color.png"

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        prediction: Any,
        batch_indices: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Writes the class maps of one batch."""
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        self.output.mkdir(parents=True, exist_ok=True)
        for name, classes in zip(batch["name"], prediction, strict=True):
            array = classes.cpu().numpy()
            numbers, colours = self._files(name)
            Image.fromarray(array).save(numbers)
            Image.fromarray(colourise(array, datamodule.palette)).save(colours)
            self.written += 1


def refuse_overwriting(
    output: Path, images: Sequence[Path], files: Callable[[str], tuple[Path, ...]], what: str
) -> None:
    """Refuses an output folder in which a written file would overwrite an image or another file.

    Args:
        output: The folder.
        images: The files of the images.
        files: The files that are written for an image, by the stem of its name.
        what: What is written, for the message.

    Raises:
        ConfigError: A file would be overwritten.
    """
    if output.resolve() in {image.parent.resolve() for image in images}:
        raise ConfigError(
            f"--output {output}: is the folder of the images and would overwrite them; name another"
        )
    image_of: dict[Path, Path] = {}
    for image in images:
        for written in files(image.stem):
            other = image_of.setdefault(written, image)
            if other != image:
                raise ConfigError(
                    f"{other}: its {what} and that of {image.name} would both be written to "
                    f"{written.name}; rename one of the images"
                )


def rgb_image(image: Tensor, transform: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The network's input as an RGB image.

    Args:
        image: Normalised image, shape (3, H, W).
        transform: The transform that normalised it, with `mean` and `std`.
        size: Height and width of the result.
    """
    array = image.detach().float().cpu().permute(1, 2, 0).numpy()
    array = (array * np.asarray(transform.std) + np.asarray(transform.mean)) * 255
    picture = Image.fromarray(array.round().clip(0, 255).astype(np.uint8))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))
