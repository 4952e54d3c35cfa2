"""Object detection with deformable convolution and deformable RoI pooling (DCNv1, 4.2; DCNv2, 4)."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from deformlab.errors import ConfigError, DatasetError
from deformlab.metrics import (
    CocoAveragePrecision,
    DetectionScores,
    EffectiveDilation,
    ImageObjects,
    VocAveragePrecision,
    objects_from_boxes,
)
from deformlab.models import build_backbone
from deformlab.models.detection import (
    Candidates,
    ClassAwareRPN,
    DetectionPostprocessing,
    Detections,
    DetectorConfig,
    Targets,
    TwoStageDetector,
    build_detector,
    select_detections,
)
from deformlab.options import check_choices
from deformlab.records import SizeRule
from deformlab.tasks.base import BaseTask

__all__ = ["Detection", "DetectionEvaluation"]

MAX_SCALE = 16


@dataclass
class DetectionEvaluation:
    """Options of the evaluation of detectors, in pixels of the original image.

    Raises:
        ConfigError: An option is out of its range.
    """

    protocol: Literal["coco", "voc2007", "voc2012"] = "coco"
    """`coco`: AP over the IoU thresholds 0.50 to 0.95. `voc2007` and `voc2012`: AP at 0.5, from 11 points or
    from the area under the curve. The score is then AP50."""

    scales: Sequence[float] = (1.0,)
    """Factors on the size of the network's input, each > 0 and <= 16; the candidates of all scales are put
    together (multi-scale testing)."""

    flip: bool = False
    """Whether to add the candidates of the mirrored image, at each scale."""

    postprocessing: DetectionPostprocessing = field(default_factory=DetectionPostprocessing)
    """Thresholds, NMS or soft-NMS, number of detections, box averaging."""

    rescoring: bool = False
    """Whether detections are scored a second time as regions, and both rounds are put together: with
    `postprocessing.box_average`, the iterative box averaging of Gidaris and Komodakis."""

    object_sizes: tuple[float, float] | Literal["thirds"] = (96.0**2, 224.0**2)
    """Two areas in pixels, 0 < first <= second: objects below the first are small, above the second large, in
    tables of effective dilation (DCNv1 table 2: 96² and 224²; COCO's AP by size has its own, 32² and 96²).
    `thirds`: areas that divide the validated objects into three equal parts."""

    object_pixels: Literal["original", "network"] = "original"
    """Unit of areas: pixels of the `original` image, or of the `network`'s input."""

    @property
    def object_area(self) -> Literal["box"]:
        """An object's area is that of its box."""
        return "box"

    @property
    def object_region(self) -> Literal["box"]:
        """A filter belongs to the object with the smallest box that contains its centre, as in DCNv1."""
        return "box"

    def __post_init__(self) -> None:
        """Refuses illegal scales and object sizes."""
        if not self.scales or not all(0 < scale <= MAX_SCALE for scale in self.scales):
            raise ConfigError(
                f"scales must be one or more factors > 0 and <= {MAX_SCALE}, got {list(self.scales)}"
            )
        check_choices(self)
        SizeRule(self.object_sizes, "box", self.object_pixels)


class Detection(BaseTask):
    """Trains and evaluates a detector on a data set with boxes.

    Args:
        detector: Architecture, RoI pooling and training of the detector.
        evaluation: Protocol, scales, and how detections are chosen.
        options: The options of `BaseTask`: `num_classes`, `optimization`, the weights and the backbone's
            options.

    Raises:
        ConfigError: An option is out of its range.
        CheckpointError: Initial weights cannot be read or do not fit the network.
    """

    monitor = "val/ap"

    def __init__(
        self,
        *,
        detector: DetectorConfig = DetectorConfig(),  # noqa: B008 (never modified)
        evaluation: DetectionEvaluation | None = None,
        **options: Any,
    ) -> None:
        self.detector = detector
        self.evaluation = evaluation or DetectionEvaluation()
        super().__init__(**options)
        if self.evaluation.protocol != "coco":
            self.monitor = "val/ap50"  # type: ignore[misc]

    def configure_models(self) -> None:
        """Creates the detector on the backbone."""
        backbone = build_backbone(self.backbone_config)
        self.model: TwoStageDetector | ClassAwareRPN = build_detector(
            self.detector, backbone, self.num_classes
        )

    def configure_losses(self) -> None:
        """The losses are the detector's own."""

    def configure_metrics(self) -> None:
        """Creates the metrics: AP, effective dilation by object size, and scores of objects."""
        protocol = self.evaluation.protocol
        self.average_precision: CocoAveragePrecision | VocAveragePrecision
        if protocol == "coco":
            limit = max(11, self.evaluation.postprocessing.max_detections)
            self.average_precision = CocoAveragePrecision(self.num_classes, max_detections=limit)
        else:
            area: Literal["11-point", "all-point"] = "11-point" if protocol == "voc2007" else "all-point"
            self.average_precision = VocAveragePrecision(self.num_classes, area)
        self.effective_dilation = EffectiveDilation(
            self.layer_geometry(),
            thresholds=self.evaluation.object_sizes,
            area="box",
            pixels=self.evaluation.object_pixels,
            assignment="box",
        )
        self.object_scores = DetectionScores(self.num_classes)

    @property
    def configuration(self) -> dict[str, Any]:
        """The network's options that result.json records."""
        options = asdict(self.detector)
        return super().configuration | {"detector": options.pop("architecture"), **options}

    def forward(self, image: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Candidates]:
        """Candidates of each image, before non-maximum suppression.

        Args:
            image: Normalised images, shape (N, 3, H, W), padded on the right and at the bottom.
            sizes: Height and width of each image without padding.
        """
        return self.model(image.contiguous(memory_format=torch.channels_last), sizes)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Sum of the detector's losses."""
        losses = self.model.losses(
            batch["image"].contiguous(memory_format=torch.channels_last),
            batch["size"],
            Targets(batch["boxes"], batch["labels"]),
        )
        for name, value in losses.items():
            self.log(f"train/loss_{name}", value.detach(), on_step=True, on_epoch=False)
        return self.log_loss(torch.stack(list(losses.values())).sum())

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> list[Detections]:  # type: ignore[override]
        """Updates the metrics and returns the detections of each image."""
        found, objects = [], []
        for i, (height, width) in enumerate(batch["size"]):
            # Without the padding, and one by one: results do not depend on the size of batches.
            image = batch["image"][i : i + 1, :, :height, :width]
            size = tuple(batch["original_size"][i])
            with self.recorded_layers() as (offsets, modulation):
                candidates = self._candidates(image, 1.0, False)
            found.append(self._select(image, size, candidates))
            objects.append(self._objects(batch, i, (height, width)))
            self.effective_dilation.update(offsets, objects[-1:], modulation)
        try:
            self.average_precision.update(found, batch)
            self.object_scores.update(objects, found, batch)
        except ValueError as error:
            raise DatasetError(f"{', '.join(batch['name'])}: {error}") from error
        return found

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> list[Detections]:  # type: ignore[override]
        """Like `validation_step`."""
        return self.validation_step(batch, batch_idx)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> list[Detections]:
        """The detections of each image, in pixels of the original image."""
        return [
            self._select(
                image := batch["image"][i : i + 1, :, :height, :width],
                tuple(batch["original_size"][i]),
                self._candidates(image, 1.0, False),
            )
            for i, (height, width) in enumerate(batch["size"])
        ]

    def on_validation_epoch_end(self) -> None:
        """Logs AP: overall, at several thresholds, by size and by class."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Logs the same as after validation, under `test/`."""
        self._log_scores("test")

    def _candidates(self, image: Tensor, scale: float, flip: bool) -> list[Candidates]:
        """The candidates of one image in pixels of `image`; with rescoring, of both rounds."""
        height, width = image.shape[-2:]
        scaled = (
            image
            if scale == 1
            else F.interpolate(image, scale_factor=scale, mode="bilinear", antialias=scale < 1)
        )
        if flip:
            scaled = scaled.flip(-1)
        size = (scaled.shape[-2], scaled.shape[-1])
        scaled = scaled.contiguous(memory_format=torch.channels_last)
        rounds = [self.model(scaled, [size])[0]]
        if self.evaluation.rescoring:
            found = self._selected(rounds)
            rounds += self.model.rescore(scaled, [found.boxes], [size])
        if flip:
            rounds = [one._replace(boxes=_mirrored(one.boxes, size[1])) for one in rounds]
        return [_scaled(one, size, (height, width)) for one in rounds]

    def _select(self, image: Tensor, size: tuple[int, ...], first: list[Candidates]) -> Detections:
        """The detections of one image in pixels of the original image.

        Args:
            image: The image, shape (1, 3, H, W).
            size: Height and width of the original image.
            first: Its candidates at scale 1, not mirrored.
        """
        smallest = min(self.evaluation.scales)
        if int(smallest * min(image.shape[-2:])) < 1:
            raise ConfigError(
                f"evaluation.scales: a factor of {smallest} reduces an image side of {min(image.shape[-2:])} "
                "pixels to less than one; remove the factor"
            )
        passes = [
            (scale, flip)
            for scale in self.evaluation.scales
            for flip in ((False, True) if self.evaluation.flip else (False,))
        ]
        candidates = []
        for scale, flip in passes:
            candidates += first if (scale, flip) == (1.0, False) else self._candidates(image, scale, flip)
        original = (size[0], size[1])
        network = (image.shape[-2], image.shape[-1])
        return self._selected([_scaled(one, network, original) for one in candidates], original)

    def _selected(self, candidates: list[Candidates], size: tuple[int, int] | None = None) -> Detections:
        # The first box is the background's if there is one for each class.
        boxes = [one.boxes if one.boxes.shape[1] == 4 else one.boxes[:, 4:] for one in candidates]
        scores = [one.scores for one in candidates]
        return select_detections(scores, boxes, self.evaluation.postprocessing, size)

    def _objects(self, batch: dict[str, Any], index: int, network_size: tuple[int, int]) -> ImageObjects:
        return objects_from_boxes(
            batch["boxes"][index],
            batch["labels"][index],
            batch["name"][index],
            tuple(batch["original_size"][index]),
            network_size,
        )

    def _log_scores(self, split: str) -> None:
        result = self.average_precision.compute()
        for name in _LOGGED:
            value = getattr(result, name, math.nan)
            if not math.isnan(value) or f"val/{name}" == self.monitor:
                self.log(f"{split}/{name}", value, prog_bar=f"val/{name}" == self.monitor)
        of_class = self.monitor.partition("/")[2]
        for name, value in zip(self.class_names, getattr(result, f"class_{of_class}"), strict=True):
            self.log(f"{split}/{of_class}/{name}", value)
        # All processes must take part in the reduction. Callbacks later read the cached results.
        self.effective_dilation.compute()
        self.object_scores.compute()


_LOGGED = ("ap", "ap50", "ap70", "ap75", "ap_small", "ap_medium", "ap_large")


def _mirrored(boxes: Tensor, width: int) -> Tensor:
    """Boxes (K, 4·B) of the mirrored image, on the image itself."""
    left, top, right, bottom = boxes.unflatten(1, (-1, 4)).unbind(2)
    return torch.stack([width - right, top, width - left, bottom], dim=2).flatten(1)


def _scaled(candidates: Candidates, size: tuple[int, int], new_size: tuple[int, int]) -> Candidates:
    """Candidates on an image of another height and width."""
    ratio = candidates.boxes.new_tensor([new_size[1] / size[1], new_size[0] / size[0]]).repeat(2)
    return candidates._replace(boxes=candidates.boxes.unflatten(1, (-1, 4)).mul(ratio).flatten(1))
