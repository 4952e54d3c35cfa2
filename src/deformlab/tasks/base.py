"""What all tasks share: backbone, optimiser, divergence watch, epoch loss, offsets, checkpoint check."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from deformlab.errors import CheckpointError
from deformlab.layers import record_modulation, record_offsets
from deformlab.metrics import LayerGeometry
from deformlab.models import Backbone, BackboneConfig, load_backbone_weights, load_model_weights
from deformlab.tasks.divergence import DivergenceWatch, training_state
from deformlab.tasks.epoch_loss import EpochLoss
from deformlab.tasks.optimization import Optimization, sgd_with_schedule

__all__ = ["BaseTask"]


class BaseTask(pl.LightningModule, ABC):
    """A network on a backbone, and how it is trained.

    A task is a subclass with the three hooks `configure_models`, `configure_losses` and `configure_metrics`,
    which run in this order, and the steps. Because the hooks run in this constructor, a task sets its own
    options first and calls `super().__init__(**options)` last. Batches are dictionaries with the images'
    names under `name`.

    Args:
        num_classes: Classes of the data set; the command line takes it from the data.
        backbone_weights: ImageNet weights: a checkpoint file in torchvision's naming, or `imagenet`.
        init_weights: A checkpoint of this task to start from, atrous or deformable; offsets that it does not
            have start at zero.
        optimization: Learning rates and schedule.
        backbone: The options of `BackboneConfig`, each by its name.

    Attributes:
        monitor: The logged score that says which epoch is best.
        mode: Whether the `max` or the `min` of it is best.
        model: The network, set by `configure_models`; its `backbone` is a `Backbone`.
        tracked_layers: The layers whose effective dilation is measured, by name.
        train_loss: Mean loss of the epoch's batches over all processes, as far as the epoch has come at the
            latest validation or at its end; nan before. See `EpochLoss`.
    """

    monitor: ClassVar[str]
    mode: ClassVar[Literal["max", "min"]] = "max"
    model: nn.Module

    def __init__(
        self,
        num_classes: int,
        *,
        backbone_weights: str | None = None,
        init_weights: Path | None = None,
        optimization: Optimization = Optimization(),  # noqa: B008 (a dataclass that nobody changes)
        **backbone: Any,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.optimization = optimization
        self.backbone_config = BackboneConfig(**backbone)
        self.configure_models()
        if backbone_weights is not None:
            load_backbone_weights(self.backbone, backbone_weights)
        if init_weights is not None:
            load_model_weights(self.model, init_weights)
        # Convolutions in low precision and deformable sampling both read a pixel's channels at once.
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.tracked_layers = self.backbone.tracked_layers()
        self.configure_losses()
        self.configure_metrics()
        self.train_loss = float("nan")
        self._divergence = DivergenceWatch()
        self._epoch_loss = EpochLoss()

    @abstractmethod
    def configure_models(self) -> None:
        """Sets `model`, on `build_backbone(self.backbone_config)`."""

    @abstractmethod
    def configure_losses(self) -> None:
        """Sets the losses."""

    @abstractmethod
    def configure_metrics(self) -> None:
        """Sets the metrics; they are reset before every validation and every test."""

    @property
    def backbone(self) -> Backbone:
        """The backbone of the network."""
        return cast(Backbone, self.model.backbone)

    @property
    def configuration(self) -> dict[str, Any]:
        """What result.json records of the network."""
        network = asdict(self.backbone_config)
        del network["freeze_at"]  # results of older versions lack it, and analysis compares these entries
        if network["conv5"] == "atrous":
            network["num_deformable_layers"] = 0
        multiplier = self.optimization.offset_lr_multiplier
        return {**network, "offset_lr_multiplier": multiplier, "num_classes": self.num_classes}

    @property
    def class_names(self) -> Sequence[str]:
        """The classes by name, or by number where the data have no names."""
        datamodule = getattr(self.trainer, "datamodule", None)
        return datamodule.classes if datamodule is not None else [str(i) for i in range(self.num_classes)]

    def layer_geometry(self) -> dict[str, LayerGeometry]:
        """How the filters of each tracked layer lie on the image."""
        return {
            name: LayerGeometry.of(layer, self.backbone.pixels_per_cell(name))
            for name, layer in self.tracked_layers.items()
        }

    @contextmanager
    def recorded_layers(self) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """Records where the tracked layers look.

        Yields:
            Offsets and modulation by layer, filled by the forward pass, see `record_offsets` and
            `record_modulation`.
        """
        layers = self.tracked_layers
        with record_offsets(layers) as offsets, record_modulation(layers) as modulation:
            yield offsets, modulation

    def log_loss(self, loss: Tensor) -> Tensor:
        """Logs the loss of a training batch and watches it; every training step returns what this returns.

        Args:
            loss: A scalar.
        """
        self._divergence.observe_loss(loss, self.global_step)
        self._epoch_loss.add(loss)
        # The batch's loss in the first process; train/loss is the epoch's over all of them.
        self.log("train/loss_step", loss, on_step=True, on_epoch=False)
        return loss

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

    def on_fit_start(self) -> None:
        """Says what the batch size of all processes together is."""
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

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Watches the gradients that the optimizer is about to use."""
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
        """Stops a training that has diverged; logs the epoch's loss."""
        self._divergence.check()
        self.train_loss = self._epoch_loss.mean()
        self.log("train/loss", self.train_loss)

    def on_validation_epoch_start(self) -> None:
        """Resets the metrics, whose last values can be read until here."""
        if self.trainer.state.fn == TrainerFn.FITTING:
            self._check_state()
            self.train_loss = self._epoch_loss.mean()
        for metric in self.children():
            if isinstance(metric, Metric):
                metric.reset()

    def on_test_epoch_start(self) -> None:
        """As in validation."""
        self.on_validation_epoch_start()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps a diverged training from replacing a good checkpoint.

        Raises:
            TrainingError: The loss, a gradient, a weight, a buffer or the momentum is not finite.
        """
        self._check_state()

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
