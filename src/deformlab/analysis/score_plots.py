"""Figures of the scores: mIoU over the atrous rate and over the number of deformable layers."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deformlab.analysis.trial import Trial
from deformlab.figure_style import finish_axes, legend_below, line_style, panels, plain


def miou_over_dilation(trials: Sequence[Trial]) -> Figure:
    """MIoU over the atrous rate, each deformable trial a horizontal line; error bars over seeds."""
    deformable = [trial for trial in trials if trial.deformable]
    figure, (axes,) = panels(1, 3.2, legend_lines=1 + len(deformable))
    atrous = sorted((t for t in trials if not t.deformable), key=lambda t: (t.dilation, t.order))
    rates = [trial.dilation for trial in atrous]
    if atrous:
        means = [trial.miou.mean for trial in atrous]
        spreads = [trial.miou.std or 0 for trial in atrous]
        axes.errorbar(rates, means, spreads, color="black", marker="o", capsize=4, label="atrous", zorder=3)
        for trial in atrous:
            _seeds(axes, trial, trial.dilation)
    right = max(rates, default=0)
    for i, trial in enumerate(deformable):
        style = line_style(i) | {
            "linestyle": line_style(i + 1)["linestyle"],
            "marker": line_style(i + 1)["marker"],
        }
        line = {name: style[name] for name in ("color", "linestyle")}
        axes.axhline(trial.miou.mean, linewidth=1.4, **line)
        # Beside the rates, each at a place of its own: bands over the whole width would cover each other.
        place, spread = right + 0.6 + 0.35 * i, trial.miou.std or 0
        axes.errorbar(place, trial.miou.mean, spread, capsize=4, label=_label(trial), **style)
        _seeds(axes, trial, place)
    axes.set_xlabel("atrous rate d of conv5 (feature-map cells)")
    axes.set_ylabel("mIoU on the validation set (%)")
    axes.set_xticks(sorted(set(rates)))
    finish_axes(axes)
    legend_below(figure, first=("atrous",))
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
    figure, (axes,) = panels(1, 3.2, legend_lines=len(shown))
    for i, ((kind, dilation), line) in enumerate(shown.items()):
        numbers = [trial.first.deformable_layers for trial in line]
        # Two trials of as many layers differ in something else: a line through both would say nothing.
        style = line_style(i) | ({} if len(set(numbers)) == len(numbers) else {"linestyle": "none"})
        axes.errorbar(
            [names.index(str(trial.first.deformable_layers or "none")) for trial in line],
            [trial.miou.mean for trial in line],
            [trial.miou.std or 0 for trial in line],
            capsize=4,
            label=f"{kind}, d = {dilation}",
            **style,
        )
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("number of deformable layers")
    axes.set_ylabel("mIoU on the validation set (%)")
    finish_axes(axes)
    legend_below(figure)
    return figure


def _seeds(axes: Axes, trial: Trial, place: float) -> None:
    if len(trial.runs) > 1:
        seeds = [100 * run.miou for run in trial.runs]
        axes.plot([place + 0.12] * len(seeds), seeds, ".", color="0.35", markersize=4, zorder=4)


def _label(trial: Trial) -> str:
    return plain(f"{trial.name} ({trial.description})")
