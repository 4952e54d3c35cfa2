"""What the scripts share that ask about effective dilation in runs: arguments, border, table."""

import argparse
import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

from deformlab.errors import DeformlabError
from deformlab.inspection import TrainedNetwork, load_network
from deformlab.layers import DeformConv2d
from deformlab.metrics import LayerGeometry

Row = dict[str, Any]


def parser_for_runs(description: str | None) -> argparse.ArgumentParser:
    """Takes one or more runs as `runs` and a file for the table as `output`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run of a deformable network")
    parser.add_argument("--output", type=Path, help="CSV file for the table")
    return parser


def load_networks(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[TrainedNetwork]:
    """The runs' networks, all of them deformable, with their validation images opened.

    What would fail after minutes of measuring is looked for first: every run, its data, the table's folder.
    """
    if options.output and not options.output.absolute().parent.is_dir():
        parser.error(f"--output {options.output}: there is no folder {options.output.parent}; make it first")
    networks = []
    for run in options.runs:
        try:
            network = load_network(run)
            network.data.setup("validate")
        except DeformlabError as error:
            parser.error(str(error))
        if not network.deformable_layers:
            parser.error(f"{run}: has no deformable layers, whose effective dilation could differ")
        networks.append(network)
    return networks


def margin_of(layer: DeformConv2d) -> int:
    """Distance in cells from the border of its map from which a filter counts as away from it."""
    of_offsets = cast("tuple[int, int]", layer.conv_offset.dilation)
    geometry = LayerGeometry(
        layer.kernel_size, layer.dilation, 1, offset_dilation=of_offsets, step=layer.stride[0]
    )
    return geometry.margin


def tabulate(
    networks: Iterable[TrainedNetwork],
    rows_of: Callable[[TrainedNetwork], Iterable[Row]],
    output: Path | None,
) -> None:
    """Prints the rows of each network as they come, and writes all of them as CSV.

    A row's `mean`, `low` and `high` are numbers, or None. `count` is not printed.
    """
    rows: list[Row] = []
    for network in networks:
        print(network.name, flush=True)
        for row in rows_of(network):
            names = [str(value) for key, value in row.items() if key not in ("mean", "low", "high", "count")]
            interval = "" if row["low"] is None else f" [{row['low']:.2f}, {row['high']:.2f}]"
            print(
                "  " + " ".join(f"{name:<21}" for name in names) + f" {row['mean']:5.2f}{interval}",
                flush=True,
            )
            rows.append({"network": network.name, **row})
    if output:
        with output.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(
                {key: f"{cell:.4f}" if isinstance(cell, float) else cell for key, cell in row.items()}
                for row in rows
            )


def run_script(main: Callable[[], None]) -> None:
    """A script's `main`; Ctrl-C ends it in one line."""
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("interrupted: no table was written") from None
