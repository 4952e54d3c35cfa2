"""Each illegal argument of `deform_roi_pool` gives one line: the argument, its value and what is legal."""

import math

import pytest
import torch

from deformlab.ops import deform_roi_pool


def arguments():
    return {
        "input": torch.zeros(2, 36, 6, 7),
        "boxes": torch.tensor([[0.0, 1, 1, 5, 5], [1, 0, 0, 4, 4]]),
        "output_size": 3,
        "spatial_scale": 0.5,
        "offset": torch.zeros(2, 4, 3, 3),
        "mask": torch.zeros(2, 2, 3, 3),
        "group_size": 3,
    }


BAD = [
    ({"input": [1]}, TypeError, "input is a list; it must be a tensor"),
    ({"input": torch.zeros(36, 6, 7)}, ValueError, r"input has shape \(36, 6, 7\); it must have 4 dim"),
    ({"input": torch.zeros(2, 36, 0, 7)}, ValueError, "only its batch size may be zero"),
    ({"input": torch.zeros(2, 36, 6, 7).long()}, TypeError, "input has dtype torch.int64; legal here"),
    ({"input": torch.zeros(2, 35, 6, 7)}, ValueError, "input has 35 channels; it must have a multiple of"),
    ({"boxes": None}, TypeError, "boxes is a NoneType; it must be a tensor"),
    ({"boxes": torch.zeros(2, 4)}, ValueError, r"boxes has shape \(2, 4\); it must have 5 columns: the ind"),
    ({"boxes": torch.zeros(5)}, ValueError, r"boxes has shape \(5,\); it must have 2 dimensions"),
    ({"boxes": torch.zeros(2, 5).long()}, TypeError, "boxes has dtype torch.int64; legal here"),
    ({"boxes": torch.zeros(2, 5, device="meta")}, TypeError, "boxes is on meta; it must be on input's dev"),
    ({"boxes": [torch.zeros(2, 4)]}, ValueError, "boxes is a list of 1 tensors; it must have one for each"),
    ({"boxes": [torch.zeros(1, 5)] * 2}, ValueError, r"boxes\[0\] has shape \(1, 5\); it must have 4 col"),
    ({"boxes": [torch.zeros(1, 4), 1]}, TypeError, r"boxes\[1\] is a int; it must be a tensor"),
    (
        {"boxes": torch.tensor([[0.0, 1, 1, 5, 5], [2, 0, 0, 4, 4]])},
        ValueError,
        "boxes has 2 as index of the image in row 1; it must be an integer from 0 to 1",
    ),
    ({"boxes": torch.tensor([[-1.0, 1, 1, 5, 5]] * 2)}, ValueError, "boxes has -1 as index of the image"),
    ({"boxes": torch.tensor([[0.5, 1, 1, 5, 5]] * 2)}, ValueError, "boxes has 0.5 as index of the image"),
    ({"boxes": torch.tensor([[math.nan, 1, 1, 5, 5]] * 2)}, ValueError, "boxes has nan as index"),
    ({"output_size": 0}, ValueError, "output_size is 0; its numbers must be at least 1"),
    ({"output_size": 3.0}, TypeError, "output_size is 3.0; it must be an integer or a pair"),
    ({"output_size": (3, 5000)}, ValueError, r"output_size is \(3, 5000\); its numbers must be at most 4096"),
    ({"spatial_scale": 0.0}, ValueError, "spatial_scale is 0.0; it must be finite and greater than 0"),
    ({"spatial_scale": math.inf}, ValueError, "spatial_scale is inf; it must be finite"),
    ({"spatial_scale": "1/16"}, TypeError, "spatial_scale is '1/16'; it must be a number"),
    ({"group_size": 0}, ValueError, "group_size is 0; it must be an integer from 1 to 4096"),
    ({"group_size": True}, ValueError, "group_size is True; it must be an integer"),
    ({"group_size": 5000}, ValueError, "group_size is 5000; it must be an integer from 1 to 4096"),
    ({"part_size": 0}, ValueError, "part_size is 0; it must be None or an integer from 1 to 4096"),
    ({"part_size": 2}, ValueError, r"offset has shape \(2, 4, 3, 3\); with these regions .* \(2, 4, 2, 2\)"),
    ({"samples_per_bin": 0}, ValueError, "samples_per_bin is 0; it must be in 1 to"),
    ({"samples_per_bin": 1.5}, TypeError, "samples_per_bin is 1.5; it must be an integer"),
    ({"samples_per_bin": 2**31}, ValueError, "samples_per_bin is 2147483648; it must be at most"),
    (
        {"samples_per_bin": -1, "convention": "aligned"},
        ValueError,
        "samples_per_bin is -1; it must be in 0 to",
    ),
    ({"gamma": 0}, ValueError, "gamma is 0; it must be finite and greater than 0"),
    ({"gamma": math.nan}, ValueError, "gamma is nan; it must be finite"),
    ({"gamma": None}, TypeError, "gamma is None; it must be a number"),
    ({"convention": "mmcv"}, ValueError, "convention is 'mmcv'; it must be 'authors' or 'aligned'"),
    ({"offset": 1}, TypeError, "offset is a int; it must be a tensor"),
    ({"offset": torch.zeros(2, 4, 3, 3).double()}, TypeError, "offset has dtype torch.float64; legal here"),
    ({"offset": torch.zeros(2, 4, 3)}, ValueError, r"offset has shape \(2, 4, 3\); it must have 4 dimens"),
    ({"offset": torch.zeros(2, 3, 3, 3)}, ValueError, "offset has 3 channels; it must have 2 per class"),
    ({"offset": torch.zeros(2, 6, 3, 3)}, ValueError, "must divide the 4 output channels"),
    ({"offset": torch.zeros(2, 0, 3, 3)}, ValueError, "offset has 0 channels; it must have 2 per class"),
    ({"offset": torch.zeros(3, 4, 3, 3)}, ValueError, r"offset has shape \(3, 4, 3, 3\); .* \(2, 4, 3, 3\)"),
    ({"mask": "no"}, TypeError, "mask is a str; it must be a tensor"),
    ({"mask": torch.zeros(2, 2, 3, 3).half()}, TypeError, "mask has dtype torch.float16; legal here"),
    ({"mask": torch.zeros(2, 4, 3, 3)}, ValueError, "mask has 4 channels; it must have one per class of of"),
    ({"mask": torch.zeros(2, 3, 3, 3), "offset": None}, ValueError, "mask has 3 channels; it must have 1 p"),
    ({"mask": torch.zeros(2, 2, 3, 2)}, ValueError, r"mask has shape \(2, 2, 3, 2\); .* \(2, 2, 3, 3\)"),
]


@pytest.mark.parametrize(("changes", "error", "message"), BAD)
def test_a_bad_argument_is_named_in_one_line(changes, error, message):
    with pytest.raises(error, match=message) as caught:
        deform_roi_pool(**(arguments() | changes))
    text = str(caught.value)
    assert text.startswith("deform_roi_pool: ")
    assert "\n" not in text
    assert len(text) < 250


def test_the_arguments_that_the_tests_change_are_legal():
    assert deform_roi_pool(**arguments()).shape == (2, 4, 3, 3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_boxes_may_have_any_floating_point_dtype(dtype):
    args = arguments()
    args["input"] = torch.randn(2, 36, 6, 7, generator=torch.Generator().manual_seed(0))
    expected = deform_roi_pool(**args)
    assert torch.equal(deform_roi_pool(**(args | {"boxes": args["boxes"].to(dtype)})), expected)


def test_the_meta_device_gives_the_shape():
    args = {k: v.to("meta") if isinstance(v, torch.Tensor) else v for k, v in arguments().items()}
    output = deform_roi_pool(**args)
    assert output.shape == (2, 4, 3, 3)
    assert output.device.type == "meta"


def test_a_list_of_no_boxes_gives_an_empty_result():
    args = arguments() | {"boxes": [torch.zeros(0, 4)] * 2, "offset": None, "mask": None}
    assert deform_roi_pool(**args).shape == (0, 4, 3, 3)
    args["input"] = args["input"][:0]
    assert deform_roi_pool(**(args | {"boxes": []})).shape == (0, 4, 3, 3)


def test_bins_may_differ_along_height_and_width():
    args = arguments() | {"output_size": (3, 5), "offset": torch.zeros(2, 4, 3, 5), "mask": None}
    assert deform_roi_pool(**args).shape == (2, 4, 3, 5)
