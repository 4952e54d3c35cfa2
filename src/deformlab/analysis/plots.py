"""Figures of the report, as matplotlib figures that no global state knows of.

Colours are Okabe and Ito's, which the colour-blind can tell apart; line style and marker repeat what the
colour says, so that a print in black and white does too.
"""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deformlab.analysis.run import SIZES, Run, natural
from deformlab.analysis.trial import Trial

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES: tuple = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# More layers than this cannot be told apart in one panel; the last ones are what the paper lists.
MAX_LAYERS = 6


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG (for pages) and PDF (for papers); the same figure gives the same bytes."""
    paths = [folder / f"{name}.png", folder / f"{name}.pdf"]
    figure.savefig(paths[0], dpi=160)
    figure.savefig(paths[1], metadata={"CreationDate": None, "ModDate": None})
    return paths


def miou_over_dilation(trials: Sequence[Trial]) -> Figure:
    """MIoU over the atrous rate, each deformable trial a horizontal line; error bars over seeds."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    atrous = sorted((t for t in trials if not t.deformable), key=lambda t: (t.dilation, t.order))
    rates = [trial.dilation for trial in atrous]
    if atrous:
        means = [trial.miou.mean for trial in atrous]
        spreads = [trial.miou.std or 0 for trial in atrous]
        axes.errorbar(rates, means, spreads, color="black", marker="o", capsize=4, label="atrous", zorder=3)
        for trial in atrous:
            seeds = [100 * run.miou for run in trial.runs]
            axes.plot([trial.dilation] * len(seeds), seeds, "_", color="0.45", markersize=9, zorder=2)
    right = max(rates, default=0)
    for i, trial in enumerate(trial for trial in trials if trial.deformable):
        look: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[(i + 1) % len(LINES)]}
        axes.axhline(trial.miou.mean, linewidth=1.4, **look)
        # Beside the rates, each at a place of its own: bands over the whole width would cover each other.
        axes.errorbar(
            right + 0.6 + 0.35 * i,
            trial.miou.mean,
            trial.miou.std or 0,
            marker=MARKERS[(i + 1) % len(MARKERS)],
            capsize=4,
            label=_label(trial),
            **look,
        )
    axes.set_xlabel("atrous rate d of conv5 (feature-map cells)")
    axes.set_ylabel("mIoU on the validation set (%)")
    axes.set_xticks(sorted(set(rates)))
    _finish(axes)
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: labels[i] != "atrous")
    figure.legend(
        [handles[i] for i in order], [labels[i] for i in order], loc="outside lower center", frameon=False
    )
    return figure


def miou_over_layers(trials: Sequence[Trial]) -> Figure | None:
    """MIoU over the number of deformable layers, a line per kind and dilation; error bars over seeds.

    The atrous network of the same dilation stands at none. None unless some line has two numbers of layers
    besides.
    """
    lines: dict[tuple[str, int], list[Trial]] = {}
    for trial in trials:
        if trial.deformable:
            lines.setdefault((trial.first.conv5, trial.dilation), []).append(trial)
    if all(len({trial.first.deformable_layers for trial in line}) < 2 for line in lines.values()):
        return None
    shown = {
        (kind, dilation): [t for t in trials if not t.deformable and t.dilation == dilation] + line
        for (kind, dilation), line in lines.items()
    }
    everything = sorted(
        (trial for line in shown.values() for trial in line), key=lambda trial: trial.layers_key
    )
    names = list(dict.fromkeys(str(trial.first.deformable_layers or "none") for trial in everything))
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for i, ((kind, dilation), line) in enumerate(shown.items()):
        axes.errorbar(
            [names.index(str(trial.first.deformable_layers or "none")) for trial in line],
            [trial.miou.mean for trial in line],
            [trial.miou.std or 0 for trial in line],
            color=COLOURS[i % len(COLOURS)],
            linestyle=LINES[i % len(LINES)],
            marker=MARKERS[i % len(MARKERS)],
            capsize=4,
            label=f"{kind}, d = {dilation}",
        )
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("number of deformable layers")
    axes.set_ylabel("mIoU on the validation set (%)")
    _finish(axes)
    axes.legend(frameon=False)
    return figure


def _label(trial: Trial) -> str:
    return f"{trial.name} ({trial.description})"


def effective_dilation_by_size(trials: Sequence[Trial]) -> Figure:
    """Effective dilation by object size, a panel per deformable trial, a line per layer.

    Points are means over filters, bars their standard deviation; sizes without filters are left out.
    """
    measured = [trial for trial in trials if trial.deformable and trial.layers]
    columns = min(len(measured), 3)
    rows = ceil(len(measured) / columns)
    figure = Figure(figsize=(max(4.6, 3.6 * columns), 3.4 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    layers = list({layer for trial in measured for layer in trial.layers[:MAX_LAYERS]})
    layers.sort(key=natural, reverse=True)
    for axes, trial in zip(panels.flat, measured, strict=False):
        _sizes_panel(axes, trial, layers)
    for axes in panels.flat[len(measured) :]:
        axes.remove()
    for row in panels:
        row[0].set_ylabel("effective dilation (feature-map cells)")
    handles = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _sizes_panel(axes: Axes, trial: Trial, layers: Sequence[str]) -> None:
    shown = trial.layers[:MAX_LAYERS]
    for i, layer in enumerate(shown):
        style = layers.index(layer)
        shift = 0.12 * (i - (len(shown) - 1) / 2)
        measures = [trial.effective_dilation(layer, size) for size in SIZES]
        # No line leads to the background, which has no place in the order of sizes.
        for places, line, label in (
            (range(3), LINES[style % len(LINES)], layer),
            (range(3, 4), "none", None),
        ):
            filled = [x for x in places if measures[x].count]
            axes.errorbar(
                [x + shift for x in filled],
                [measures[x].mean for x in filled],
                [measures[x].std or 0 for x in filled],
                linestyle=line,
                linewidth=1.2,
                label=label,
                color=COLOURS[style % len(COLOURS)],
                marker=MARKERS[style % len(MARKERS)],
                capsize=3,
            )
    axes.axhline(trial.dilation, color="0.5", linewidth=1, linestyle=":", label="undeformed (d)")
    axes.set_xticks(range(len(SIZES)), SIZES, fontsize="small")
    axes.set_xlim(-0.5, 3.5)
    axes.set_xlabel("object size")
    axes.set_title(f"{trial.name}\n({trial.description})", fontsize="medium")
    _finish(axes)


def learning_curves(trials: Sequence[Trial], column: str, label: str, scale: float = 1.0) -> Figure | None:
    """One column of metrics.csv over epochs, a panel per trial, a line per seed, other trials in grey.

    None where no run has that column.
    """
    shown = [trial for trial in trials if any(_curve(run, column) for run in trial.runs)]
    if not shown:
        return None
    columns = min(len(shown), 3)
    rows = ceil(len(shown) / columns)
    figure = Figure(figsize=(max(4.6, 2.9 * columns), 2.5 * rows + 0.3), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, trial in zip(panels.flat, shown, strict=False):
        for other in shown:
            for run in other.runs:
                if other is not trial:
                    axes.plot(*_scaled(run, column, scale), color="0.85", linewidth=0.8)
        for i, run in enumerate(trial.runs):
            style = {"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[i % len(LINES)]}
            axes.plot(*_scaled(run, column, scale), label=f"seed {run.seed}", linewidth=1.4, **style)
        axes.set_title(trial.name, fontsize="medium")
        _finish(axes)
        axes.legend(frameon=False, fontsize="small")
        axes.set_xlabel("epoch")
    for axes in panels.flat[len(shown) :]:
        axes.remove()
    for row in panels:
        row[0].set_ylabel(label)
    return figure


def _curve(run: Run, column: str) -> list[tuple[float, float]]:
    # metrics.csv counts epochs from 0, as Lightning does; people count from 1.
    return [(row["epoch"] + 1, row[column]) for row in run.curves if "epoch" in row and column in row]


def _scaled(run: Run, column: str, scale: float) -> tuple[list[float], list[float]]:
    points = _curve(run, column)
    return [epoch for epoch, _ in points], [scale * value for _, value in points]


def _finish(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
