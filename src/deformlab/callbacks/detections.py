"""Figures of detections during training, and the files that `predict` writes for a detector."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pytorch_lightning.callbacks import BasePredictionWriter

from deformlab.callbacks.predictions import refuse_overwriting, rgb_image
from deformlab.run_folder.files import write_atomically

__all__ = ["DetectionPictures", "DetectionWriter", "draw_boxes"]

# Detections with a lower score are not drawn; the files contain them.
DRAWN_SCORE = 0.3


def draw_boxes(
    image: NDArray[np.uint8],
    boxes: NDArray[np.floating],
    labels: NDArray[np.integer],
    classes: Sequence[str],
    palette: NDArray[np.uint8],
    scores: NDArray[np.floating] | None = None,
) -> NDArray[np.uint8]:
    """An image with boxes in the colours of their classes.

    Args:
        image: RGB, shape (H, W, 3).
        boxes: Left, top, right and bottom edges in pixels of the image, shape (K, 4).
        labels: Class indices, shape (K,).
        classes: Names of the C classes.
        palette: RGB colours of the classes, shape (C, 3).
        scores: Scores in [0, 1], shape (K,), written beside the names; None for objects without scores.

    Returns:
        A new image of the same shape.
    """
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    width = max(1, round(min(picture.size) / 200))
    # The best detection last, so that it is on top.
    for i in reversed(range(len(boxes))):
        colour = tuple(int(value) for value in palette[labels[i]])
        left, top, right, bottom = (float(value) for value in boxes[i])
        # PIL's rectangles include their last pixel.
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=width)
        name = classes[labels[i]]
        text = name if scores is None else f"{name} {scores[i]:.2f}"
        place = (left + width + 1, max(0.0, top + width))
        draw.rectangle(draw.textbbox(place, text), fill=colour)
        draw.text(place, text, fill="white" if sum(colour) < 420 else "black")
    return np.asarray(picture)


class DetectionPictures(pl.Callback):
    """Writes figures of the first validation images at every validation.

    Each figure, `predictions/<number>-<name>.png`, shows the objects and, beside them, the detections with a
    score of at least 0.3.

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
        for i, (name, found) in enumerate(zip(batch["name"], outputs, strict=True)):
            if self._written >= self.count:
                return
            height, width = batch["size"][i]
            image = rgb_image(
                batch["image"][i, :, :height, :width], datamodule.eval_transform, batch["original_size"][i]
            )
            shown = found.scores >= DRAWN_SCORE
            names, palette = datamodule.classes, datamodule.palette
            panels = [
                draw_boxes(image, _array(batch["boxes"][i]), _array(batch["labels"][i]), names, palette),
                draw_boxes(
                    image,
                    _array(found.boxes[shown]),
                    _array(found.labels[shown]),
                    names,
                    palette,
                    _array(found.scores[shown]),
                ),
            ]
            picture = Image.fromarray(np.concatenate(panels, axis=1))
            picture.save(self.directory / f"{self._written:02d}-{name.replace('/', '-')}.png")
            self._written += 1


class DetectionWriter(BasePredictionWriter):
    """Writes the detections of `predict`, as JSON and as pictures.

    `<name>.json` has the image's `size` (height, width) and `detections`: a list of `class`, `score` and
    `box`, which is left, top, width and height in pixels, as in COCO. Networks with masks add `mask`, COCO's
    run lengths. `<name>_boxes.png` shows the detections with a score of at least 0.3.

    Args:
        output: The folder of the files; created if it is missing.
    """

    def __init__(self, output: Path) -> None:
        super().__init__(write_interval="batch")
        self.output = output
        self.written = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuses an output folder in which a file would overwrite an image or another file.

        Raises:
            ConfigError: A file would overwrite an image or another file.
        """
        if stage == "predict":
            datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
            refuse_overwriting(self.output, datamodule.predict_dataset.files, self._files, "JSON file")

    def _files(self, name: str) -> tuple[Path, Path]:
        return self.output / f"{name}.json", self.output / f"{name}_boxes.png"

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
        """Writes the detections of one batch."""
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        self.output.mkdir(parents=True, exist_ok=True)
        for i, (name, found) in enumerate(zip(batch["name"], prediction, strict=True)):
            numbers, picture = self._files(name)
            original_height, original_width = map(int, batch["original_size"][i])
            size = (original_height, original_width)
            content = {"size": size, "detections": _entries(found, datamodule.classes)}
            write_atomically(numbers, json.dumps(content, indent=1) + "\n")
            height, width = batch["size"][i]
            image = rgb_image(batch["image"][i, :, :height, :width], datamodule.eval_transform, size)
            shown = found.scores >= DRAWN_SCORE
            boxes, labels, scores = (
                _array(value[shown]) for value in (found.boxes, found.labels, found.scores)
            )
            drawn = draw_boxes(image, boxes, labels, datamodule.classes, datamodule.palette, scores)
            Image.fromarray(drawn).save(picture)
            self.written += 1


def _entries(found: Any, classes: Sequence[str]) -> list[dict[str, Any]]:
    entries = []
    for i, (box, score, label) in enumerate(
        zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    ):
        left, top, right, bottom = box
        entry: dict[str, Any] = {
            "class": classes[label],
            "score": round(score, 6),
            "box": [round(value, 2) for value in (left, top, right - left, bottom - top)],
        }
        if found.masks is not None:
            mask = found.masks[i]
            entry["mask"] = {"size": list(mask["size"]), "counts": mask["counts"].decode("ascii")}
        entries.append(entry)
    return entries


def _array(values: Any) -> NDArray[Any]:
    return values.detach().float().cpu().numpy() if values.is_floating_point() else values.cpu().numpy()
