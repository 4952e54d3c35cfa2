"""Semantic segmentation with DeepLab: atrous against deformable conv5 (DCNv1 sections 2.3 and 4.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from deformlab.errors import CheckpointError, ConfigError, DatasetError
from deformlab.layers import DeformConv2d, record_modulation, record_offsets
from deformlab.metrics import EffectiveDilation, LayerGeometry, MeanIoU, ObjectScores, find_objects
from deformlab.models import DeepLab, ResNet, load_backbone_weights, load_model_weights
from deformlab.records import NO_OBJECTS, SizeRule
from deformlab.tasks.divergence import DivergenceWatch, training_state
from deformlab.tasks.epoch_loss import EpochLoss
from deformlab.tasks.optimization import Optimization, sgd_with_schedule

__all__ = ["Evaluation", "SemanticSegmentation"]

IGNORED = 255
MAX_SCALE = 16


@dataclass
class Evaluation:
    """How the network is validated, always on whole images at the labels' own resolution.

    Args:
        scales: Factors on the network's input size, each > 0 and <= 16; softmax scores are averaged
            over them.
        flip: Whether each scale is also run mirrored.
        object_sizes: Two increasing areas in pixels; objects below the first are small, above the second
            large (DCNv1 table 2: 96² and 224²). `thirds`: as many of the validated objects in each.
        object_area: An object's area: `box`, of its bounding box (DCNv1), or `mask`, its pixels.
        object_pixels: Areas in pixels of the `original` label map, or of the `network`'s input.
        object_region: To which object a filter belongs: `mask`, to the one whose mask covers its centre, or
            `box`, to the one with the smallest box that contains it (DCNv1 had boxes only).
    """

    scales: Sequence[float] = (1.0,)
    flip: bool = False
    object_sizes: tuple[float, float] | Literal["thirds"] = (96.0**2, 224.0**2)
    object_area: Literal["box", "mask"] = "box"
    object_pixels: Literal["original", "network"] = "original"
    object_region: Literal["mask", "box"] = "mask"

    @property
    def single_pass(self) -> bool:
        """Whether one look at the image as it is gives the scores."""
        return list(self.scales) == [1.0] and not self.flip

    def __post_init__(self) -> None:
        """Refuses scales and rules of object size that mean nothing."""
        if not self.scales or not all(0 < scale <= MAX_SCALE for scale in self.scales):
            raise ConfigError(
                f"scales must be one or more factors > 0 and <= {MAX_SCALE}, got {list(self.scales)}"
            )
        if self.object_region not in ("mask", "box"):
            raise ConfigError(f"object_region must be mask or box, got {self.object_region!r}")
        SizeRule(self.object_sizes, self.object_area, self.object_pixels)


class SemanticSegmentation(pl.LightningModule):
    """Trains and evaluates DeepLab on a segmentation data set.

    Args:
        num_classes: Classes of the data set; the command line fills it in from the data.
        backbone: `resnet10`, `resnet18`, `resnet34`, `resnet50`, `resnet101` or `resnet152`.
        width: Factor on the channels of the backbone, > 0; below 1 for small machines.
        output_stride: Input pixels per cell of the last feature map: 8, 16 or 32.
        conv5: What conv5's last 3x3 convolutions are: `atrous`, `deformable` (DCNv1) or `modulated` (DCNv2).
        dilation: Dilation of conv5's 3x3 convolutions, in cells, >= 1.
        num_deformable_layers: How many 3x3 convolutions are deformable, counted from the end of the backbone;
            `all` for every one of conv3 to conv5 (DCNv2).
        deform_groups: Channel groups with offsets of their own.
        offset_dilation: Dilation of the convolution that predicts the offsets; None for the layer's own (the
            paper), 1 for the authors' code.
        modulation_scale: Factor on the modulation's sigmoid: 1 (DCNv2's paper) or 2 (its code).
        boundary: Which samples of a deformable layer count at the border of its input: `zeros` (the authors'
            v2 operator) or `clamp` (their v1 operator).
        batch_norm: `trainable`, `frozen` (global statistics, the papers) or `sync` (over all GPUs).
        freeze_at: Freezes the stem and the first stages: 0 nothing, 1 conv1, 2 conv1 and conv2 (the authors).
        head_channels: Channels that the 1x1 reduction leaves for the classifier.
        backbone_weights: ImageNet weights: a checkpoint file in torchvision's naming, or `imagenet`.
        init_weights: A checkpoint of this task to start from, atrous or deformable; offsets that it does not
            have start at zero.
        optimization: Learning rates and schedule.
        evaluation: Scales, flip, and how the size of objects is measured.

    Attributes:
        train_loss: Mean loss of the epoch's batches over all processes, as far as the epoch has come at the
            latest validation or at its end; nan before. See `EpochLoss`.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        width: float = 1.0,
        output_stride: Literal[8, 16, 32] = 16,
        conv5: Literal["atrous", "deformable", "modulated"] = "deformable",
        dilation: int = 2,
        num_deformable_layers: int | Literal["all"] = 3,
        deform_groups: int = 1,
        offset_dilation: int | None = None,
        modulation_scale: float = 1.0,
        boundary: Literal["zeros", "clamp"] = "zeros",
        batch_norm: Literal["trainable", "frozen", "sync"] = "trainable",
        freeze_at: int = 0,
        head_channels: int = 1024,
        backbone_weights: str | None = None,
        init_weights: Path | None = None,
        optimization: Optimization = Optimization(),  # noqa: B008 (a dataclass that nobody changes)
        evaluation: Evaluation = Evaluation(),  # noqa: B008
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.optimization = optimization
        self.evaluation = evaluation
        self.configuration = {
            "backbone": backbone,
            "width": width,
            "output_stride": output_stride,
            "conv5": conv5,
            "dilation": dilation,
            "num_deformable_layers": 0 if conv5 == "atrous" else num_deformable_layers,
            "deform_groups": deform_groups,
            "offset_dilation": offset_dilation,
            "modulation_scale": modulation_scale,
            "boundary": boundary,
            "batch_norm": batch_norm,
            "offset_lr_multiplier": optimization.offset_lr_multiplier,
            "num_classes": num_classes,
        }
        self.model = DeepLab(
            ResNet(
                backbone,
                width=width,
                output_stride=output_stride,
                conv5=conv5,
                dilation=dilation,
                num_deformable_layers=num_deformable_layers,
                deform_groups=deform_groups,
                offset_dilation=offset_dilation,
                modulation_scale=modulation_scale,
                boundary=boundary,
                batch_norm=batch_norm,
                freeze_at=freeze_at,
            ),
            num_classes,
            head_channels=head_channels,
        )
        if backbone_weights is not None:
            load_backbone_weights(self.model.backbone, backbone_weights)
        if init_weights is not None:
            load_model_weights(self.model, init_weights)
        # Convolutions in low precision and deformable sampling both read a pixel's channels at once.
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = nn.CrossEntropyLoss(ignore_index=IGNORED, reduction="sum")
        self._divergence = DivergenceWatch()
        self._epoch_loss = EpochLoss()
        self.train_loss = float("nan")
        self._doubted: set[str] = set()
        self.tracked_layers = self.model.backbone.tracked_layers()
        self.mean_iou = MeanIoU(num_classes)
        self.effective_dilation = EffectiveDilation(
            {
                name: _geometry(layer, self.model.backbone.pixels_per_cell(name))
                for name, layer in self.tracked_layers.items()
            },
            thresholds=evaluation.object_sizes,
            area=evaluation.object_area,
            pixels=evaluation.object_pixels,
            assignment=evaluation.object_region,
        )
        self.object_scores = ObjectScores()

    def setup(self, stage: str) -> None:
        """Says what cannot be measured where the data set has no objects.

        Raises:
            ConfigError: Sizes of objects were asked for that are not there.
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
            image: (N, 3, H, W), normalised.
            size: Height and width of the scores; None for the image's own.

        Returns:
            Scores (N, C, *size) before the softmax.
        """
        return self.model(image.contiguous(memory_format=torch.channels_last), size=size)

    def on_fit_start(self) -> None:
        """Says what several processes make of the batch size, which is that of one of them."""
        processes, datamodule = self.trainer.world_size, getattr(self.trainer, "datamodule", None)
        if processes == 1 or datamodule is None:
            return
        images, accumulated = datamodule.batch_size, self.trainer.accumulate_grad_batches
        rank_zero_info(
            f"effective batch size {images * processes * accumulated}: {images} images x {processes} "
            f"processes x {accumulated} accumulated; learning rate {self.optimization.learning_rate:g}, "
            "which is not scaled"
        )

    def on_train_epoch_start(self) -> None:
        """Begins the epoch's loss."""
        self._epoch_loss.reset()

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Notes the batch, so that an error can name its images."""
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self._divergence.begin(self.global_step, self.current_epoch, rate, batch["name"])

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Cross-entropy over all pixels that are not ignored; 0 where all of them are."""
        label = batch["label"]
        total = self.loss(self(batch["image"]).float(), label)
        # A mean over no pixels would be nan, and to ask whether there are any would wait for the device.
        loss = total / (label != IGNORED).sum().clamp_min(1)
        self._divergence.observe_loss(loss, self.global_step)
        self._epoch_loss.add(loss)
        # The batch's loss in the first process; train/loss is the epoch's over all of them.
        self.log("train/loss_step", loss, on_step=True, on_epoch=False)
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Looks at the gradients, as the optimizer is about to take them."""
        # With float16 they are infinite now and then: the scaler skips such a step and scales less.
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:
            gradients = [weight.grad for weight in self.parameters() if weight.grad is not None]
            self._divergence.observe_gradients(gradients, self.global_step)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stops a training that has diverged, where the logger reads the loss anyway."""
        interval = max(1, self.trainer.log_every_n_steps)  # type: ignore[attr-defined]
        if self.device.type == "cpu" or (batch_idx + 1) % interval == 0:
            self._divergence.check()

    def on_train_epoch_end(self) -> None:
        """As after a batch; logs the epoch's loss."""
        self._divergence.check()
        self.train_loss = self._epoch_loss.mean()
        self.log("train/loss", self.train_loss)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """No checkpoint of a diverged training takes a good one's place.

        Raises:
            TrainingError: The loss, a gradient, a weight, a buffer or the momentum is not finite.
        """
        self._check_state()

    def scores(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """Class scores at a given resolution, averaged over the evaluation's scales and mirror images.

        Args:
            image: (N, 3, H, W), normalised.
            size: Height and width of the result.

        Returns:
            (N, C, *size): logits for a single pass, probabilities where several were averaged; the largest
            is the prediction in either case.

        Raises:
            ConfigError: A scale leaves no pixel of the image.
        """
        if self.evaluation.single_pass:
            return self(image, size=size).float()
        flips = (False, True) if self.evaluation.flip else (False,)
        passes = [(scale, flip) for scale in self.evaluation.scales for flip in flips]
        smallest, side = min(self.evaluation.scales), min(image.shape[-2:])
        if int(smallest * side) < 1:
            raise ConfigError(
                f"evaluation.scales: a factor of {smallest} leaves nothing of an image with a side of {side} "
                "pixels; leave it out"
            )
        total = image.new_zeros((len(image), self.num_classes, *size), dtype=torch.float32)
        for scale, flip in passes:
            scaled = F.interpolate(image, scale_factor=scale, mode="bilinear", antialias=scale < 1)
            scores = self(scaled.flip(-1) if flip else scaled, size=size).float().softmax(1)
            total += scores.flip(-1) if flip else scores
        return total / len(passes)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Updates mIoU, effective dilation and objects' scores; returns the predicted class map (N, H, W)."""
        label = batch["label"]
        size = (label.shape[-2], label.shape[-1])
        with record_offsets(self.tracked_layers) as offsets, record_modulation(self.tracked_layers) as mask:
            logits = self(batch["image"], size=size)
        scores = logits if self.evaluation.single_pass else self.scores(batch["image"], size)
        prediction = scores.argmax(1)
        try:
            self.mean_iou.update(prediction, label)
        except ValueError as error:
            raise DatasetError(f"{', '.join(batch['name'])}: {error}") from error
        objects = find_objects(batch["instance"], label, batch["name"], batch["image"].shape[-2:])
        self.effective_dilation.update(offsets, objects, mask)
        self.object_scores.update(objects, prediction)
        return prediction

    def on_validation_epoch_end(self) -> None:
        """Logs mIoU and IoU per class."""
        self._log_scores("val")

    def on_validation_epoch_start(self) -> None:
        """Starts the metrics anew; their last values stay readable until here."""
        if self.trainer.state.fn == TrainerFn.FITTING:
            self._check_state()
            self.train_loss = self._epoch_loss.mean()
        self.mean_iou.reset()
        self.effective_dilation.reset()
        self.object_scores.reset()

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """As in validation."""
        return self.validation_step(batch, batch_idx)

    def on_test_epoch_start(self) -> None:
        """As in validation."""
        self.on_validation_epoch_start()

    def on_test_epoch_end(self) -> None:
        """As in validation, under `test/`."""
        self._log_scores("test")

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> list[Tensor]:
        """Class maps, each (H, W) uint8 at its image's original size."""
        return [
            self.scores(image[None], (int(height), int(width)))[0].argmax(0).to(torch.uint8)
            for image, (height, width) in zip(batch["image"], batch["size"], strict=True)
        ]

    def configure_optimizers(self) -> Any:
        """SGD with the groups and the schedule of `Optimization`."""
        total_steps = max(1, int(self.trainer.estimated_stepping_batches))
        warmup = self.optimization.warmup_steps
        if 2 * warmup > total_steps:
            rank_zero_info(
                f"the training is short: {warmup} of its {total_steps} steps are warm-up; train longer, or "
                "lower --model.optimization.warmup_steps"
            )
        optimizer, scheduler = sgd_with_schedule(self.model, self.optimization, total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint of another architecture in one line, and tells the data where it goes on.

        Raises:
            CheckpointError: A weight is missing, unknown, of another shape or not finite.
        """
        theirs, ours = checkpoint["state_dict"], self.state_dict()
        for name in sorted(set(theirs) | set(ours)):
            theirs_shape = list(theirs[name].shape) if name in theirs else "not there"
            ours_shape = list(ours[name].shape) if name in ours else "not there"
            if theirs_shape != ours_shape:
                raise CheckpointError(
                    f"the checkpoint is of another architecture: {name} is {theirs_shape} in the checkpoint "
                    f"and {ours_shape} in this network; use the config.yaml beside the checkpoint's folder"
                )
            if not torch.isfinite(theirs[name]).all():
                raise CheckpointError(
                    f"the checkpoint is of a training that diverged: {name} is infinite or nan in it; use "
                    "another one, for example best.ckpt beside it"
                )

        datamodule = getattr(self._trainer, "datamodule", None)
        if datamodule is not None and checkpoint.get("loops"):
            datamodule.resume(checkpoint["loops"])

    def _check_state(self) -> None:
        self._divergence.check()
        self._divergence.check_state(training_state(self, self.trainer.optimizers))

    def _log_scores(self, split: str) -> None:
        result = self.mean_iou.compute()
        self._doubt_scores(split, result.pixels.tolist())
        self.log(f"{split}/miou", result.miou.float(), prog_bar=True)
        for name, value in zip(self._class_names(), result.iou.tolist(), strict=True):
            self.log(f"{split}/iou/{name}", value)
        # Every process has to take part in the reduction; who prints or writes later reads the kept result.
        self.effective_dilation.compute()
        self.object_scores.compute()

    def _doubt_scores(self, split: str, pixels: Sequence[int]) -> None:
        """Says once why a score is none, or is worth nothing."""
        names = [name for name, count in zip(self._class_names(), pixels, strict=True) if count]
        if len(names) > 1 or split in self._doubted:
            return
        self._doubted.add(split)
        rank_zero_info(
            f"{split}: all labels are of class {names[0]!r} or ignored, so that the score means little; look "
            "at them with deformlab data check"
            if names
            else f"{split}: every pixel of the labels is ignored, so that there is no score"
        )

    def _class_names(self) -> Sequence[str]:
        datamodule = getattr(self.trainer, "datamodule", None)
        return datamodule.classes if datamodule is not None else [str(i) for i in range(self.num_classes)]


def _geometry(layer: nn.Conv2d, pixels_per_cell: int) -> LayerGeometry:
    kernel_size = cast("tuple[int, int]", layer.kernel_size)
    dilation = cast("tuple[int, int]", layer.dilation)
    step = layer.stride[0]
    geometry = LayerGeometry(kernel_size, dilation, pixels_per_cell * step, step=step)
    if not isinstance(layer, DeformConv2d):
        return geometry._replace(deformable=False)
    return geometry._replace(
        deform_groups=layer.deform_groups,
        modulated=layer.modulated,
        offset_dilation=cast("tuple[int, int]", layer.conv_offset.dilation),
    )
