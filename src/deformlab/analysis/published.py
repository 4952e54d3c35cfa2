"""Published scores of the paper, shown beside our own on the paper's data sets.

The numbers are in `published.yaml`, copied from Deformable Convolutional Networks (ICCV 2017), tables 1 to 3.
"""

from importlib.resources import files
from typing import Any

import yaml

from deformlab.analysis.trials import Run

SOURCE = "Dai et al., Deformable Convolutional Networks, ICCV 2017, tables 1 to 3; ResNet-101."
# Column in the paper's tables 1 and 3: DeepLab's mIoU on VOC 2012 val and on Cityscapes val.
COLUMN = {"voc": 0, "cityscapes": 1}
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


def published() -> dict[str, Any]:
    """The content of `published.yaml`."""
    return yaml.safe_load(files("deformlab.analysis").joinpath("published.yaml").read_text("utf-8"))


def table1_score(run: Run) -> float | None:
    """Published mIoU in percent for the row of table 1 that a run reproduces; None for other runs."""
    if (
        run.result.dataset not in COLUMN
        or run.result.score.name != "miou"
        or run.kind == "modulated"
        or run.dilation != 2
    ):
        return None
    number = run.deformable_layers
    row = _TABLE1_ROWS.get(number) if isinstance(number, int) else None
    return published()["dcnv1_table1"][row][COLUMN[run.result.dataset]] if row else None


def table3_score(run: Run) -> float | None:
    """Published mIoU in percent for the row of table 3 that a run reproduces; None for other runs."""
    if run.result.dataset not in COLUMN or run.result.score.name != "miou":
        return None
    if run.kind == "atrous":
        row = _TABLE3_ROWS.get(run.dilation)
    else:
        default = (run.kind, run.deformable_layers, run.dilation) == ("deformable", 3, 2)
        row = "deformable convolution" if default else None
    return published()["dcnv1_table3"][row][COLUMN[run.result.dataset]] if row else None
