"""scripts/fuzz_ops.py finds what is wrong, says in which call, and makes that call again."""

import importlib.util
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from deformlab.ops import backend, reference
from deformlab.ops._impl.deform_conv2d import check_deform_conv2d

SCRIPT = Path(__file__).parents[1] / "scripts" / "fuzz_ops.py"
specification = importlib.util.spec_from_file_location("fuzz_ops", SCRIPT)
fuzz_ops = importlib.util.module_from_spec(specification)
specification.loader.exec_module(fuzz_ops)


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(backend("cpu") != "native", reason="the native operators are not compiled")
def test_the_compiled_operators_pass(capsys):
    assert fuzz_ops.main(["--calls", "60"]) == 0
    assert capsys.readouterr().out.startswith("60 calls of seed 0: ")


class FaultyOperators:
    """The compiled operators with one fault."""

    def __init__(self, fault):
        self.deform_conv2d = lambda *args: fault(torch.ops.deformlab.deform_conv2d(*args))
        self.deform_conv2d_backward = SimpleNamespace(
            overloads=lambda: ["default"], default=torch.ops.deformlab.deform_conv2d_backward.default
        )


@pytest.mark.skipif(backend("cpu") != "native", reason="the native operators are not compiled")
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda output: output * (1 + 1e-3), "output: off by"),
        (lambda output: output[:, :-1], "output: shape"),
        (lambda output: output.to(torch.complex64), "output: dtype"),
    ],
)
def test_a_fault_is_reported_with_its_call_and_found_again_there(monkeypatch, capsys, fault, message):
    calls = fuzz_ops.Calls(FaultyOperators(fault), check_deform_conv2d, reference.deform_conv2d)
    monkeypatch.setattr(fuzz_ops, "load", lambda options: calls)
    assert fuzz_ops.main(["--calls", "50", "--seed", "3"]) == 1
    report = capsys.readouterr().err
    assert message in report or "gradient of another shape" in report
    assert "  weight: torch." in report
    number = report.split("call ")[1].split(" of seed 3")[0]
    assert fuzz_ops.main(["--first", number, "--calls", "1", "--seed", "3"]) == 1
    assert capsys.readouterr().err == report


def test_a_layout_keeps_the_values_and_surrounds_them_with_nan():
    values = torch.arange(24.0).reshape(2, 3, 2, 2)
    strides = set()
    for seed in range(30):
        other = fuzz_ops.lay_out(random.Random(seed), values)
        strides.add(other.stride())
        assert torch.equal(other, values) or torch.equal(other, values[:1].expand_as(values))
        memory = other.as_strided((other.untyped_storage().nbytes() // 4,), (1,), 0)
        assert memory.isnan().any() or other.stride(0) == 0
    assert len(strides) > 4


@pytest.mark.parametrize("seed", range(30))
def test_a_call_is_found_however_small_it_has_to_be(seed):
    args = fuzz_ops.legal_arguments(random.Random(seed), most_products=500)
    columns = args["weight"][0].numel() * args["offset"][:, 0].numel()
    assert columns * len(args["weight"]) <= 500
