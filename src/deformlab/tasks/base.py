"""The base class of all tasks: backbone, optimizer, divergence watch, epoch loss, checkpoint checks."""

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
    """A network on a backbone, with its training and evaluation.

    A task is a subclass that defines the hooks `configure_models`, `configure_losses` and
    `configure_metrics`, which run in this order, and the training and validation steps. Because the hooks run
    in this constructor, a task sets its own options first and then calls `super().__init__(**options)`.
    Batches are dictionaries with the images' names under `name`.

    Args:
        num_classes: Number of classes of the data set; the command line takes it from the data.
        backbone_weights: ImageNet weights of the backbone: a checkpoint file in torchvision's naming, or
            `imagenet`; None initialises them at random.
        init_weights: Checkpoint of a deformlab network to start from. An atrous one can start a deformable
            network, but not the reverse. None starts from the other weights.
        optimization: Learning rates and schedule.
        backbone: The options of `BackboneConfig` by name.

    Attributes:
        monitor: The logged score that decides which epoch is best.
        mode: `max` if a higher score is better, `min` if a lower one is.
        model: The network, set by `configure_models`; its attribute `backbone` is a `Backbone`.
        tracked_layers: The layers whose effective dilation is measured, by name.
        train_loss: Mean loss over the epoch's batches and all processes, updated at every validation and at
            the epoch's end; nan before the first update. See `EpochLoss`.

    Raises:
        ConfigError: An option is out of its range.
        CheckpointError: `backbone_weights` or `init_weights` cannot be read or does not fit the network.
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
        optimization: Optimization = Optimization(),  # noqa: B008 (never modified)
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
        # Low-precision convolutions and deformable sampling both read all channels of a pixel together.
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
        """Sets the metrics, which are reset before every validation and test."""

    @property
    def backbone(self) -> Backbone:
        """The backbone of the network."""
        return cast(Backbone, self.model.backbone)

    @property
    def configuration(self) -> dict[str, Any]:
        """The network's options that result.json records."""
        network = asdict(self.backbone_config)
        del network["freeze_at"]  # Results of older versions lack it, and analysis compares these entries.
        if network["conv5"] == "atrous":
            network["num_deformable_layers"] = 0
        multiplier = self.optimization.offset_lr_multiplier
        return {**network, "offset_lr_multiplier": multiplier, "num_classes": self.num_classes}

    @property
    def class_names(self) -> Sequence[str]:
        """The names of the classes, or their numbers if the trainer has no data module."""
        datamodule = getattr(self.trainer, "datamodule", None)
        return datamodule.classes if datamodule is not None else [str(i) for i in range(self.num_classes)]

    def layer_geometry(self) -> dict[str, LayerGeometry]:
        """The geometry of each tracked layer's filters relative to the image, by layer name."""
        return {
            name: LayerGeometry.of(layer, self.backbone.pixels_per_cell(name))
            for name, layer in self.tracked_layers.items()
        }

    @contextmanager
    def recorded_layers(self) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """Records offsets and modulation of the tracked layers.

        Yields:
            Two dictionaries by layer name, offsets and modulation, which the forward pass fills; see
            `record_offsets` and `record_modulation`.
        """
        layers = self.tracked_layers
        with record_offsets(layers) as offsets, record_modulation(layers) as modulation:
            yield offsets, modulation

    def log_loss(self, loss: Tensor) -> Tensor:
        """Logs the loss of a training batch and watches it for divergence.

        Every training step must end with `return self.log_loss(loss)`.

        Args:
            loss: The loss, a scalar.

        Returns:
            The same loss.
        """
        self._divergence.observe_loss(loss, self.global_step)
        self._epoch_loss.add(loss)
        # This is one batch's loss in the first process; train/loss is the epoch's mean over all processes.
        self.log("train/loss_step", loss, on_step=True, on_epoch=False)
        return loss

    def configure_optimizers(self) -> Any:
        """SGD with the parameter groups and the schedule of `Optimization`."""
        total_steps = max(1, int(self.trainer.estimated_stepping_batches))
        warmup = self.optimization.warmup_steps
        if 2 * warmup > total_steps:
            rank_zero_info(
                f"the warm-up ({warmup} steps) is too long for this training (steps in all: {total_steps}); "
                "train longer, or lower --model.optimization.warmup_steps"
            )
        optimizer, scheduler = sgd_with_schedule(self.model, self.optimization, total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Prints the effective batch size if there are several processes."""
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
        """Resets the epoch's loss."""
        self._epoch_loss.reset()

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Remembers the batch, so that an error can name its images."""
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self._divergence.begin(self.global_step, self.current_epoch, rate, batch["name"])

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Watches the gradients for divergence."""
        # With float16, gradients are sometimes infinite: the scaler skips the step and lowers its scale.
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:
            gradients = [weight.grad for weight in self.parameters() if weight.grad is not None]
            self._divergence.observe_gradients(gradients, self.global_step)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stops a diverged training; on a GPU only at steps whose loss is logged, to avoid waiting for it."""
        interval = max(1, self.trainer.log_every_n_steps)  # type: ignore[attr-defined]
        if self.device.type == "cpu" or (batch_idx + 1) % interval == 0:
            self._divergence.check()

    def on_train_epoch_end(self) -> None:
        """Stops a diverged training and logs the epoch's loss."""
        self._divergence.check()
        self.train_loss = self._epoch_loss.mean()
        self.log("train/loss", self.train_loss)

    def on_validation_epoch_start(self) -> None:
        """Resets the metrics, which keep their values until the next validation."""
        if self.trainer.state.fn == TrainerFn.FITTING:
            self._check_state()
            self.train_loss = self._epoch_loss.mean()
        for metric in self.children():
            if isinstance(metric, Metric):
                metric.reset()

    def on_test_epoch_start(self) -> None:
        """Like `on_validation_epoch_start`."""
        self.on_validation_epoch_start()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Prevents a diverged training from replacing a good checkpoint.

        Raises:
            TrainingError: The loss, a gradient, a weight, a buffer or a momentum is not finite.
        """
        self._check_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint of another architecture, and sets the position of the training data.

        Raises:
            CheckpointError: A weight is missing, unknown, of another shape or not finite.
        """
        saved, own = checkpoint["state_dict"], self.state_dict()
        for name in sorted(set(saved) | set(own)):
            saved_shape = list(saved[name].shape) if name in saved else "missing"
            own_shape = list(own[name].shape) if name in own else "missing"
            if saved_shape != own_shape:
                raise CheckpointError(
                    f"the checkpoint has another architecture: {name} is {saved_shape} in the checkpoint and "
                    f"{own_shape} in this network; use the config.yaml beside the checkpoint's folder"
                )
            if not torch.isfinite(saved[name]).all():
                raise CheckpointError(
                    f"the checkpoint comes from a training that diverged: its {name} is infinite or nan; use "
                    "another checkpoint, for example best.ckpt in the same folder"
                )

        datamodule = getattr(self._trainer, "datamodule", None)
        if datamodule is not None and checkpoint.get("loops"):
            datamodule.resume(checkpoint["loops"])

    def _check_state(self) -> None:
        self._divergence.check()
        self._divergence.check_state(training_state(self, self.trainer.optimizers))
