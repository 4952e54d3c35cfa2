"""scripts/fuzz_ops.py finds what is wrong, says in which call, and makes that call again."""

import importlib
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from deformlab.ops import backend

SCRIPTS = Path(__file__).parents[1] / "scripts"
native = pytest.mark.skipif(backend("cpu") != "native", reason="the native operators are not compiled")


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fuzz_ops(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("fuzz_ops")


@pytest.fixture
def operators(fuzz_ops):
    """The operators' classes by name."""
    return {kind.name: kind for kind in fuzz_ops.OPERATORS}


@native
def test_the_compiled_operators_pass(fuzz_ops, capsys):
    assert fuzz_ops.main(["--calls", "60"]) == 0
    assert capsys.readouterr().out.startswith("60 calls of ")


@native
def test_calls_are_divided_by_share(fuzz_ops, operators, monkeypatch, capsys):
    made = []
    for kind in operators.values():
        monkeypatch.setattr(kind, "run", lambda self, rng, args: made.append(self.name) or "legal")
    shares = sum(kind.share for kind in operators.values())
    assert fuzz_ops.main(["--calls", str(2 * shares)]) == 0
    assert all(made.count(name) == 2 * kind.share for name, kind in operators.items())


class FaultyLibrary:
    """The compiled operators with one fault in deform_conv2d."""

    def __init__(self, fault):
        self.deform_conv2d = lambda *args: fault(torch.ops.deformlab.deform_conv2d(*args))
        self.deform_conv2d_backward = SimpleNamespace(
            overloads=lambda: ["default"], default=torch.ops.deformlab.deform_conv2d_backward.default
        )

    def __getattr__(self, name):
        return getattr(torch.ops.deformlab, name)


@native
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda output: output * (1 + 1e-3), "output: off by"),
        (lambda output: output[:, :-1], "output: shape"),
        (lambda output: output.to(torch.complex64), "output: dtype"),
    ],
)
def test_a_fault_is_reported_with_its_call_and_found_again_there(
    fuzz_ops, monkeypatch, capsys, fault, message
):
    monkeypatch.setattr(fuzz_ops, "load", lambda options: FaultyLibrary(fault))
    assert fuzz_ops.main(["--calls", "80", "--seed", "3"]) == 1
    report = capsys.readouterr().err
    assert message in report or "gradient of another shape" in report
    assert "  weight: torch." in report
    again = report.split("repeated by ")[1].split(":")[0].split()
    assert fuzz_ops.main(again) == 1
    assert capsys.readouterr().err == report


def test_a_layout_keeps_the_values_and_surrounds_them_with_nan(fuzz_ops):
    lay_out = importlib.import_module("fuzz.operator").lay_out
    values = torch.arange(24.0).reshape(2, 3, 2, 2)
    strides = set()
    for seed in range(30):
        other = lay_out(random.Random(seed), values)
        strides.add(other.stride())
        assert torch.equal(other, values) or torch.equal(other, values[:1].expand_as(values))
        memory = other.as_strided((other.untyped_storage().nbytes() // 4,), (1,), 0)
        assert memory.isnan().any() or other.stride(0) == 0
    assert len(strides) > 4


@native
@pytest.mark.parametrize("seed", range(30))
def test_a_call_is_found_however_small_it_has_to_be(operators, seed):
    operator = operators["deform_conv2d"](torch.ops.deformlab)
    args = operator.legal_arguments(random.Random(seed), most_work=500)
    columns = args["weight"][0].numel() * args["offset"][:, 0].numel()
    assert columns * len(args["weight"]) <= 500
