"""Measure one forward pass of deformable DeepLabs against the atrous one, on the CPU, in one process.

    python scripts/bench_network.py [--output FILE] [--repeats 5] [--backbone resnet101] [--size 1024 2048]

The networks are those of experiments/cityscapes_paper.yaml: output stride 16, dilation 2, three deformable
layers in conv5, 19 classes; float32, one image, no gradients. Forward passes alternate between the networks;
one round of warm-up, then `--repeats` that count. Milliseconds are medians, the ratio is the median of the
ratios to the atrous network's pass in the same round. A file of the same machine and build keeps the row
of the other memory format; give another network another file.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from bench_ops import kept_rows, save
from measured_machine import machine
from ops_case import FORMATS
from ops_timing import alternate, ratio
from speed_targets import NETWORK, judged

from deformlab import provenance
from deformlab.models import BackboneConfig, DeepLab, build_backbone

VARIANTS = ("deformable", "modulated")
CLASSES = 19


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="JSON file for the result")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--backbone", default="resnet101")
    parser.add_argument("--size", nargs=2, type=int, default=[1024, 2048], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    result: dict[str, Any] = {
        "machine": machine("cpu"),
        "revision": provenance.git_revision(),
        "backbone": options.backbone,
        "size": [1, 3, *options.size],
        "rows": [],
    }
    if options.output:
        result["rows"] = kept_rows(options.output, result["machine"])
    for memory_format in options.formats:
        started = time.perf_counter()
        row = measure(options, memory_format)
        print(f"{describe(row)}   [{time.perf_counter() - started:.0f} s]", flush=True)
        others = [other for other in result["rows"] if other["memory_format"] != memory_format]
        result["rows"] = [*others, row]
        if options.output:
            save(options.output, result)


def measure(options: argparse.Namespace, memory_format: str) -> dict[str, Any]:
    """Milliseconds of each network and the ratios to the atrous one."""
    names = ["atrous", *options.variants]
    image = torch.randn(1, 3, *options.size, generator=torch.Generator().manual_seed(0))
    image = image.contiguous(memory_format=FORMATS[memory_format])
    networks = {name: make_network(name, options.backbone, memory_format) for name in names}

    def forward(network: DeepLab) -> None:
        with torch.no_grad():
            network(image)

    calls = {name: lambda network=network: forward(network) for name, network in networks.items()}
    times = alternate(calls, options.repeats, "cpu", warm_up=1)
    row: dict[str, Any] = {"memory_format": memory_format}
    for name in names:
        row[name] = {"ms": statistics.median(times[name]), "ratio": ratio(times[name], times["atrous"])}
    # The limit is on the paper's network, and on Cityscapes' image.
    if options.size == [1024, 2048] and options.backbone == "resnet101" and "deformable" in row:
        row["deformable"] = judged(row["deformable"], "ratio", most=NETWORK)
    return row


def make_network(variant: str, backbone: str, memory_format: str) -> DeepLab:
    torch.manual_seed(0)
    config = BackboneConfig(backbone, conv5=variant)  # type: ignore[arg-type]
    network = DeepLab(build_backbone(config), CLASSES).eval()
    # Offsets at rest would only be read at whole cells, which no trained network does.
    for name, parameter in network.named_parameters():
        if "conv_offset.bias" in name:
            torch.nn.init.uniform_(parameter, -1, 1)
    return network.to(memory_format=FORMATS[memory_format])  # type: ignore[call-overload]


def describe(row: dict[str, Any]) -> str:
    networks = ", ".join(
        f"{name} {row[name]['ms']:.0f} ms ({row[name]['ratio']:.3f}x)"
        for name in ("atrous", *VARIANTS)
        if name in row
    )
    judgement = row.get("deformable", {})
    limit = f"; <= {judgement['most']} {judgement['verdict']}" if "most" in judgement else ""
    return f"{row['memory_format']:13} {networks}{limit}"


if __name__ == "__main__":
    main()
