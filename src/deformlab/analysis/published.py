"""Published scores of the papers, shown beside our own on the papers' data sets.

The numbers are in `published.yaml`, copied from Deformable Convolutional Networks (ICCV 2017), tables 1 to 5.
"""

from importlib.resources import files
from typing import Any

import yaml

from deformlab.analysis.trials import Run

SOURCE = "Dai et al., Deformable Convolutional Networks, ICCV 2017, tables 1 to 5; ResNet-101."
# For each network of the paper's tables 1 and 3: our names of its scores, with their columns.
_SEGMENTATION = {"voc": {"miou": 0}, "cityscapes": {"miou": 1}}
_VOC_DETECTION = {
    "class_aware_rpn": {"ap50": 2, "ap70": 3},
    "faster_rcnn": {"ap50": 4, "ap70": 5},
    "rfcn": {"ap50": 6, "ap70": 7},
}
_TABLE1_ROWS = {
    0: "none (0)",
    1: "res5c (1)",
    2: "res5b,c (2)",
    3: "res5a,b,c (3, default)",
    6: "res5 & res4b22,b21,b20 (6)",
}
_TABLE3_ROWS = {
    2: "atrous (2,2,2) default",
    4: "atrous (4,4,4)",
    6: "atrous (6,6,6)",
    8: "atrous (8,8,8)",
}

_TABLE5_SCORES = ("ap", "ap50", "ap_small", "ap_medium", "ap_large")
_TABLE5_ROWS = {
    "class_aware_rpn": "class-aware RPN, ResNet-101",
    "faster_rcnn": "Faster R-CNN, ResNet-101",
    "rfcn": "R-FCN, ResNet-101",
}


def published() -> dict[str, Any]:
    """The content of `published.yaml`."""
    return yaml.safe_load(files("deformlab.analysis").joinpath("published.yaml").read_text("utf-8"))


def columns(run: Run) -> dict[str, int]:
    """The columns of the paper's tables 1 and 3 with the scores of a network, by our names of the scores.

    Empty if the paper has no such network or data set, or if the run has another score.
    """
    if run.detector is not None:
        found = _VOC_DETECTION.get(run.detector, {}) if run.result.dataset == "voc" else {}
    else:
        found = _SEGMENTATION.get(run.result.dataset, {})
    return found if run.result.score.name in found else {}


def table1_scores(run: Run) -> dict[str, float]:
    """Published scores in percent for the row of table 1 that a run reproduces; empty for other runs."""
    if run.kind == "modulated" or run.dilation != 2 or run.roi_pooling not in (None, "plain"):
        return {}
    number = run.deformable_layers
    row = _TABLE1_ROWS.get(number) if isinstance(number, int) else None
    return _row("dcnv1_table1", row, columns(run))


def table3_scores(run: Run) -> dict[str, float]:
    """Published scores in percent for the row of table 3 that a run reproduces; empty for other runs."""
    row = None
    three_deformable_layers = (run.kind, run.deformable_layers, run.dilation) == ("deformable", 3, 2)
    if run.roi_pooling in (None, "plain"):
        if run.kind == "atrous":
            row = _TABLE3_ROWS.get(run.dilation)
        elif three_deformable_layers:
            row = "deformable convolution"
    elif run.roi_pooling == "deformable":
        if (run.kind, run.dilation) == ("atrous", 2):
            row = "deformable RoI pooling"
        elif three_deformable_layers:
            row = "deformable conv & RoI pooling"
    return _row("dcnv1_table3", row, columns(run))


def table5_scores(run: Run) -> dict[str, float]:
    """Published scores in percent for the row of table 5 that a run reproduces; empty for other runs.

    The paper's deformable networks have both deformable convolution and deformable RoI pooling; the
    class-aware RPN pools no regions.
    """
    row = _TABLE5_ROWS.get(run.detector or "")
    if row is None or run.result.dataset != "coco" or run.result.model["backbone"] != "resnet101":
        return {}
    pools = run.detector != "class_aware_rpn"
    plain = (run.kind, run.dilation) == ("atrous", 2) and run.roi_pooling in (None, "plain")
    deformable = (run.kind, run.deformable_layers, run.dilation) == ("deformable", 3, 2) and (
        run.roi_pooling == "deformable" or not pools
    )
    if not plain and not deformable:
        return {}
    values = published()["dcnv1_table5"][row]["plain" if plain else "deformable"]
    return dict(zip(_TABLE5_SCORES, values, strict=True))


def _row(table: str, row: str | None, places: dict[str, int]) -> dict[str, float]:
    """The known values of one row, by the names of the scores."""
    if row is None:
        return {}
    values = published()[table][row]
    return {name: values[column] for name, column in places.items() if values[column] is not None}
