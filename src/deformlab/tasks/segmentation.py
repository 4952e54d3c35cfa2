"""Semantic segmentation with DeepLab: atrous against deformable conv5 (DCNv1 sections 2.3 and 4.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn import functional as F

from deformlab.errors import ConfigError, DatasetError
from deformlab.labels import IGNORED
from deformlab.metrics import EffectiveDilation, MeanIoU, ObjectScores, find_objects
from deformlab.models import DeepLab, build_backbone
from deformlab.options import check_choices
from deformlab.records import NO_OBJECTS, SizeRule
from deformlab.tasks.base import BaseTask

__all__ = ["Evaluation", "SemanticSegmentation"]

MAX_SCALE = 16


@dataclass
class Evaluation:
    """Options of the evaluation, which is on whole images at the resolution of their label maps.

    Raises:
        ConfigError: An option is out of its range.
    """

    scales: Sequence[float] = (1.0,)
    """Factors on the size of the network's input, each > 0 and <= 16; softmax scores are averaged."""

    flip: bool = False
    """Whether to average over the mirrored image too, at each scale."""

    object_sizes: tuple[float, float] | Literal["thirds"] = (96.0**2, 224.0**2)
    """Two areas in pixels, 0 < first <= second: objects below the first are small, above the second large
    (DCNv1 table 2: 96² and 224²). `thirds`: areas that divide the validated objects into three equal
    parts."""

    object_area: Literal["box", "mask"] = "box"
    """An object's area: `box`, that of its bounding box (DCNv1); `mask`, its number of pixels."""

    object_pixels: Literal["original", "network"] = "original"
    """Unit of areas: pixels of the `original` label map, or of the `network`'s input."""

    object_region: Literal["mask", "box"] = "mask"
    """The object to which a filter belongs: `mask`, the one whose mask covers the filter's centre; `box`, the
    one with the smallest bounding box that contains it (DCNv1 had boxes only)."""

    @property
    def single_pass(self) -> bool:
        """Whether the network runs only once per image: at scale 1, not mirrored."""
        return list(self.scales) == [1.0] and not self.flip

    def __post_init__(self) -> None:
        """Refuses illegal scales and object sizes."""
        if not self.scales or not all(0 < scale <= MAX_SCALE for scale in self.scales):
            raise ConfigError(
                f"scales must be one or more factors > 0 and <= {MAX_SCALE}, got {list(self.scales)}"
            )
        check_choices(self)
        SizeRule(self.object_sizes, self.object_area, self.object_pixels)


class SemanticSegmentation(BaseTask):
    """Trains and evaluates DeepLab on a segmentation data set.

    Args:
        head_channels: Number of channels between the 1x1 reduction and the classifier, 1 to 65536.
        evaluation: Scales, flip, and how object sizes are measured.
        options: The options of `BaseTask`: `num_classes`, `optimization`, the weights and the backbone's
            options.

    Raises:
        ConfigError: An option is out of its range.
        CheckpointError: Initial weights cannot be read or do not fit the network.
    """

    monitor = "val/miou"

    def __init__(
        self,
        *,
        head_channels: int = 1024,
        evaluation: Evaluation = Evaluation(),  # noqa: B008 (never modified)
        **options: Any,
    ) -> None:
        self.head_channels = head_channels
        self.evaluation = evaluation
        self._doubted: set[str] = set()
        super().__init__(**options)

    def configure_models(self) -> None:
        """Creates DeepLab on the backbone."""
        backbone = build_backbone(self.backbone_config)
        self.model: DeepLab = DeepLab(backbone, self.num_classes, head_channels=self.head_channels)

    def configure_losses(self) -> None:
        """Creates the cross-entropy loss, as a sum, because a mean over no pixels would be nan."""
        self.loss = nn.CrossEntropyLoss(ignore_index=IGNORED, reduction="sum")

    def configure_metrics(self) -> None:
        """Creates the metrics: mIoU, effective dilation by object size, and scores of objects."""
        self.mean_iou = MeanIoU(self.num_classes)
        self.effective_dilation = EffectiveDilation(
            self.layer_geometry(),
            thresholds=self.evaluation.object_sizes,
            area=self.evaluation.object_area,
            pixels=self.evaluation.object_pixels,
            assignment=self.evaluation.object_region,
        )
        self.object_scores = ObjectScores()

    def setup(self, stage: str) -> None:
        """Says which results are missing if the data set has no objects.

        Raises:
            ConfigError: `object_sizes` is `thirds`, but the data set has no objects.
        """
        datamodule = getattr(self.trainer, "datamodule", None)
        if stage == "predict" or datamodule is None or datamodule.things:
            return
        if self.evaluation.object_sizes == "thirds":
            raise ConfigError(
                f"object_sizes=thirds: data set {datamodule.dataset_class.name!r} has no objects; give two "
                "areas, or name the countable classes in things.txt"
            )
        rank_zero_info(NO_OBJECTS)

    def forward(self, image: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Class scores.

        Args:
            image: Normalised images, shape (N, 3, H, W).
            size: Height and width of the scores; None for those of the images.

        Returns:
            Scores before the softmax, shape (N, C, height, width).
        """
        return self.model(image.contiguous(memory_format=torch.channels_last), size=size)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Mean cross-entropy over all pixels that are not ignored; 0 if all are ignored."""
        label = batch["label"]
        total = self.loss(self(batch["image"]).float(), label)
        # A condition on the number of pixels would make the CPU wait for the device.
        return self.log_loss(total / (label != IGNORED).sum().clamp_min(1))

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Updates the metrics and returns the predicted class maps, shape (N, H, W)."""
        label = batch["label"]
        size = (label.shape[-2], label.shape[-1])
        with self.recorded_layers() as (offsets, modulation):
            logits = self(batch["image"], size=size)
        scores = logits if self.evaluation.single_pass else self.scores(batch["image"], size)
        prediction = scores.argmax(1)
        try:
            self.mean_iou.update(prediction, label)
        except ValueError as error:
            raise DatasetError(f"{', '.join(batch['name'])}: {error}") from error
        objects = find_objects(batch["instance"], label, batch["name"], batch["image"].shape[-2:])
        self.effective_dilation.update(offsets, objects, modulation)
        self.object_scores.update(objects, prediction)
        return prediction

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Like `validation_step`."""
        return self.validation_step(batch, batch_idx)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> list[Tensor]:
        """Predicted class maps, each uint8 of shape (H, W), at the original size of its image."""
        return [
            self.scores(image[None], (int(height), int(width)))[0].argmax(0).to(torch.uint8)
            for image, (height, width) in zip(batch["image"], batch["size"], strict=True)
        ]

    def on_validation_epoch_end(self) -> None:
        """Logs mIoU and the IoU of each class."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Logs the same as after validation, under `test/`."""
        self._log_scores("test")

    def scores(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """Class scores at a given resolution, averaged over the evaluation's scales and flips.

        Args:
            image: Normalised images, shape (N, 3, H, W).
            size: Height and width of the result.

        Returns:
            Scores of shape (N, C, height, width), whose maximum is the prediction: logits of a single pass,
            or the mean probabilities of several passes.

        Raises:
            ConfigError: A scale reduces the image to less than one pixel.
        """
        if self.evaluation.single_pass:
            return self(image, size=size).float()
        flips = (False, True) if self.evaluation.flip else (False,)
        passes = [(scale, flip) for scale in self.evaluation.scales for flip in flips]
        smallest, side = min(self.evaluation.scales), min(image.shape[-2:])
        if int(smallest * side) < 1:
            raise ConfigError(
                f"evaluation.scales: a factor of {smallest} reduces an image side of {side} pixels to less "
                "than one; remove the factor"
            )
        total = image.new_zeros((len(image), self.num_classes, *size), dtype=torch.float32)
        for scale, flip in passes:
            scaled = F.interpolate(image, scale_factor=scale, mode="bilinear", antialias=scale < 1)
            scores = self(scaled.flip(-1) if flip else scaled, size=size).float().softmax(1)
            total += scores.flip(-1) if flip else scores
        return total / len(passes)

    def _log_scores(self, split: str) -> None:
        result = self.mean_iou.compute()
        self._doubt_scores(split, result.pixels.tolist())
        self.log(f"{split}/miou", result.miou.float(), prog_bar=True)
        for name, value in zip(self.class_names, result.iou.tolist(), strict=True):
            self.log(f"{split}/iou/{name}", value)
        # All processes must take part in the reduction. Callbacks later read the cached results.
        self.effective_dilation.compute()
        self.object_scores.compute()

    def _doubt_scores(self, split: str, pixels: Sequence[int]) -> None:
        """Says, once per split, if all labels are of one class or ignored."""
        names = [name for name, count in zip(self.class_names, pixels, strict=True) if count]
        if len(names) > 1 or split in self._doubted:
            return
        self._doubted.add(split)
        rank_zero_info(
            f"{split}: all labels are of class {names[0]!r} or ignored, so the score means little; check "
            "them with deformlab data check"
            if names
            else f"{split}: every pixel of the label maps is ignored, so there is no score"
        )
