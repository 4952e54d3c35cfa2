"""The figures of a report, drawn from what the runs recorded.

A trial has the same colour, line style and marker in every figure, assigned by `trial_styles`. Atrous trials
are grey with open markers; deformable trials are coloured with filled markers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deformlab.analysis.by_object import ObjectComparison, TrialSizeRow
from deformlab.analysis.estimate import Estimate
from deformlab.analysis.export import area_text
from deformlab.analysis.trial_set import TrialSet
from deformlab.analysis.trials import Run, Trial, natural
from deformlab.figure_style import COLOURS, LINES, MARKERS, finish_axes, legend_below, panels, plain
from deformlab.records import ALL, SIZES, Region
from deformlab.run_folder import SCORES

# The figure with IoU shows as many last layers as the paper lists; the figure of all layers shows more.
LAYERS_BESIDE_IOU = 3
MAX_LAYERS = 6
GREYS = ("black", "0.35", "0.55")

Style = dict[str, Any]
Styles = Mapping[str, Style]


def trial_styles(trials: Sequence[Trial]) -> dict[str, Style]:
    """Return colour, line style and marker by trial name, as options of `Axes.plot` and `Axes.errorbar`."""
    styles: dict[str, Style] = {}
    colours = [colour for colour in COLOURS if colour != "#000000"]
    atrous = [trial for trial in trials if not trial.deformable]
    for i, trial in enumerate(atrous):
        styles[trial.name] = _style(GREYS[i % len(GREYS)], i) | {"markerfacecolor": "white"}
    for i, trial in enumerate(trial for trial in trials if trial.deformable):
        styles[trial.name] = _style(colours[i % len(colours)], i)
    return styles


def _style(colour: str, index: int) -> Style:
    line, marker = LINES[index % len(LINES)], MARKERS[index % len(MARKERS)]
    return {"color": colour, "linestyle": line, "marker": marker, "markersize": 5, "linewidth": 1.3}


def figures(trials: TrialSet, smallest_effect: float = 0.1) -> dict[str, tuple[str, Figure]]:
    """Draw every figure that the runs have data for.

    Args:
        trials: The trials.
        smallest_effect: Effects on effective dilation up to this are marked as too small to matter, in cells.

    Returns:
        Caption and figure by name, in the order of the report.
    """
    styles, comparison = trial_styles(trials.trials), trials.by_object
    label = trials.score_label
    bars = "Error bars: standard deviation over seeds"
    drawn: dict[str, tuple[str, Figure | None]] = {
        "score_over_dilation": (
            f"{label} by atrous rate; deformable networks are shown as horizontal lines. {bars}; dots: "
            "single seeds.",
            score_over_dilation(trials.trials, styles),
        ),
        "same_position_effect": (
            "Effective dilation on large objects minus that on small objects at the same position, by "
            "layer. Error bars: 95 % intervals over images, all seeds together; dots: single seeds; grey "
            f"band: effects that are too small to matter (up to {smallest_effect:g} cells).",
            same_position_effect(comparison, styles, smallest_effect),
        ),
        "dilation_and_iou_by_size": (
            "Effective dilation of interior filters in the last layers and IoU, by object size. Error bars: "
            "95 % intervals over images, all seeds together; dots: single seeds.",
            dilation_and_iou_by_size(comparison, styles),
        ),
        "score_over_layers": (
            f"{label} by number of deformable layers. {bars}.",
            score_over_layers(trials.trials, styles),
        ),
        "dilation_by_layer": (
            "Effective dilation of interior filters by object size, for each layer. Error bars: 95 % "
            "intervals over images, all seeds together.",
            dilation_by_layer(comparison, styles),
        ),
        "learning_curves": (
            f"{label} on the validation images after each epoch; grey: the other trials.",
            learning_curves(
                trials.trials,
                f"val/{trials.trials[0].first.result.score.name}",
                f"{label} (%)",
                styles,
                scale=100,
            ),
        ),
        "training_loss": (
            "Training loss by epoch; grey: the other trials.",
            learning_curves(trials.trials, "train/loss", "loss (nat)", styles),
        ),
    }
    return {name: (caption, figure) for name, (caption, figure) in drawn.items() if figure is not None}


def score_over_dilation(trials: Sequence[Trial], styles: Styles | None = None) -> Figure:
    """Draw the score by atrous rate, with a horizontal line for each deformable trial.

    Error bars are standard deviations over seeds.

    Args:
        trials: At least one trial; all with the same score.
        styles: From `trial_styles`; None to assign them here.
    """
    styles = styles or trial_styles(trials)
    deformable = [trial for trial in trials if trial.deformable]
    atrous = sorted((t for t in trials if not t.deformable), key=lambda t: (t.dilation, t.order))
    figure, (axes,) = panels(1, 3.2, legend_lines=len(deformable) + bool(atrous))
    rates = [trial.dilation for trial in atrous]
    if atrous:
        means = [trial.score.value for trial in atrous]
        axes.plot(rates, means, color="0.6", linewidth=1.2, zorder=2, label="atrous trials")
        for trial in atrous:
            _score(axes, trial, trial.dilation, styles[trial.name] | {"linestyle": "none"})
    right = max(rates, default=0)
    for i, trial in enumerate(deformable):
        style = styles[trial.name]
        line = {name: style[name] for name in ("color", "linestyle")}
        axes.axhline(trial.score.value, linewidth=1.2, zorder=1.5, **line)
        # To the right of the rates, side by side, so that error bars do not overlap.
        _score(axes, trial, right + 0.6 + 0.35 * i, style, _label(trial))
    axes.set_xlabel("atrous rate d of conv5 (feature-map cells)")
    axes.set_ylabel(_score_label(trials))
    axes.set_xticks(sorted(set(rates)))
    finish_axes(axes)
    legend_below(figure, first=("atrous trials",))
    return figure


def score_over_layers(trials: Sequence[Trial], styles: Styles | None = None) -> Figure | None:
    """Draw the score by number of deformable layers; a line joins trials of one kind and dilation.

    The atrous network of the same dilation counts as having no deformable layers.

    Args:
        trials: The trials; all with the same score.
        styles: From `trial_styles`; None to assign them here.

    Returns:
        None unless two trials of one kind and dilation differ in their number of layers.
    """
    styles = styles or trial_styles(trials)
    groups: dict[tuple[str, int], list[Trial]] = {}
    for trial in trials:
        if trial.deformable:
            groups.setdefault((trial.first.kind, trial.dilation), []).append(trial)
    if all(len({trial.first.deformable_layers for trial in group}) < 2 for group in groups.values()):
        return None
    atrous = [t for t in trials if not t.deformable and t.dilation in {dilation for _, dilation in groups}]
    shown = [*atrous, *(trial for group in groups.values() for trial in group)]
    ordered = sorted(shown, key=lambda trial: trial.layers_key)
    names = list(dict.fromkeys(_layers_name(trial) for trial in ordered))
    figure, (axes,) = panels(1, 3.2, legend_lines=len(shown))
    for (_, dilation), group in groups.items():
        line = [t for t in atrous if t.dilation == dilation] + group
        numbers = [_layers_name(trial) for trial in line]
        # Trials with the same number of layers differ in something else, so a line would mislead.
        if len(set(numbers)) == len(numbers):
            positions = [names.index(number) for number in numbers]
            axes.plot(positions, [trial.score.value for trial in line], color="0.6", linewidth=1.2, zorder=2)
    for trial in shown:
        style = styles[trial.name] | {"linestyle": "none"}
        _score(axes, trial, names.index(_layers_name(trial)), style, _label(trial))
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("number of deformable layers")
    axes.set_ylabel(_score_label(trials))
    finish_axes(axes)
    legend_below(figure)
    return figure


def same_position_effect(
    comparison: ObjectComparison, styles: Styles | None = None, smallest_effect: float = 0.1
) -> Figure | None:
    """Draw effective dilation on large minus small objects at the same position, a row per layer.

    Error bars are 95 % intervals over images; dots are single seeds.

    Args:
        comparison: The trials.
        styles: From `trial_styles`; None to assign them here.
        smallest_effect: Effects up to this are in the grey band, in cells.

    Returns:
        None if no deformable trial recorded the effect.
    """
    styles = styles or trial_styles(comparison.trials)
    shown: list[tuple[Trial, dict[str, Estimate]]] = []
    for trial in comparison.trials:
        effects = {
            row.layer: row.controlled
            for row in (comparison.effects(trial) if trial.deformable else [])
            if (row.size, row.reference) == ("large", "small") and row.controlled is not None
        }
        if effects:
            shown.append((trial, effects))
    layers = sorted({layer for _, effects in shown for layer in effects}, key=natural)
    if not layers:
        return None
    figure, (axes,) = panels(1, 0.7 + 0.5 * len(layers), legend_lines=len(shown))
    axes.axvspan(-smallest_effect, smallest_effect, color="0.92", zorder=0)
    axes.axvline(0, color="0.5", linewidth=1, zorder=1)
    for i, (trial, effects) in enumerate(shown):
        style = styles[trial.name] | {"linestyle": "none"}
        shift = 0.6 / len(shown) * (i - (len(shown) - 1) / 2)
        for layer, effect in effects.items():
            y = layers.index(layer) - shift
            axes.errorbar(
                effect.value, y, xerr=_bars(effect), capsize=3, zorder=3, label=_label(trial), **style
            )
            seeds = [seed for seed in effect.seeds if seed is not None]
            if len(seeds) > 1:
                axes.plot(seeds, [y] * len(seeds), ".", color="0.35", markersize=3, zorder=4)
    axes.set_yticks(range(len(layers)), [plain(layer) for layer in layers])
    axes.set_ylim(-0.6, len(layers) - 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel("effective dilation, large minus small objects (cells)")
    axes.set_ylabel("layer")
    finish_axes(axes)
    legend_below(figure)
    return figure


def trials_to_draw(comparison: ObjectComparison) -> tuple[Trial, ...]:
    """All deformable trials, the best atrous trial, and atrous trials with the dilation of a deformable one.

    A deformable network starts as the atrous network of its dilation. Other rates would crowd the panels.
    """
    dilations = {trial.dilation for trial in comparison.trials if trial.deformable}
    return tuple(
        trial
        for trial in comparison.trials
        if trial.deformable or trial is comparison.baseline or trial.dilation in dilations
    )


class _Panel(NamedTuple):
    """A quantity of `TrialSizeRow` in one layer; None for quantities that are equal in all layers."""

    title: str
    label: str
    quantity: str
    layer: str | None = None


def dilation_and_iou_by_size(
    comparison: ObjectComparison, styles: Styles | None = None, trials: Sequence[Trial] | None = None
) -> Figure | None:
    """Draw effective dilation of interior filters in the last layers, IoU and its gain by object size.

    One line per trial. Error bars are 95 % intervals over images, all seeds together; dots are single seeds.
    If interior filters were not recorded, all filters are used.

    Args:
        comparison: The trials.
        styles: From `trial_styles`; None to assign them here.
        trials: The trials to draw; None for all deformable trials, the best atrous trial, and atrous trials
            with the dilation of a deformable one.

    Returns:
        None if there are no trials to draw.
    """
    shown = tuple(trials) if trials is not None else trials_to_draw(comparison)
    if not shown:
        return None
    drawn = _layer_panels(shown)[:LAYERS_BESIDE_IOU]
    rows = [row for trial in shown for row in comparison.rows(trial, "all") if row.label == ALL]
    if any(row.iou is not None for row in rows):
        drawn.insert(1, _Panel("IoU", "IoU (%)", "iou"))
        if comparison.baseline is not None and any(row.gain is not None for row in rows):
            title = f"IoU gain over {comparison.baseline.name}"
            drawn.insert(3, _Panel(title, "difference (points)", "gain"))
    return _by_size(comparison, shown, drawn, styles or trial_styles(comparison.trials))


def dilation_by_layer(comparison: ObjectComparison, styles: Styles | None = None) -> Figure | None:
    """Draw effective dilation of interior filters by object size, a panel per layer, for deformable trials.

    Args:
        comparison: The trials.
        styles: From `trial_styles`; None to assign them here.

    Returns:
        None if `dilation_and_iou_by_size` already shows every layer.
    """
    shown = tuple(trial for trial in comparison.trials if trial.deformable)
    drawn = _layer_panels(shown)
    if len(drawn) <= LAYERS_BESIDE_IOU:
        return None
    return _by_size(comparison, shown, drawn[:MAX_LAYERS], styles or trial_styles(comparison.trials))


def _layer_panels(trials: Sequence[Trial]) -> list[_Panel]:
    """A panel for each layer of the deformable trials; without deformable trials, for each layer."""
    learning = [trial for trial in trials if trial.deformable] or trials
    layers = sorted({layer for trial in learning for layer in trial.layers}, key=natural, reverse=True)
    return [_Panel(layer, "effective dilation\n(feature-map cells)", "dilation", layer) for layer in layers]


def _by_size(
    comparison: ObjectComparison, trials: Sequence[Trial], drawn: Sequence[_Panel], styles: Styles
) -> Figure:
    figure, grid = panels(len(drawn), 2.3, legend_lines=len(trials))
    first = None
    for axes, panel in zip(grid, drawn, strict=True):
        for i, trial in enumerate(trials):
            region: Region = "interior" if comparison.records_interior(trial) else "all"
            layer = panel.layer or trial.layers[0]
            rows = {
                row.size: row
                for row in comparison.rows(trial, region)
                if (row.layer, row.label) == (layer, ALL)
            }
            shift = 0.13 * (i - (len(trials) - 1) / 2)
            _size_line(axes, rows, panel.quantity, _label(trial), styles[trial.name], shift)
        axes.set_title(plain(panel.title), fontsize="medium")
        axes.set_ylabel(panel.label)
        _size_axis(axes, comparison)
        if panel.quantity == "gain":
            axes.axhline(0, color="0.5", linewidth=1)
        if panel.quantity == "dilation":
            first = first or axes
            if first is not axes:
                axes.sharey(first)
                # Sharing the axis would reuse the first panel's limits.
                axes.autoscale(axis="y")
    legend_below(figure)
    return figure


def _size_line(
    axes: Axes, rows: Mapping[str, TrialSizeRow], quantity: str, label: str, style: Style, shift: float
) -> None:
    known: dict[str, Estimate] = {
        size: getattr(row, quantity) for size, row in rows.items() if getattr(row, quantity) is not None
    }
    # The line does not extend to the background, which is not a size.
    sizes = [size for size in SIZES if size in known and size != "background"]
    positions = [SIZES.index(size) + shift for size in sizes]
    axes.plot(positions, [known[size].value for size in sizes], label=label, zorder=3, **style)
    for size, estimate in known.items():
        x = SIZES.index(size) + shift
        axes.errorbar(x, estimate.value, _bars(estimate), capsize=3, zorder=2.5, **style)
        seeds = {seed for seed in estimate.seeds if seed is not None}
        if len(seeds) > 1:
            axes.plot([x + 0.07] * len(seeds), sorted(seeds), ".", color="0.35", markersize=3, zorder=4)


def _size_axis(axes: Axes, comparison: ObjectComparison) -> None:
    ticks = ["small", "medium", "large", "back-\nground"]
    if comparison.thresholds is not None:
        small, large = map(area_text, comparison.thresholds)
        ticks[0] += f"\n< {small}"
        ticks[2] += f"\n> {large}"
    axes.set_xticks(range(len(SIZES)), ticks, fontsize="small")
    axes.set_xlim(-0.5, 3.5)
    what = "box" if comparison.rule.area == "box" else "mask"
    axes.set_xlabel(f"object size ({what} area, pixels)", fontsize="small")
    finish_axes(axes)


def learning_curves(
    trials: Sequence[Trial], column: str, label: str, styles: Styles | None = None, scale: float = 1.0
) -> Figure | None:
    """Draw one column of `metrics.csv` by epoch: a panel per trial, a line per seed, other trials in grey.

    Args:
        trials: The trials.
        column: A column of `metrics.csv`, for example `train/loss`, `lr`, `val/miou` or `val/iou/<class>`.
        label: Label of the vertical axis.
        styles: From `trial_styles`; None to assign them here.
        scale: Factor for the values.

    Returns:
        None if no run has the column.
    """
    styles = styles or trial_styles(trials)
    shown = [trial for trial in trials if any(_curve(run, column) for run in trial.runs)]
    if not shown:
        return None
    figure, grid = panels(len(shown), 1.9, sharex=True, sharey=True)
    for i, (axes, trial) in enumerate(zip(grid, shown, strict=True)):
        for other in shown:
            for run in other.runs:
                if other is not trial:
                    axes.plot(*_scaled(run, column, scale), color="0.88", linewidth=0.8)
        for number, run in enumerate(trial.runs):
            style = {"color": styles[trial.name]["color"], "linestyle": LINES[number % len(LINES)]}
            axes.plot(*_scaled(run, column, scale), label=f"seed {run.seed}", linewidth=1.4, **style)
        axes.set_title(plain(trial.name), fontsize="medium")
        finish_axes(axes)
        axes.legend(frameon=False, fontsize="small")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        # Only the last panel of each column shows epoch numbers.
        axes.tick_params(labelbottom=i + 2 >= len(shown))
        if i % 2 == 0:
            axes.set_ylabel(label)
    return figure


def _curve(run: Run, column: str) -> list[tuple[float, float]]:
    # metrics.csv counts epochs from 0, as Lightning does; figures count from 1.
    return [(row["epoch"] + 1, row[column]) for row in run.curves if "epoch" in row and column in row]


def _scaled(run: Run, column: str, scale: float) -> tuple[list[float], list[float]]:
    points = _curve(run, column)
    return [epoch for epoch, _ in points], [scale * value for _, value in points]


def _score(axes: Axes, trial: Trial, x: float, style: Style, label: str | None = None) -> None:
    axes.errorbar(x, trial.score.value, trial.score.std or 0, capsize=4, label=label, zorder=3, **style)
    if len(trial.runs) > 1:
        seeds = [run.score for run in trial.runs]
        axes.plot([x + 0.12] * len(seeds), seeds, ".", color="0.35", markersize=4, zorder=4)


def _bars(estimate: Estimate) -> list[list[float]]:
    low, high = estimate.interval or (estimate.value, estimate.value)
    return [[max(0.0, estimate.value - low)], [max(0.0, high - estimate.value)]]


def _label(trial: Trial) -> str:
    return plain(f"{trial.name} ({trial.description})")


def _layers_name(trial: Trial) -> str:
    return str(trial.first.deformable_layers or "none")


def _score_label(trials: Sequence[Trial]) -> str:
    return f"{SCORES[trials[0].first.result.score.name].label} on the validation set (%)"
