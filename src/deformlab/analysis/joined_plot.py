"""The joined table as a figure: how far networks look on objects of a size, and how well they do there."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deformlab.analysis.by_object import ALL, Joined
from deformlab.analysis.estimate import Estimate
from deformlab.analysis.export import area_text
from deformlab.analysis.joined_rows import JoinedRow
from deformlab.analysis.run import natural
from deformlab.analysis.trial import Trial
from deformlab.figure_style import finish_axes, legend_below, line_style, panels, plain
from deformlab.objects import SIZES

# As many last layers as the paper lists.
MAX_LAYERS = 3
AWAY = ", away from the border"


def compared_trials(joined: Joined) -> tuple[Trial, ...]:
    """Deformable trials, and of the atrous ones the best and those of the deformable ones' dilations.

    A deformable network starts as the atrous one of its dilation; other rates would only fill the panels.
    """
    dilations = {trial.dilation for trial in joined.trials if trial.deformable}
    return tuple(
        trial
        for trial in joined.trials
        if trial.deformable or trial is joined.baseline or trial.dilation in dilations
    )


def dilation_and_iou_by_size(joined: Joined, trials: Sequence[Trial] | None = None) -> Figure:
    """Effective dilation by object size, a panel for each of the last layers, beside IoU and its gain.

    A line per trial, and a dotted one of the filters away from the border for deformable trials. Bars are
    95 % intervals over images, seeds together; dots are single seeds.

    Args:
        joined: With at least one trial.
        trials: Which of its trials to draw; None for `compared_trials`.
    """
    shown = tuple(trials) if trials is not None else compared_trials(joined)
    rows = {trial.name: [row for row in joined.rows(trial) if row.label == ALL] for trial in shown}
    # Layers in which some network learned where to look; in others all that there is to see is the rate.
    learning = [trial for trial in shown if trial.deformable] or shown
    layers = sorted({row.layer for trial in learning for row in rows[trial.name]}, key=natural, reverse=True)
    drawn = [_Panel(layer, "effective dilation\n(feature-map cells)", "dilation", layer) for layer in layers]
    drawn = drawn[:MAX_LAYERS]
    if any(row.iou is not None for part in rows.values() for row in part):
        drawn.insert(1, _Panel("IoU", "IoU (%)", "iou"))
        if joined.baseline is not None and len(shown) > 1:
            title = f"IoU gained over {joined.baseline.name}"
            drawn.insert(3, _Panel(title, "difference (points)", "gain"))
    bordered = [trial for trial in shown if trial.deformable and joined.knows_border(trial)]
    labels = {trial.name: _label(trial) for trial in shown}
    figure, grid = panels(len(drawn), 2.3, legend_lines=len(shown) + len(bordered))
    first = None
    for axes, panel in zip(grid, drawn, strict=True):
        for i, trial in enumerate(shown):
            layer = panel.layer or rows[trial.name][0].layer
            of_layer = [row for row in rows[trial.name] if row.layer == layer]
            shift = 0.13 * (i - (len(shown) - 1) / 2)
            style = line_style(i) | {"markersize": 5, "linewidth": 1.3}
            if not trial.deformable:
                style["markerfacecolor"] = "white"
            _line(axes, _known(of_layer, panel.quantity), labels[trial.name], style, shift)
            if panel.quantity == "dilation" and trial in bordered:
                style |= {"linestyle": ":", "markersize": 4, "markerfacecolor": "white"}
                _line(axes, _known(of_layer, "inside"), labels[trial.name] + AWAY, style, shift + 0.05)
        axes.set_title(plain(panel.title), fontsize="medium")
        axes.set_ylabel(panel.label)
        _sizes_axis(axes, joined)
        if panel.quantity == "gain":
            axes.axhline(0, color="0.5", linewidth=1)
        if panel.quantity == "dilation":
            first = first or axes
            if first is not axes:
                axes.sharey(first)
                # To share takes over the limits of the first panel, whatever is in this one.
                axes.autoscale(axis="y")
    legend_below(figure, first=list(labels.values()))
    return figure


def _known(rows: Sequence[JoinedRow], quantity: str) -> dict[str, Estimate]:
    """By object size, where it is known."""
    estimates = {row.size: getattr(row, quantity) for row in rows}
    return {size: estimate for size, estimate in estimates.items() if estimate is not None}


class _Panel(NamedTuple):
    """A quantity of `JoinedRow`; of one layer, or the same in all."""

    title: str
    label: str
    quantity: str
    layer: str | None = None


def _line(
    axes: Axes, estimates: dict[str, Estimate], label: str, style: dict[str, Any], shift: float
) -> None:
    if not estimates:
        # In the legend all the same: it has a line in other panels.
        axes.plot([], [], label=label, **style)
    # No line leads to the background, which has no place in the order of sizes.
    sizes = [size for size in SIZES if size in estimates and size != "background"]
    places = [SIZES.index(size) + shift for size in sizes]
    axes.plot(places, [estimates[size].value for size in sizes], label=label, zorder=3, **style)
    for size, estimate in estimates.items():
        place = SIZES.index(size) + shift
        low, high = (estimate.value if bound is None else bound for bound in (estimate.low, estimate.high))
        bars = [[estimate.value - low], [high - estimate.value]]
        axes.errorbar(place, estimate.value, bars, capsize=3, zorder=2.5, **style)
        seeds = {seed for seed in estimate.seeds if seed is not None}
        if len(seeds) > 1:
            axes.plot([place + 0.07] * len(seeds), sorted(seeds), ".", color="0.35", markersize=3, zorder=4)


def _label(trial: Trial) -> str:
    return plain(f"{trial.name} ({trial.description})")


def _sizes_axis(axes: Axes, joined: Joined) -> None:
    borders = joined.borders
    ticks = ["small", "medium", "large", "back-\nground"]
    if borders is not None:
        ticks[0] += f"\n< {area_text(borders[0])}"
        ticks[2] += f"\n> {area_text(borders[1])}"
    axes.set_xticks(range(len(SIZES)), ticks, fontsize="small")
    axes.set_xlim(-0.5, 3.5)
    what = "box" if joined.rule.area == "box" else "mask"
    axes.set_xlabel(f"object size ({what} area, pixels)", fontsize="small")
    finish_axes(axes)
