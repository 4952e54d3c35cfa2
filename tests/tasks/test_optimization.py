import dataclasses
import math

import pytest
import torch
from torch import nn

from deformlab.errors import ConfigError
from deformlab.layers import DeformConv2d, DeformPSRoIPool, DeformRoIPool
from deformlab.tasks.optimization import Optimization, parameter_groups, schedule_factor, sgd_with_schedule

NUMBERS = [field.name for field in dataclasses.fields(Optimization) if field.type in (float, float | None)]


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), DeformConv2d(4, 4, 3))


def groups_by_name(config: Optimization, model: nn.Module | None = None) -> dict[str, dict]:
    return {group["name"]: group for group in parameter_groups(model or network(), config)}


def test_offsets_learn_at_beta_times_the_base_rate():
    groups = groups_by_name(Optimization(learning_rate=0.1, offset_lr_multiplier=0.01))
    assert groups["base"]["lr"] == 0.1
    assert groups["offset"]["lr"] == pytest.approx(0.001)
    assert groups["offset_bias"]["lr"] == pytest.approx(0.001)
    assert [p.shape[0] for p in groups["offset"]["params"]] == [18]


def test_the_authors_deeplab_code_doubles_the_rate_of_offset_biases():
    config = Optimization(learning_rate=1.0, offset_lr_multiplier=1.0, offset_bias_lr_multiplier=2.0)
    groups = groups_by_name(config)
    assert (groups["offset"]["lr"], groups["offset_bias"]["lr"]) == (1.0, 2.0)


def test_every_trainable_parameter_is_in_exactly_one_group():
    model = network()
    model[0].weight.requires_grad_(False)
    grouped = [id(p) for group in parameter_groups(model, Optimization()) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_norms_and_biases_are_decayed_as_in_the_papers_unless_asked_otherwise():
    assert set(groups_by_name(Optimization())) == {"base", "offset", "offset_bias"}
    groups = groups_by_name(Optimization(weight_decay=0.1, decay_norms_and_biases=False))
    assert groups["base"]["weight_decay"] == 0.1
    assert groups["no_decay"]["weight_decay"] == 0.0
    assert groups["offset_bias"]["weight_decay"] == 0.0
    # conv bias, batch norm's weight and bias, deformable convolution's bias
    assert len(groups["no_decay"]["params"]) == 4


def test_step_schedule_divides_by_ten_after_two_thirds():
    factor = schedule_factor(Optimization(schedule="step"), total_steps=30, group="base")
    assert [factor(step) for step in (0, 19, 20, 29)] == [1.0, 1.0, 0.1, 0.1]


def test_step_schedule_can_step_where_the_authors_did():
    factor = schedule_factor(Optimization(schedule="step", step_at=0.5), total_steps=10, group="base")
    assert [factor(step) for step in (4, 5)] == [1.0, 0.1]


def test_poly_schedule_ends_at_zero_with_power_nine_tenths():
    factor = schedule_factor(Optimization(schedule="poly"), total_steps=10, group="base")
    assert factor(0) == 1.0
    assert factor(5) == pytest.approx(0.5**0.9)
    assert factor(10) == 0.0


@pytest.mark.parametrize(("warmup", "halfway"), [("linear", 0.55), ("constant", 0.1)])
def test_warm_up_starts_at_a_tenth(warmup, halfway):
    config = Optimization(warmup_steps=10, warmup=warmup)
    factor = schedule_factor(config, total_steps=1000, group="base")
    assert factor(0) == pytest.approx(0.1)
    assert factor(5) == pytest.approx(halfway)
    assert factor(10) == 1.0


def test_offsets_warm_up_linearly_from_zero():
    config = Optimization(offset_warmup_steps=10)
    factor = schedule_factor(config, total_steps=1000, group="offset")
    assert [factor(step) for step in (0, 5, 10)] == [0.0, 0.5, 1.0]
    assert schedule_factor(config, total_steps=1000, group="base")(0) == 1.0


def test_the_schedule_is_applied_per_step_and_per_group():
    config = Optimization(learning_rate=1.0, offset_lr_multiplier=0.5, offset_warmup_steps=2)
    optimizer, scheduler = sgd_with_schedule(network(), config, total_steps=100)
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 0.0, 0.0]
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 0.25, 0.25]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("learning_rate", 0.0),
        ("momentum", 1.0),
        ("weight_decay", -1.0),
        ("schedule", "cosine"),
        ("warmup", "slow"),
        ("step_at", 0.0),
        ("offset_lr_multiplier", -0.1),
        ("warmup_steps", -1),
        # Finite as Python's numbers, infinite in the optimizer's float32.
        ("learning_rate", 1e39),
        ("weight_decay", 1e39),
        ("offset_lr_multiplier", 1e39),
        ("offset_bias_lr_multiplier", 1e39),
        ("warmup_steps", 10**400),
        *((name, value) for value in (math.nan, math.inf) for name in NUMBERS),
    ],
)
def test_an_illegal_value_is_named_with_what_would_be_legal(argument, value):
    with pytest.raises(ConfigError, match=argument) as error:
        Optimization(**{argument: value})
    assert str(value) in str(error.value)


def test_a_multiplied_learning_rate_must_be_finite_too():
    with pytest.raises(ConfigError, match="offset_lr_multiplier"):
        Optimization(learning_rate=1e20, offset_lr_multiplier=1e20)


@pytest.mark.parametrize(("multiplier", "rates"), [(None, [0.01, 1.0]), (0.5, [0.5, 0.5])])
def test_shifts_of_bins_have_their_own_learning_rates(multiplier, rates):
    model = nn.ModuleDict(
        {
            "faster": DeformRoIPool(4, 3, 1 / 16),
            "rfcn": DeformPSRoIPool(4, 3, 1 / 16, 2),
            "conv": DeformConv2d(4, 4, 3),
        }
    )
    config = Optimization(learning_rate=1.0, offset_lr_multiplier=0.3, roi_offset_lr_multiplier=multiplier)
    groups = {group["name"]: group for group in parameter_groups(model, config)}
    assert [groups[name]["lr"] for name in ("roi_offset_fc", "roi_offset_maps")] == rates
    assert groups["offset"]["lr"] == 0.3
    counts = {name: len(group["params"]) for name, group in groups.items()}
    assert counts == {
        "base": 2,
        "offset": 1,
        "offset_bias": 1,
        "roi_offset_fc": 2,
        "roi_offset_maps": 2,
    }
