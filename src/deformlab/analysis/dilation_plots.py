"""The papers' table 2 as a figure: effective dilation by object size, layer by layer."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deformlab.analysis.run import SIZES, natural
from deformlab.analysis.trial import Trial
from deformlab.figure_style import finish_axes, legend_below, line_style, panels, plain

# More layers than this cannot be told apart in one panel; the last ones are what the paper lists.
MAX_LAYERS = 6
SIZE_TICKS = ("small", "medium", "large", "back-\nground")


def effective_dilation_by_size(trials: Sequence[Trial]) -> Figure:
    """Effective dilation by object size, a panel per deformable trial, a line per layer.

    Points are means over the filters of all seeds. Thin bars are their standard deviation over filters,
    thick ones with caps that of the seeds' means, if there are several. Sizes without filters are left out.
    """
    measured = [trial for trial in trials if trial.deformable and trial.layers]
    layers = list({layer for trial in measured for layer in trial.layers[:MAX_LAYERS]})
    layers.sort(key=natural, reverse=True)
    figure, grid = panels(len(measured), 2.5, legend_lines=(len(layers) + 2) // 2, sharey=True)
    for i, (axes, trial) in enumerate(zip(grid, measured, strict=True)):
        _sizes_panel(axes, trial, layers)
        axes.set_title(plain(f"{trial.name}\n({trial.description})"), fontsize="small")
        if i % 2 == 0:
            axes.set_ylabel("effective dilation\n(feature-map cells)")
    legend_below(figure, first=[plain(layer) for layer in layers], columns=2)
    return figure


def _sizes_panel(axes: Axes, trial: Trial, layers: Sequence[str]) -> None:
    shown = trial.layers[:MAX_LAYERS]
    for i, layer in enumerate(shown):
        style = line_style(layers.index(layer))
        colour = style["color"]
        shift = min(0.14, 0.7 / len(shown)) * (i - (len(shown) - 1) / 2)
        measures = [trial.effective_dilation(layer, size) for size in SIZES]
        filled = [x for x in range(len(SIZES)) if measures[x].count]
        # No line leads to the background, which has no place in the order of sizes.
        sized = [x for x in filled if SIZES[x] != "background"]
        axes.plot([x + shift for x in sized], [measures[x].mean for x in sized], label=plain(layer), **style)
        for x in filled:
            mean, std = measures[x].mean, measures[x].std or 0
            axes.errorbar(x + shift, mean, std, color=colour, linewidth=0.8, marker=style["marker"])
            over_seeds = trial.effective_dilation_over_seeds(layer, SIZES[x])
            if over_seeds is not None and over_seeds.std is not None:
                axes.errorbar(x + shift, mean, over_seeds.std, color=colour, elinewidth=2, capsize=3)
    axes.axhline(trial.dilation, color="0.5", linewidth=1, linestyle=":", label="undeformed (d)")
    axes.set_xticks(range(len(SIZES)), SIZE_TICKS, fontsize="small")
    axes.set_xlim(-0.5, 3.5)
    axes.set_xlabel("object size")
    finish_axes(axes)
