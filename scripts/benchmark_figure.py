"""The figure of the operators' ratios: one row of panels per machine, with limits as black bars."""

from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from speed_targets import Limit, Row, against_dense, against_torchvision

from deformlab.figure_style import COLOURS

# Colour and marker show the version, filling shows the memory format: readable in black and white.
VERSIONS = {False: ("v1", COLOURS[0], "o", -0.14), True: ("v2 (modulated)", COLOURS[1], "s", 0.14)}
SHAPES = {"cityscapes": "City-\nscapes", "voc": "VOC\n", "batch": "batch\n"}
SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "tf32": "tf32", "autocast": "amp"}
PANELS = {
    "forward": "forward",
    "forward_backward": "forward + backward",
    "torchvision": "against torchvision",
}


class Point(NamedTuple):
    """A measured value, its limit and the label of its column."""

    row: Row
    value: float
    limit: Limit | None
    label: str


def operators_figure(results: list[dict[str, Any]]) -> Figure:
    """Our time over conv2d's (smaller is better), and torchvision's time over ours (larger is better).

    Args:
        results: The results of `bench_ops.py`, one per machine.
    """
    figure = Figure(figsize=(11, 3.6 * len(results) + 0.6), layout="constrained")
    panels = figure.subplots(len(results), len(PANELS), squeeze=False)
    for row_of_panels, result in zip(panels, results, strict=True):
        machine = result["machine"]
        device = result["device"]
        rows = sorted((row for row in result["rows"] if row["shape"] in SHAPES), key=_order)
        name = (
            machine["gpu"]
            or f"{machine['processor']}, {machine['vector_unit']}, {machine['threads']} threads"
        )
        for axes, (panel, title) in zip(row_of_panels, PANELS.items(), strict=True):
            if panel == "torchvision":
                _draw_torchvision(axes, rows, device)
            else:
                _draw(
                    axes,
                    [
                        Point(row, row[panel]["ratio"], against_dense(device, row, panel), _case(row))
                        for row in rows
                        if panel in row
                    ],
                )
                axes.set_ylabel("time / time of conv2d")
                axes.set_ylim(0, 1.06 * axes.get_ylim()[1])
            axes.set_title(f"{title}\n{name}", fontsize=9)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure


def _draw_torchvision(axes: Axes, rows: list[Row], device: str) -> None:
    points = [
        Point(
            row,
            found["times_faster"],
            against_torchvision(device, row, direction),
            f"{_case(row)}\n{PANELS[direction].replace(' + ', ' +' + chr(10))}",
        )
        for row in rows
        for direction, found in row.get("torchvision", {}).items()
    ]
    if not points:
        axes.text(0.5, 0.5, "unmeasured", ha="center", va="center", transform=axes.transAxes)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.set_ylabel("torchvision's time / ours")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, position: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, position: f"{value:g}" if f"{value:g}"[0] in "25" else "")
    _draw(axes, points)


def _draw(axes: Axes, points: list[Point]) -> None:
    columns = {label: i for i, label in enumerate(dict.fromkeys(point.label for point in points))}
    for point in points:
        _, colour, marker, shift = VERSIONS[point.row["modulated"]]
        contiguous = point.row["memory_format"] == "contiguous"
        x = columns[point.label] + shift + (-0.07 if contiguous else 0.07)
        filling = colour if contiguous else "white"
        axes.plot(x, point.value, marker, color=colour, markerfacecolor=filling, markersize=6, clip_on=False)
        if point.limit is not None:
            axes.hlines(point.limit.value, x - 0.07, x + 0.07, color="black", linewidth=1.6)
    axes.axhline(1, color="0.6", linewidth=0.8, linestyle=":")
    if len(columns) < 10:
        axes.set_xticks(list(columns.values()), list(columns), fontsize=7)
    else:
        names = [" ".join(label.replace("-\n", "").split()) for label in columns]
        axes.set_xticks(list(columns.values()), names, fontsize=6, rotation=90)
    axes.set_xlim(-0.6, len(columns) - 0.4)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)


def _order(row: Row) -> tuple[int, int]:
    """The order of the tables, which does not depend on the order of measurement."""
    return list(SHAPES).index(row["shape"]), list(SHORT).index(row["dtype"])


def _case(row: Row) -> str:
    return f"{SHAPES[row['shape']]}\n{SHORT[row['dtype']]}"


def _legend() -> list[Line2D]:
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="", label=label)
        for label, colour, marker, _ in VERSIONS.values()
    ]
    for label, filling in (("contiguous", "0.4"), ("channels_last", "white")):
        look: dict[str, Any] = {"color": "0.4", "markerfacecolor": filling, "marker": "D"}
        handles.append(Line2D([], [], linestyle="", label=label, **look))
    return [*handles, Line2D([], [], color="black", label="limit (most, or least against torchvision)")]
