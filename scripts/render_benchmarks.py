"""Write the measured speed into docs/speed.md, as tables between markers, and draw the figure of that page.

    python scripts/render_benchmarks.py

Reads `operators*.json` (scripts/bench_ops.py) and `network*.json` (scripts/bench_network.py) from
experiments/results/benchmarks, one of each per machine, and writes plots/operators.png there. In
docs/speed.md it replaces the text between `<!-- NAME: generated ... -->` and `<!-- end of NAME -->`. Limits
and verdicts are those of scripts/speed_targets.py today.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import speed_targets
from bench_network import VARIANTS
from bench_ops import DEFAULT_DTYPES
from benchmark_figure import operators_figure
from ops_case import SHAPES
from speed_targets import DIRECTIONS, LIMITED_SHAPES, Limit, Row

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "speed.md"
RESULTS = ROOT / "experiments" / "results" / "benchmarks"
FIGURE = RESULTS / "plots" / "operators.png"
SHAPE_NAMES = {
    "cityscapes": "conv5, Cityscapes",
    "voc": "conv5, VOC",
    "batch": "training batch",
    "batch37": "batch of 37",
    "maps64": "64 channels",
}
GPU_TYPES = {
    "bfloat16": "bfloat16",
    "float16": "float16",
    "tf32": "float32 (TF32)",
    "autocast": "float32 under bfloat16 autocast",
}
UNMEASURED = "not measured"
HEAD = [
    "| shape | type | forward / conv2d | forward + backward / conv2d "
    "| forward, torchvision / ours | forward + backward, torchvision / ours |",
    "|---|---|--:|--:|--:|--:|",
]
Reading = tuple[float | None, Limit | None]


def main() -> None:
    operators_figure(load("operators")).savefig(FIGURE, dpi=200)
    for name, content in sections().items():
        replace(PAGE, name, content)


def sections() -> dict[str, str]:
    """The generated parts of the page by the names of their markers."""
    operators, networks = load("operators"), load("network")
    return {
        "operator speed": operator_speed(operators),
        "operator details": "\n\n".join(map(operator_details, operators)),
        "network speed": network_speed(networks),
    }


def load(name: str) -> list[dict[str, Any]]:
    """The results of every machine, by file name."""
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob(f"{name}*.json"))]


def replace(path: Path, name: str, content: str) -> None:
    text = path.read_text()
    changed, number = marked(name).subn(lambda match: f"{match[1]}\n\n{content}\n\n{match[3]}", text)
    if number != 1:
        raise SystemExit(f"{path} must have <!-- {name}: generated ... --> and <!-- end of {name} --> once")
    path.write_text(changed)


def marked(name: str) -> re.Pattern[str]:
    """The text between a name's markers, as group 2."""
    return re.compile(rf"(<!-- {name}: generated [^>]*-->)\s+(.*?)\s*(<!-- end of {name} -->)", re.DOTALL)


# Operators: every machine, shape and type, as ranges over versions and memory formats


def operator_speed(results: list[dict[str, Any]]) -> str:
    parts = []
    for result in results:
        device, rows = result["device"], result["rows"]
        shapes = [shape for shape in SHAPE_NAMES if any(row["shape"] == shape for row in rows)]
        lines = [
            speed_line(device, rows, shape, dtype) for shape in shapes for dtype in DEFAULT_DTYPES[device]
        ]
        parts.append("\n".join([heading(result), "", *HEAD, *lines]))
    if not any(result["device"] == "cuda" for result in results):
        lines = ["**GPU**: no kernel has been timed on a GPU yet. The limits are:", ""]
        for device, dtype in speed_targets.AGAINST_DENSE:
            if device == "cuda":
                cells = [cell([reading]) for reading in speed_readings(device, unmeasured_row(dtype))]
                lines.append(f"| all three | {GPU_TYPES[dtype]} | {' | '.join(cells)} |")
        parts.append("\n".join([*lines[:2], *HEAD, *lines[2:]]))
    return "\n\n".join(parts)


def heading(result: dict[str, Any]) -> str:
    machine = result["machine"]
    name = machine["gpu"] or f"{machine['processor']}, {machine['vector_unit']}, {machine['threads']} threads"
    return f"**{name}** (torch {result['versions']['torch']}, revision {result['revision']}):"


def speed_line(device: str, rows: list[Row], shape: str, dtype: str) -> str:
    chosen = [row for row in rows if row["shape"] == shape and row["dtype"] == dtype]
    columns = zip(*(speed_readings(device, row) for row in chosen or [unmeasured_row(dtype)]), strict=True)
    cells = [cell(list(column)) for column in columns]
    if (device, dtype) == ("cpu", "bfloat16"):
        cells[2:] = ["no bfloat16 there", "no bfloat16 there"]
    label = f"{SHAPE_NAMES[shape]} {SHAPES[shape]}"
    return "| " + " | ".join([label, GPU_TYPES[dtype] if device == "cuda" else dtype, *cells]) + " |"


def unmeasured_row(dtype: str) -> Row:
    return {"shape": LIMITED_SHAPES[0], "dtype": dtype}


def speed_readings(device: str, row: Row) -> list[Reading]:
    """Forward, forward + backward against conv2d, and the same against torchvision."""
    dense: list[Reading] = [
        (row.get(name, {}).get("ratio"), speed_targets.against_dense(device, row, name))
        for name in DIRECTIONS
    ]
    torchvision: list[Reading] = [
        (
            found(row, "torchvision", name, "times_faster"),
            speed_targets.against_torchvision(device, row, name),
        )
        for name in DIRECTIONS
    ]
    return dense + torchvision


def cell(readings: list[Reading]) -> str:
    """The range of the values, that of their limits, and how many of them meet theirs."""
    limits = sorted({limit for _, limit in readings if limit is not None})
    numbers = [value for value, _ in readings if value is not None]
    text = span(numbers, number) if numbers else UNMEASURED
    if not limits:
        return text
    sign = "≥" if limits[0].least else "≤"
    text += f" ({sign} {span([limit.value for limit in limits], '{:.3g}'.format)}"
    judged = [limit.is_met(value) for value, limit in readings if value is not None and limit is not None]
    if not judged:
        return text + ")"
    verdict = {0: "not met", len(judged): "met"}.get(sum(judged), f"met by {sum(judged)} of {len(judged)}")
    return f"{text}: {verdict})"


def span(values: list[float], text: Callable[[float], str]) -> str:
    low, high = text(min(values)), text(max(values))
    return low if low == high else f"{low}–{high}"


def number(value: float) -> str:
    if value < 0.095:
        return f"{value:.2g}"
    return f"{value:.2f}" if value < 9.995 else f"{value:.0f}"


def found(row: Row, part: str, direction: str, name: str) -> float | None:
    value: float | None = row.get(part, {}).get(direction, {}).get(name)
    return value


# Operators at the Cityscapes shape: scratch memory, and one thread against two


def operator_details(result: dict[str, Any]) -> str:
    device = result["device"]
    dtypes = DEFAULT_DTYPES[device]
    rows = [row for row in result["rows"] if row["shape"] == "cityscapes"]
    by_dtype = [[row for row in rows if row["dtype"] == dtype] for dtype in dtypes]
    names = [GPU_TYPES[dtype] if device == "cuda" else dtype for dtype in dtypes]
    lines = [heading(result), "", f"| | {' | '.join(names)} |", "|---|" + "--:|" * len(dtypes)]

    def line(title: str, part: str, direction: str, limit: Limit | None) -> str:
        cells = []
        for typed in by_dtype:
            ours = [found(row, part, direction, "deformable") for row in typed]
            dense = [found(row, part, direction, "dense") for row in typed]
            measured = [value for value in dense if value is not None]
            text = cell([(value, limit) for value in ours or [None]])
            cells.append(text + (f"; conv2d {span(measured, number)}" if measured else ""))
        return f"| {title} | {' | '.join(cells)} |"

    for direction in speed_targets.SCRATCH_MB_ON_CPU:
        limit = speed_targets.scratch_mb(device, direction)
        lines.append(line(f"scratch memory of the {direction} pass (MB)", "scratch_mb", direction, limit))
    if device == "cpu":
        for direction in DIRECTIONS:
            title = f"one thread's time over two threads', {direction.replace('_', ' + ')}"
            lines.append(line(title, "two_threads", direction, speed_targets.two_threads()))
    return "\n".join(lines)


def network_speed(results: list[dict[str, Any]]) -> str:
    if results:
        return "\n\n".join(map(network_table, results))
    limit = Limit(speed_targets.NETWORK)
    return f"ResNet-101 DeepLab, one forward at 1024x2048, deformable over atrous: {cell([(None, limit)])}."


def network_table(result: dict[str, Any]) -> str:
    lines = [heading(result), "", "| | atrous (ms) | deformable / atrous | modulated / atrous |"]
    lines.append("|---|--:|--:|--:|")
    for row in result["rows"]:
        images, _, height, width = row["size"]
        cells = [
            cell([(row.get(name, {}).get("ratio"), speed_targets.network(result["device"], row, name))])
            for name in VARIANTS
        ]
        lines.append(
            f"| {row['backbone']}, {images} x {height}x{width}, {row['pass'].replace('_', ' ')}, "
            f"{row['precision']}, {row['memory_format']} | {row['atrous']['ms']:.0f} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
