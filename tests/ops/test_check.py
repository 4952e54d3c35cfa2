"""Each illegal argument gives one line that names it, its value and what would be legal."""

import pytest
import torch

from deformlab.ops import deform_conv2d

BAD_VALUES = [
    ({"input": [1]}, TypeError, "input is a list; it must be a tensor"),
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
    ({"stride": 1.5}, TypeError, "stride is 1.5; it must be an integer or a pair"),
    ({"padding": (1, -1)}, ValueError, r"padding is \(1, -1\); its numbers must be at least 0"),
    ({"dilation": 2**31}, ValueError, "dilation is 2147483648; its numbers must be at most 2147483647"),
    ({"dilation": (1, 2, 3)}, TypeError, r"dilation is \(1, 2, 3\); it must be an integer or a pair"),
]


@pytest.mark.parametrize(("bad", "error", "message"), BAD_VALUES, ids=lambda value: str(value)[:40])
def test_bad_argument(arguments, bad, error, message):
    with pytest.raises(error, match=message) as raised:
        deform_conv2d(**(arguments(torch.float32) | bad))
    assert "\n" not in str(raised.value)


def test_float32_offsets_beside_16_bit_input_are_legal(arguments):
    args = arguments(torch.bfloat16)
    args["offset"] = args["offset"].float()
    assert deform_conv2d(**args).dtype == torch.bfloat16
