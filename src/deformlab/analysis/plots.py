"""All figures of a report with their captions, from whatever the runs have data for."""

from matplotlib.figure import Figure

from deformlab.analysis.curve_plots import learning_curves
from deformlab.analysis.dilation_plots import effective_dilation_by_size
from deformlab.analysis.joined_plot import dilation_and_iou_by_size
from deformlab.analysis.score_plots import miou_over_dilation, miou_over_layers
from deformlab.analysis.trials import RunSet


def figures(runs: RunSet) -> dict[str, tuple[str, Figure]]:
    """Caption and figure by name, in the order of the report."""
    trials, joined = runs.trials, runs.joined
    measured = any(trial.deformable and trial.layers for trial in trials)
    drawn = {
        "dilation_and_iou_by_size": (
            "Effective dilation by object size in the last layers, and IoU by object size beside it. "
            "Dotted: without the filters near the border of the feature map, where it differs whatever is in "
            "the image. Bars: 95 % intervals by resampling images, seeds together; dots: single seeds. Of "
            "the atrous trials the best one and those whose dilation the deformable ones start from.",
            dilation_and_iou_by_size(joined) if joined.trials else None,
        ),
        "miou_over_dilation": (
            "mIoU over the atrous rate; horizontal lines are deformable networks. Bars: standard deviation "
            "over seeds; dots: single seeds.",
            miou_over_dilation(trials),
        ),
        "miou_over_layers": (
            "mIoU over the number of deformable layers. Bars: standard deviation over seeds.",
            miou_over_layers(trials),
        ),
        "effective_dilation": (
            "Effective dilation by object size in the deformable layers, filters of all seeds together. "
            "Thin bars: standard deviation over filters; thick bars with caps: that of the seeds' means.",
            effective_dilation_by_size(trials) if measured else None,
        ),
        "learning_curves": (
            "mIoU on the validation images after each epoch; the other trials in grey.",
            learning_curves(trials, "val/miou", "mIoU (%)", scale=100),
        ),
        "training_loss": (
            "Training loss by epoch; the other trials in grey.",
            learning_curves(trials, "train/loss", "loss (nat)"),
        ),
    }
    return {name: (caption, figure) for name, (caption, figure) in drawn.items() if figure is not None}
