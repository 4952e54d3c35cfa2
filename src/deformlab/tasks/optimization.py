"""SGD as in the papers: parameter groups, warm-up, and the step and poly schedules.

Sources: DCNv1 section 4.1 (step at two thirds), DeepLab v2 section 4.1.2 (poly), DCNv2 section 4.1 (learning
rate times 0.1 for offsets).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from deformlab.errors import ConfigError
from deformlab.layers import DeformPSRoIPool
from deformlab.options import check_choices

__all__ = ["Optimization", "parameter_groups", "schedule_factor", "sgd_with_schedule"]

OFFSET_MODULE = "conv_offset"
# The last layer that predicts shifts of bins in `DeformRoIPool`.
BIN_OFFSET_MODULE = "offset_fc"
# DCNv1's code, Faster R-CNN.
ROI_OFFSET_FC = 0.01
# The optimizer multiplies weights and gradients by the options below in float32.
LARGEST = torch.finfo(torch.float32).max


@dataclass
class Optimization:
    """Learning rates, weight decay and schedule of SGD.

    Raises:
        ConfigError: An option is out of its range, or an option or a learning rate times its multiplier is
            not finite in float32.
    """

    learning_rate: float = 1e-3
    """Base learning rate, > 0; not scaled by the number of processes."""

    momentum: float = 0.9
    """SGD momentum in [0, 1)."""

    weight_decay: float = 5e-4
    """L2 penalty, >= 0."""

    decay_norms_and_biases: bool = True
    """Whether normalisation parameters and biases are decayed too (the papers: yes)."""

    schedule: Literal["step", "poly"] = "step"
    """`step` (times 0.1 after the share `step_at` of all steps) or `poly` (power 0.9, to zero)."""

    step_at: float = 2 / 3
    """Share of all steps after which `step` lowers the learning rate, in (0, 1] (DCNv1: two thirds)."""

    warmup_steps: int = 0
    """Number of steps at the start with a lower learning rate, >= 0."""

    warmup: Literal["linear", "constant"] = "linear"
    """`linear`: from a tenth of the base rate to the base rate; `constant`: a tenth (DCNv1's code)."""

    offset_warmup_steps: int = 0
    """Number of steps over which the offsets' learning rate grows linearly from zero to its full value, >= 0.
    Offsets then move little until the features are meaningful."""

    offset_lr_multiplier: float = 0.1
    """β, the offset convolutions' learning rate as a multiple of the base rate (DCNv1: 1, DCNv2: 0.1)."""

    offset_bias_lr_multiplier: float | None = None
    """The same for their biases; None uses `offset_lr_multiplier` (DCNv1's DeepLab code: 2)."""

    roi_offset_lr_multiplier: float | None = None
    """The same for the layers of detectors that predict the shifts of RoI bins, weights and biases. None uses
    the values of DCNv1's code: 0.01 for Faster R-CNN's fully connected layer, 1 for R-FCN's maps."""

    def __post_init__(self) -> None:
        """Refuses values with which no training is possible."""
        if not 0 < self.learning_rate <= LARGEST:
            raise ConfigError(f"learning_rate must be > 0 and finite in float32, got {self.learning_rate}")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum must be in [0, 1), got {self.momentum}")
        if not 0 < self.step_at <= 1:
            raise ConfigError(f"step_at must be in (0, 1], got {self.step_at}")
        for name in (
            "weight_decay",
            "warmup_steps",
            "offset_warmup_steps",
            "offset_lr_multiplier",
            "offset_bias_lr_multiplier",
            "roi_offset_lr_multiplier",
        ):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= LARGEST:
                raise ConfigError(f"{name} must be >= 0 and finite in float32, got {value}")
            if value is not None and name.endswith("_multiplier") and value * self.learning_rate > LARGEST:
                raise ConfigError(f"learning_rate times {name} must be finite in float32, got {name}={value}")
        check_choices(self)


def parameter_groups(model: nn.Module, config: Optimization) -> list[dict[str, Any]]:
    """Splits the trainable parameters by learning rate and weight decay.

    Args:
        model: The network.
        config: Learning rate, multipliers and weight decay.

    Returns:
        Parameter groups for `torch.optim.SGD`. The `name` of each is `base`, `no_decay`, `offset`,
        `offset_bias`, `roi_offset_fc` or `roi_offset_maps`; empty groups are left out.
    """
    norm_types = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
    names = ("base", "no_decay", "offset", "offset_bias", "roi_offset_fc", "roi_offset_maps")
    groups: dict[str, list[nn.Parameter]] = {name: [] for name in names}
    maps = {layer.conv_offset for layer in model.modules() if isinstance(layer, DeformPSRoIPool)}
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            last_name = module_name.split(".")[-1]
            if module in maps:
                groups["roi_offset_maps"].append(parameter)
            elif last_name == BIN_OFFSET_MODULE:
                groups["roi_offset_fc"].append(parameter)
            elif last_name == OFFSET_MODULE:
                groups["offset_bias" if name == "bias" else "offset"].append(parameter)
            elif name == "bias" or isinstance(module, norm_types):
                groups["base" if config.decay_norms_and_biases else "no_decay"].append(parameter)
            else:
                groups["base"].append(parameter)

    beta = config.offset_lr_multiplier
    bias_beta = beta if config.offset_bias_lr_multiplier is None else config.offset_bias_lr_multiplier
    multiplier = {"base": 1.0, "no_decay": 1.0, "offset": beta, "offset_bias": bias_beta}
    of_bins = config.roi_offset_lr_multiplier
    multiplier |= {
        "roi_offset_fc": ROI_OFFSET_FC if of_bins is None else of_bins,
        "roi_offset_maps": 1.0 if of_bins is None else of_bins,
    }
    without_decay = {"no_decay"} if config.decay_norms_and_biases else {"no_decay", "offset_bias"}
    return [
        {
            "name": name,
            "params": parameters,
            "lr": config.learning_rate * multiplier[name],
            "weight_decay": 0.0 if name in without_decay else config.weight_decay,
        }
        for name, parameters in groups.items()
        if parameters
    ]


def schedule_factor(config: Optimization, total_steps: int, group: str) -> Callable[[int], float]:
    """The factor on a parameter group's learning rate as a function of the step.

    Args:
        config: Schedule and warm-up.
        total_steps: Number of steps of the whole training, >= 1.
        group: The group's name, see `parameter_groups`.

    Returns:
        A function from the step (0-based) to the factor.
    """

    def factor(step: int) -> float:
        if config.schedule == "step":
            value = 1.0 if step < total_steps * config.step_at else 0.1
        else:
            value = max(0.0, 1 - step / total_steps) ** 0.9
        if step < config.warmup_steps:
            value *= 0.1 + (0.9 * step / config.warmup_steps if config.warmup == "linear" else 0.0)
        if "offset" in group and step < config.offset_warmup_steps:
            value *= step / config.offset_warmup_steps
        return value

    return factor


def sgd_with_schedule(model: nn.Module, config: Optimization, total_steps: int) -> tuple[SGD, LambdaLR]:
    """SGD and its schedule.

    Args:
        model: The network.
        config: Learning rates, weight decay and schedule.
        total_steps: Number of steps of the whole training, >= 1.

    Returns:
        The optimizer, and the scheduler, which must be stepped after every optimizer step.
    """
    groups = parameter_groups(model, config)
    optimizer = SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    factors = [schedule_factor(config, total_steps, group["name"]) for group in groups]
    return optimizer, LambdaLR(optimizer, factors)
