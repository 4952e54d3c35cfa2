"""nms and soft_nms inside PyTorch: tracing with sizes that depend on values, autocast, threads, bad input."""

import math
import warnings

import pytest
import torch

from deformlab.ops import NativeStatus, batched_nms, nms, reference, soft_nms
from deformlab.ops._impl import native as loader

CLASSES = torch.arange(40) % 3


def make_boxes(count=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corners, sizes = torch.rand((2, count, 2), generator=generator) * 20
    return torch.cat((corners, corners + sizes), dim=1), torch.rand(count, generator=generator)


@pytest.mark.parametrize("idxs", [None, CLASSES])
def test_opcheck_of_nms(native, idxs):
    torch.library.opcheck(torch.ops.deformlab.nms.default, (*make_boxes(), idxs, 0.3, 1))


@pytest.mark.parametrize("gaussian", [True, False])
def test_opcheck_of_soft_nms(native, gaussian):
    args = (*make_boxes(), 0.3, gaussian, 0.6, 0.2, 30, 0)
    torch.library.opcheck(torch.ops.deformlab.soft_nms.default, args)


def proposals(boxes, scores):
    kept = nms(boxes, scores, 0.3)
    of_classes = batched_nms(boxes, scores, torch.arange(boxes.shape[0]) % 3, 0.3)
    lowered, selected = soft_nms(boxes, scores, min_score=0.2)
    return boxes[kept] * 2, scores[of_classes].sum(), boxes[selected] * lowered[:, None]


@pytest.fixture(params=["native", "without the library"])
def _backend(request, monkeypatch):
    if request.param == "native":
        request.getfixturevalue("native")
        return
    status = NativeStatus(loaded=False, path=None, cuda=False, reason="nothing was compiled")
    monkeypatch.setattr(loader, "_STATUS", status)


@pytest.mark.usefixtures("_backend")
@pytest.mark.parametrize("dynamic", [None, True])
def test_compiles_without_a_graph_break(dynamic):
    compiled = torch.compile(proposals, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "deformlab runs its operators on plain PyTorch")
        for count in (40, 25):
            boxes, scores = make_boxes(count)
            torch.testing.assert_close(compiled(boxes, scores), proposals(boxes, scores))


@pytest.mark.slow
def test_code_generated_by_torch_compile_runs(native):
    compiled = torch.compile(proposals, fullgraph=True)
    torch.testing.assert_close(compiled(*make_boxes()), proposals(*make_boxes()))


class Proposals(torch.nn.Module):
    def forward(self, boxes, scores):
        return proposals(boxes, scores)


def test_an_exported_program_takes_any_number_of_boxes(native):
    count = torch.export.Dim("count", min=2)
    program = torch.export.export(Proposals(), make_boxes(), dynamic_shapes=({0: count}, {0: count}))
    for number in (2, 33):
        torch.testing.assert_close(program.module()(*make_boxes(number)), proposals(*make_boxes(number)))


@pytest.mark.usefixtures("_backend")
def test_autocast_changes_nothing():
    boxes, scores = make_boxes()
    boxes += 1000  # in bfloat16, all of them would be the same
    expected = nms(boxes, scores, 0.3), *soft_nms(boxes, scores)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = nms(boxes, scores, 0.3), *soft_nms(boxes, scores)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@pytest.mark.usefixtures("_backend")
def test_no_result_has_a_derivative():
    boxes, scores = (tensor.requires_grad_() for tensor in make_boxes())
    results = nms(boxes, scores, 0.3), *soft_nms(boxes, scores)
    assert not any(result.requires_grad for result in results)


def test_the_values_of_kept_boxes_have_derivatives_also_in_torch_func(native):
    boxes, scores = make_boxes()
    gradient = torch.func.grad(lambda scores: scores[nms(boxes, scores, 0.3)].sum())(scores)
    expected = torch.zeros(40)
    expected[nms(boxes, scores, 0.3)] = 1
    assert torch.equal(gradient, expected)


@pytest.mark.parametrize("function", ["nms", "batched_nms"])
def test_the_number_of_threads_changes_nothing(native, function):
    boxes, scores = make_boxes(6000)
    boxes = torch.cat((boxes[:, :2] * 30, boxes[:, :2] * 30 + 15), dim=1)
    idxs = (torch.arange(6000) // 5500,) if function == "batched_nms" else ()
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append({"nms": nms, "batched_nms": batched_nms}[function](boxes, scores, *idxs, 0.5))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[0], getattr(reference, function)(boxes, scores, *idxs, 0.5))
    assert 3000 < len(results[0]) < 5500  # enough for several threads


BOXES, SCORES = torch.zeros(3, 4), torch.zeros(3)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"boxes": [[0, 0, 1, 1]]}, TypeError, "boxes is a list; it must be a tensor"),
        ({"boxes": BOXES.long()}, TypeError, "boxes has dtype torch.int64"),
        ({"boxes": BOXES[0]}, ValueError, r"boxes has shape \(4,\); it must have 2 dimensions"),
        ({"boxes": torch.zeros(3, 5)}, ValueError, r"boxes has shape \(3, 5\); it must be \(N, 4\)"),
        ({"scores": None}, TypeError, "scores is a NoneType"),
        ({"scores": SCORES.long()}, TypeError, "scores has dtype torch.int64"),
        ({"scores": SCORES[None]}, ValueError, "scores has shape"),
        ({"scores": SCORES[1:]}, ValueError, "scores has 2 values; it must have one per box, 3"),
        ({"scores": SCORES.to("meta")}, TypeError, "scores is on meta; it must be on the boxes' device, cpu"),
        ({"iou_threshold": 1.5}, ValueError, "iou_threshold is 1.5; it must be from 0 to 1"),
        ({"iou_threshold": math.nan}, ValueError, "iou_threshold is nan"),
        ({"iou_threshold": "0.5"}, TypeError, "iou_threshold is '0.5'; it must be a number"),
        ({"offset": 2}, ValueError, "offset is 2; it must be 0 or 1"),
        ({"offset": True}, TypeError, "offset is True; it must be 0 or 1"),
        ({"offset": 1.0}, TypeError, "offset is 1.0; it must be 0 or 1"),
    ],
)
@pytest.mark.parametrize("function", [nms, batched_nms, soft_nms])
def test_bad_input_is_refused_in_one_line(function, changes, error, message):
    args = {"boxes": BOXES, "scores": SCORES, "iou_threshold": 0.5} | changes
    if function is batched_nms:
        args["idxs"] = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(error, match=f"^{function.__name__}: {message}") as raised:
        function(**args)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("idxs", "error", "message"),
    [
        (None, TypeError, "idxs is None; it must be a tensor"),
        (SCORES, TypeError, "idxs has dtype torch.float32"),
        (torch.zeros(3, dtype=torch.bool), TypeError, "idxs has dtype torch.bool"),
        (torch.zeros(2, dtype=torch.int64), ValueError, "idxs has 2 values; it must have one per box, 3"),
    ],
)
def test_bad_classes_are_refused_in_one_line(idxs, error, message):
    with pytest.raises(error, match=f"^batched_nms: {message}"):
        batched_nms(BOXES, SCORES, idxs, 0.5)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"method": "hard"}, ValueError, "method is 'hard'; it must be 'gaussian' or 'linear'"),
        ({"sigma": 0}, ValueError, "sigma is 0; it must be greater than 0 and finite"),
        ({"sigma": math.inf}, ValueError, "sigma is inf"),
        ({"sigma": None}, TypeError, "sigma is None; it must be a number"),
        ({"min_score": math.nan}, ValueError, "min_score is nan"),
        ({"min_score": "low"}, TypeError, "min_score is 'low'; it must be a number"),
        ({"max_output": -1}, ValueError, "max_output is -1; it must be at least 0"),
        ({"max_output": 1.5}, TypeError, "max_output is 1.5; it must be an integer or None"),
    ],
)
def test_bad_options_of_soft_nms_are_refused_in_one_line(changes, error, message):
    with pytest.raises(error, match=f"^soft_nms: {message}"):
        soft_nms(BOXES, SCORES, **changes)


@pytest.mark.parametrize("scores", [SCORES[1:], SCORES[None]])
def test_the_library_itself_refuses_shapes_that_do_not_fit(native, host_operators, scores):
    for operators in (torch.ops.deformlab, host_operators):
        with pytest.raises(RuntimeError, match="shapes do not fit"):
            operators.nms(BOXES, scores, None, 0.5, 0)
        with pytest.raises(RuntimeError, match="shapes do not fit"):
            operators.soft_nms(BOXES, scores, 0.5, True, 0.6, 0.0, 3, 0)
