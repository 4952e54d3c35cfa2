"""Figures of what happened while training, epoch by epoch."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deformlab.analysis.run import Run
from deformlab.analysis.trial import Trial
from deformlab.figure_style import COLOURS, LINES, finish_axes, panels, plain


def learning_curves(trials: Sequence[Trial], column: str, label: str, scale: float = 1.0) -> Figure | None:
    """One column of metrics.csv over epochs, a panel per trial, a line per seed, other trials in grey.

    None where no run has that column.
    """
    shown = [trial for trial in trials if any(_curve(run, column) for run in trial.runs)]
    if not shown:
        return None
    figure, grid = panels(len(shown), 1.9, sharex=True, sharey=True)
    for i, (axes, trial) in enumerate(zip(grid, shown, strict=True)):
        for other in shown:
            for run in other.runs:
                if other is not trial:
                    axes.plot(*_scaled(run, column, scale), color="0.85", linewidth=0.8)
        for number, run in enumerate(trial.runs):
            style = {"color": COLOURS[number % len(COLOURS)], "linestyle": LINES[number % len(LINES)]}
            axes.plot(*_scaled(run, column, scale), label=f"seed {run.seed}", linewidth=1.4, **style)
        axes.set_title(plain(trial.name), fontsize="medium")
        finish_axes(axes)
        axes.legend(frameon=False, fontsize="small")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        # Panels above an absent one have no neighbour below that shows the epochs.
        axes.tick_params(labelbottom=i + 2 >= len(shown))
        if i % 2 == 0:
            axes.set_ylabel(label)
    return figure


def _curve(run: Run, column: str) -> list[tuple[float, float]]:
    # metrics.csv counts epochs from 0, as Lightning does; people count from 1.
    return [(row["epoch"] + 1, row[column]) for row in run.curves if "epoch" in row and column in row]


def _scaled(run: Run, column: str, scale: float) -> tuple[list[float], list[float]]:
    points = _curve(run, column)
    return [epoch for epoch, _ in points], [scale * value for _, value in points]
