"""Write the measured speed of the operators into the documents: tables between markers, and a figure.

    python scripts/render_benchmarks.py

Reads `operators*.json` (scripts/bench_ops.py) and `network*.json` (scripts/bench_network.py), one of each per
machine, from experiments/results/benchmarks, and writes plots/operators.png and .pdf there. In README.md and
docs/operators.md it replaces what stands between `<!-- NAME: generated ... -->` and `<!-- end of NAME -->`.
"""

import json
import re
from pathlib import Path
from typing import Any

from bench_ops import DEFAULT_DTYPES, DIRECTIONS, MEASURED_SHAPES
from benchmark_figure import operators_figure
from ops_case import SHAPES
from speed_targets import AGAINST_DENSE, AGAINST_TORCHVISION, NETWORK, SCRATCH_MB, TWO_THREADS

from deformlab.figure_style import save_figure

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results" / "benchmarks"
SHAPE_NAMES = {"cityscapes": "conv5, Cityscapes", "voc": "conv5, VOC", "batch": "training batch"}
GPU_TYPES = {"bfloat16": "bfloat16", "float16": "float16", "tf32": "float32 (TF32)"}
UNMEASURED = "unmeasured"


def main() -> None:
    operators, networks = load("operators"), load("network")
    save_figure(operators_figure(operators), RESULTS / "plots", "operators")
    replace(ROOT / "README.md", "speed table", speed_table(operators))
    replace(ROOT / "docs" / "operators.md", "speed details", speed_details(operators, networks))


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
    """What stands between a name's markers, as group 2."""
    return re.compile(rf"(<!-- {name}: generated [^>]*-->)\s+(.*?)\s*(<!-- end of {name} -->)", re.DOTALL)


def speed_table(results: list[dict[str, Any]]) -> str:
    """Ratios of every machine, shape and type as ranges over versions and memory formats."""
    parts = []
    for result in results:
        device = "cuda" if result["machine"]["gpu"] else "cpu"
        lines = [heading(result), "", *head()]
        dtypes = DEFAULT_DTYPES[device]
        for shape in MEASURED_SHAPES:
            lines += [
                speed_line(SHAPE_NAMES[shape] + f" {SHAPES[shape]}", result["rows"], shape, dtype, device)
                for dtype in dtypes
            ]
        parts.append("\n".join(lines))
    if not any(result["machine"]["gpu"] for result in results):
        lines = ["GPU: no kernel has been timed on one; these are the limits that it will be held to.", ""]
        lines += head()
        lines += [speed_line("all three", [], "", dtype, "cuda") for dtype in DEFAULT_DTYPES["cuda"]]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def heading(result: dict[str, Any]) -> str:
    machine = result["machine"]
    name = machine["gpu"] or f"{machine['processor']}, {machine['vector_unit']}, {machine['threads']} threads"
    return f"**{name}** (torch {machine['torch']}, revision {result['revision']}):"


def head() -> list[str]:
    return [
        "| shape | type | forward / conv2d | forward + backward / conv2d | forward, times faster than "
        "torchvision | forward + backward, times faster |",
        "|---|---|--:|--:|--:|--:|",
    ]


def speed_line(label: str, rows: list[dict[str, Any]], shape: str, dtype: str, device: str) -> str:
    chosen = [row for row in rows if row["shape"] == shape and row["dtype"] == dtype]
    cells = [label, GPU_TYPES[dtype] if device == "cuda" else dtype]
    most = AGAINST_DENSE[(device, dtype)]
    cells += [
        cell([row.get(name, {}).get("ratio") for row in chosen], most=most[name]) for name in DIRECTIONS
    ]
    least = AGAINST_TORCHVISION.get((device, dtype))
    for name in DIRECTIONS:
        values = [row.get("torchvision", {}).get(name, {}).get("times_faster") for row in chosen]
        cells.append(cell(values, least=least[name]) if least else "it has none")
    return "| " + " | ".join(cells) + " |"


def cell(values: list[float | None], most: float | None = None, least: float | None = None) -> str:
    """The range of the values, the limit, and how many of them meet it."""
    limit = f"≤ {most:g}" if most is not None else f"≥ {least:g}"
    numbers = [value for value in values if value is not None]
    if not numbers:
        return f"{UNMEASURED} ({limit})"
    met = sum(v <= most if most is not None else v >= (least or 0) for v in numbers)
    verdict = {0: "not met", len(numbers): "met"}.get(met, f"met by {met} of {len(numbers)}")
    low, high = number(min(numbers)), number(max(numbers))
    return f"{low if low == high else f'{low}–{high}'} ({limit}: {verdict})"


def number(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.0f}"


def speed_details(operators: list[dict[str, Any]], networks: list[dict[str, Any]]) -> str:
    """Scratch memory and scaling at the Cityscapes shape, and whole networks, on every CPU."""
    parts = []
    for result in operators:
        if result["machine"]["gpu"]:
            continue
        rows = [row for row in result["rows"] if row["shape"] == "cityscapes"]
        dtypes = DEFAULT_DTYPES["cpu"]
        lines = [heading(result), "", f"| | {' | '.join(dtypes)} |", "|---|" + "--:|" * len(dtypes)]
        for direction, most in SCRATCH_MB["cpu"].items():
            cells = [
                cell(
                    [detail(row, "scratch_mb", direction) for row in rows if row["dtype"] == dtype], most=most
                )
                for dtype in dtypes
            ]
            lines.append(f"| scratch memory of the {direction} pass (MB) | {' | '.join(cells)} |")
        for direction in DIRECTIONS:
            cells = []
            for dtype in dtypes:
                typed = [row for row in rows if row["dtype"] == dtype]
                ours = cell([detail(row, "two_threads", direction) for row in typed], least=TWO_THREADS)
                dense = [detail(row, "two_threads", direction, "dense") for row in typed]
                shown = [number(value) for value in dense if value is not None]
                cells.append(
                    f"{ours}{'; conv2d ' + '–'.join(sorted({min(shown), max(shown)})) if shown else ''}"
                )
            name = direction.replace("_", " + ")
            lines.append(f"| one thread's time over two threads', {name} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    for result in networks:
        lines = [heading(result), "", "| | deformable / atrous | modulated / atrous |", "|---|--:|--:|"]
        for row in result["rows"]:
            size = "x".join(map(str, result["size"][2:]))
            lines.append(
                f"| {result['backbone']} DeepLab, {size}, one forward, {row['memory_format']} | "
                f"{cell([row.get('deformable', {}).get('ratio')], most=NETWORK)} | "
                f"{number(row['modulated']['ratio']) if 'modulated' in row else UNMEASURED} |"
            )
        parts.append("\n".join(lines))
    if not networks:
        parts.append(
            f"ResNet-101 DeepLab, one forward at 1024x2048, deformable over atrous: {cell([], NETWORK)}."
        )
    return "\n\n".join(parts)


def detail(row: dict[str, Any], part: str, direction: str, name: str = "deformable") -> float | None:
    value: float | None = row.get(part, {}).get(direction, {}).get(name)
    return value


if __name__ == "__main__":
    main()
