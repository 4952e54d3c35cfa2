"""Random calls of nms and batched_nms, which are one operator of the library, and of soft_nms."""

import random
from typing import Any

import torch
from torch import Tensor

from fuzz.operator import DTYPES, FAR, Arguments, Operator, grid, lay_out

__all__ = ["Nms", "SoftNms"]

# Many IoUs of small integer boxes are exactly one of these.
_THRESHOLDS = (0.0, 0.25, 0.3, 1 / 3, 0.5, 0.7, 1.0)


class Nms(Operator):
    """Boxes on a grid with many ties of IoUs and scores, with and without classes; some NaN or infinite."""

    name = "nms"
    tensors = ("boxes", "scores", "idxs")
    others = ("iou_threshold", "offset")
    spoiled = ("iou_threshold", "offset")

    def legal_arguments(self, rng: random.Random, most_work: int) -> Arguments:
        """Return arguments with at most `most_work` pairs of boxes."""
        boxes = _boxes(rng, most_work)
        classes = grid(rng, (len(boxes),), rng.choice((0, 1, 20))).to(rng.choice((torch.int64, torch.int8)))
        return {
            "boxes": lay_out(rng, boxes),
            "scores": lay_out(rng, _scores(rng, len(boxes))),
            "idxs": lay_out(rng, classes) if rng.random() < 0.5 else None,
            "iou_threshold": rng.choice(_THRESHOLDS),
            "offset": rng.choice((0, 1)),
        }

    def check(self, values: Arguments) -> None:
        """Check the arguments."""
        from deformlab.ops._impl.nms import check_nms

        check_nms(**values)

    def forward(self, values: Arguments) -> Any:
        """Call the operator."""
        return self.library.nms(*(values[name] for name in (*self.tensors, *self.others)))

    def reference(self, values: Arguments) -> Any:
        """Call the reference of nms or batched_nms."""
        from deformlab.ops import reference

        if values["idxs"] is None:
            return reference.nms(**{name: value for name, value in values.items() if name != "idxs"})
        return reference.batched_nms(**values)

    def compare(self, values: Arguments, output: Any) -> None:
        """Check that the same boxes are kept, in the same order."""
        assert torch.equal(output, self.reference(values)), "other boxes are kept"


class SoftNms(Operator):
    """The same boxes; both methods, with and without limits."""

    name = "soft_nms"
    tensors = ("boxes", "scores")
    others = ("iou_threshold", "method", "sigma", "min_score", "max_output", "offset")
    spoiled = ("iou_threshold", "sigma", "min_score", "max_output", "offset")

    def legal_arguments(self, rng: random.Random, most_work: int) -> Arguments:
        """Return arguments with at most `most_work` pairs of boxes."""
        boxes = _boxes(rng, most_work // 4)  # a round takes longer than a row of nms
        return {
            "boxes": lay_out(rng, boxes),
            "scores": lay_out(rng, _scores(rng, len(boxes)).abs()),
            "iou_threshold": rng.choice(_THRESHOLDS),
            "method": rng.choice(("gaussian", "linear")),
            "sigma": rng.choice((0.5, 0.6, 1e-3)),
            "min_score": rng.choice((0.0, 0.001, 0.5, 2.0)),
            "max_output": rng.choice((0, 1, 5, None)),
            "offset": rng.choice((0, 1)),
        }

    def check(self, values: Arguments) -> None:
        """Check the arguments."""
        from deformlab.ops._impl.nms import check_soft_nms

        check_soft_nms(**values)

    def forward(self, values: Arguments) -> Any:
        """Call the operator."""
        most = -1 if values["max_output"] is None else values["max_output"]
        return self.library.soft_nms(
            values["boxes"],
            values["scores"],
            values["iou_threshold"],
            values["method"] == "gaussian",
            values["sigma"],
            values["min_score"],
            most,
            values["offset"],
        )

    def reference(self, values: Arguments) -> Any:
        """Call the reference."""
        from deformlab.ops import reference

        return reference.soft_nms(**values)

    def compare(self, values: Arguments, output: Any) -> None:
        """Check that the same boxes are selected in the same order, with the same scores."""
        scores, selected = output
        expected_scores, expected = self.reference(values)
        assert scores.dtype == expected_scores.dtype, "scores: dtype"
        if values["method"] == "gaussian" and torch.float64 in (
            values["boxes"].dtype,
            values["scores"].dtype,
        ):
            # exp is not the same to the last bit, so boxes with equal scores may change places.
            torch.testing.assert_close(scores, expected_scores, rtol=1e-6, atol=1e-12)
            return
        assert torch.equal(selected, expected), "other boxes are selected"
        torch.testing.assert_close(scores, expected_scores, rtol=0, atol=0)


def _boxes(rng: random.Random, most_work: int) -> Tensor:
    sizes = [size for size in (0, 1, 2, 7, 63, 64, 65, 130, 600) if size**2 <= most_work]
    corners = grid(rng, (rng.choice(sizes), 2), rng.choice((3, 10)))
    # Some widths and heights are zero or negative.
    boxes = torch.cat((corners, corners + 3 + grid(rng, tuple(corners.shape), 4)), dim=1)
    if rng.random() < 0.3:
        flat = boxes.view(-1)
        for _ in range(len(flat) // 16):
            flat[rng.randrange(len(flat))] = rng.choice(FAR)
    return boxes.to(rng.choice(DTYPES))


def _scores(rng: random.Random, count: int) -> Tensor:
    scores = grid(rng, (count,), rng.choice((3, 1000))) / 8
    if count and rng.random() < 0.3:
        scores[rng.randrange(count)] = rng.choice(FAR)
    return scores.to(rng.choice(DTYPES))
