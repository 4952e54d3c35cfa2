"""Mixed bfloat16 becomes float32 where the processor is slow in it, and only there."""

import pytest
import torch

from deformlab.cli import precision
from deformlab.cli.precision import affordable_precision


@pytest.fixture
def slow_processor(monkeypatch):
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)


@pytest.mark.parametrize("accelerator", ["cpu", "auto"])
def test_mixed_bfloat16_becomes_float32_on_a_slow_processor(slow_processor, accelerator):
    assert affordable_precision("bf16-mixed", accelerator) == "32-true"


@pytest.mark.parametrize("asked", ["32-true", "bf16-true", "16-mixed", None])
def test_other_precisions_stay(slow_processor, asked):
    assert affordable_precision(asked, "cpu") == asked


def test_an_accelerator_keeps_it(slow_processor, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert affordable_precision("bf16-mixed", "auto") == "bf16-mixed"
    assert affordable_precision("bf16-mixed", "cuda") == "bf16-mixed"


def test_a_fast_processor_keeps_it(monkeypatch):
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: True)
    assert affordable_precision("bf16-mixed", "cpu") == "bf16-mixed"
