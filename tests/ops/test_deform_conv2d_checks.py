"""Each illegal argument gives one line that names the argument, its value and what is legal."""

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from deformlab.ops import deform_conv2d

BAD_VALUES = [
    ({"input": [1]}, TypeError, "input is a list; it must be a tensor"),
    ({"offset": None}, TypeError, "offset is a NoneType; it must be a tensor"),
    ({"weight": 1.0}, TypeError, "weight is a float; it must be a tensor"),
    ({"bias": [1.0]}, TypeError, "bias is a list; it must be a tensor"),
    ({"mask": 1}, TypeError, "mask is a int; it must be a tensor"),
    ({"input": torch.zeros(6, 5, 4)}, ValueError, r"input has shape \(6, 5, 4\); it must have 4 dimensions"),
    ({"input": torch.zeros(2, 6, 0, 4)}, ValueError, r"input has shape \(2, 6, 0, 4\); only its batch size"),
    (
        {"input": torch.zeros(2, 6, 5, 4).long()},
        TypeError,
        "input has dtype torch.int64; legal here: torch.float64",
    ),
    (
        {"input": torch.zeros(2, 8, 5, 4)},
        ValueError,
        "3 input channels per group; that must divide input's 8",
    ),
    (
        {"input": torch.zeros(2, 6, 1, 4)},
        ValueError,
        "input of 1x4 gives an output of 0x3 with kernel 3x2, stride 2x1",
    ),
    ({"weight": torch.zeros(4, 3, 3)}, ValueError, r"weight has shape \(4, 3, 3\)"),
    (
        {"weight": torch.zeros(5, 3, 3, 2)},
        ValueError,
        "5 output channels; that must be a multiple of the 2 groups",
    ),
    (
        {"weight": torch.zeros(4, 3, 3, 2).double()},
        TypeError,
        "weight has dtype torch.float64; legal here: torch.float32",
    ),
    ({"weight": torch.zeros(0, 3, 3, 2)}, ValueError, "weight has shape .* none of its sizes may be zero"),
    (
        {"offset": torch.zeros(2, 35, 2, 3)},
        ValueError,
        "offset has 35 channels; it must have a multiple of 2·K = 12",
    ),
    (
        {"offset": torch.zeros(2, 48, 2, 3)},
        ValueError,
        "so 4 offset groups; that must divide input's 6 channels",
    ),
    (
        {"offset": torch.zeros(2, 36, 5, 4)},
        ValueError,
        r"offset has shape \(2, 36, 5, 4\).*must be \(2, 36, 2, 3\)",
    ),
    (
        {"offset": torch.zeros(2, 36, 2, 3).bfloat16()},
        TypeError,
        "offset has dtype torch.bfloat16; legal here: torch.float32",
    ),
    (
        {"offset": torch.zeros(2, 36, 2, 3, device="meta")},
        TypeError,
        "offset is on meta; it must be on input's device, cpu",
    ),
    (
        {"weight": torch.zeros(4, 3, 3, 2, device="meta")},
        TypeError,
        "weight is on meta; it must be on input's device, cpu",
    ),
    ({"bias": torch.zeros(4, device="meta")}, TypeError, "bias is on meta; it must be on input's device"),
    (
        {"mask": torch.zeros(2, 18, 2, 3, device="meta")},
        TypeError,
        "mask is on meta; it must be on input's device",
    ),
    (
        {"offset": torch.zeros(36, 2, 3)},
        ValueError,
        r"offset has shape \(36, 2, 3\); it must have 4 dimensions",
    ),
    (
        {"offset": torch.zeros(1, 36, 2, 3)},
        ValueError,
        r"offset has shape \(1, 36, 2, 3\).*must be \(2, 36, 2, 3\)",
    ),
    (
        {"mask": torch.zeros(2, 18, 2, 3).half()},
        TypeError,
        "mask has dtype torch.float16; legal here: torch.float32",
    ),
    ({"mask": torch.zeros(2, 18, 2)}, ValueError, r"mask has shape \(2, 18, 2\); it must have 4 dimensions"),
    (
        {"bias": torch.zeros(4).double()},
        TypeError,
        "bias has dtype torch.float64; legal here: torch.float32",
    ),
    (
        {"mask": torch.zeros(2, 9, 2, 3)},
        ValueError,
        r"mask has shape \(2, 9, 2, 3\).*must be \(2, 18, 2, 3\)",
    ),
    ({"bias": torch.zeros(3)}, ValueError, "bias has 3 values; it must have one per output channel, 4"),
    ({"bias": torch.zeros(4, 1)}, ValueError, r"bias has shape \(4, 1\); it must have 1 dimension"),
    (
        {"input": torch.zeros(2, 6, 1, 1).expand(2, 6, 2**16, 2**15)},
        ValueError,
        r"input has shape .* at most 2147483647 channels and 2147483647 cells per channel",
    ),
    ({"boundary": "border"}, ValueError, "boundary is 'border'; it must be 'zeros' or 'clamp'"),
    ({"boundary": True}, ValueError, "boundary is True; it must be 'zeros' or 'clamp'"),
    ({"stride": 0}, ValueError, "stride is 0; its numbers must be at least 1"),
    ({"stride": (1, 0)}, ValueError, r"stride is \(1, 0\); its numbers must be at least 1"),
    ({"padding": "same"}, TypeError, "padding is 'same'; it must be an integer or a pair"),
    ({"dilation": 0}, ValueError, "dilation is 0; its numbers must be at least 1"),
    ({"dilation": True}, TypeError, "dilation is True; it must be an integer or a pair"),
    ({"stride": 1.5}, TypeError, "stride is 1.5; it must be an integer or a pair"),
    ({"padding": (1, -1)}, ValueError, r"padding is \(1, -1\); its numbers must be at least 0"),
    ({"dilation": 2**31}, ValueError, "dilation is 2147483648; its numbers must be at most 2147483647"),
    ({"dilation": (1, 2, 3)}, TypeError, r"dilation is \(1, 2, 3\); it must be an integer or a pair"),
]


def in_fake_mode(**args):
    with FakeTensorMode() as mode:
        fake = {k: mode.from_tensor(v) if isinstance(v, Tensor) else v for k, v in args.items()}
        return deform_conv2d(**fake)


@pytest.mark.parametrize(("bad", "error", "message"), BAD_VALUES, ids=lambda value: str(value)[:40])
def test_bad_argument(arguments, bad, error, message):
    args = arguments(torch.float32) | bad
    with pytest.raises(error, match=message) as raised:
        deform_conv2d(**args)
    assert "\n" not in str(raised.value)
    with pytest.raises(error) as in_fake:
        in_fake_mode(**args)
    assert str(in_fake.value) == str(raised.value)


@pytest.mark.parametrize(
    "bad",
    [
        {"weight": 1.0},
        {"bias": torch.zeros(4, device="meta")},
        {"mask": torch.zeros(2, 9, 2, 3)},
        {"input": torch.zeros(2, 6, 1, 4)},
        {"stride": 0},
    ],
    ids=lambda bad: next(iter(bad)),
)
@pytest.mark.parametrize("dynamic", [False, True])
def test_the_error_message_is_the_same_under_torch_compile(arguments, bad, dynamic):
    args = arguments(torch.float32) | bad
    with pytest.raises((TypeError, ValueError)) as raised:
        deform_conv2d(**args)
    torch.compiler.reset()
    with pytest.raises(raised.type) as compiled:
        torch.compile(deform_conv2d, backend="eager", dynamic=dynamic)(**args)
    assert str(compiled.value) == str(raised.value)
    if dynamic:  # sizes that are symbols cannot be written into a text while it traces
        return
    torch.compiler.reset()
    # As one graph nothing can run as it is, so that the compiler reports it, with our line.
    with pytest.raises(torch._dynamo.exc.Unsupported) as as_one_graph:
        torch.compile(deform_conv2d, backend="eager", dynamic=dynamic, fullgraph=True)(**args)
    assert str(raised.value) in str(as_one_graph.value)


@pytest.mark.parametrize("name", ["input", "weight", "bias", "mask"])
def test_an_argument_that_is_not_a_tensor_is_named_under_autocast_too(arguments, name):
    args = arguments(torch.float32) | {name: [1.0]}
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(TypeError, match=f"{name} is a list; it must be a tensor"),
    ):
        deform_conv2d(**args)


def test_float32_offsets_beside_16_bit_input_are_legal(arguments):
    args = arguments(torch.bfloat16)
    args["offset"] = args["offset"].float()
    assert deform_conv2d(**args).dtype == torch.bfloat16
