"""Measure deformable DeepLabs against the atrous one: forward passes or training steps, in one process.

    python scripts/bench_network.py [--output FILE] [--device cpu|cuda] [--network cityscapes|camvid]
        [--passes forward training_step] [--repeats 5] ...

`cityscapes` is the network of experiments/cityscapes_paper.yaml (ResNet-101) on one image of 1024x2048,
`camvid` that of experiments/camvid.yaml (ResNet-18) on a batch of 8 images of 180x240. The output stride is
16, the dilation 2, and conv5 has three deformable layers. A forward pass is without gradients; a training
step is forward, loss, backward and SGD.

Calls alternate between the networks: one round of warm-up, then `--repeats` measured rounds. Milliseconds are
medians; the ratio is the median of the ratios to the atrous network's call in the same round. On a GPU,
`peak_mb` is the peak memory (10^6 bytes) of a call, without weights, the optimizer's state and the images.
Precisions have Lightning's names, except `tf32`: float32, but a GPU may round products to TF32. Other rows of
an output file are kept if it is from the same machine and build.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import speed_targets
import torch
from benchmark import DEVICES, alternate, prepare, ratio, save, start_result, use_tf32
from ops_case import FORMATS
from torch.nn.functional import cross_entropy

from deformlab.models import BackboneConfig, DeepLab, build_backbone

VARIANTS = ("deformable", "modulated")
PASSES = ("forward", "training_step")
PRECISIONS = ("32-true", "tf32", "bf16-mixed")
KEY = ("network", "backbone", "size", "pass", "precision", "memory_format")


class Network(NamedTuple):
    """A network and the size of its images."""

    backbone: str
    size: tuple[int, int, int]  # images, height, width
    classes: int
    head_channels: int


NETWORKS = {
    "cityscapes": Network("resnet101", (1, 1024, 2048), 19, 1024),
    "camvid": Network("resnet18", (8, 180, 240), 11, 256),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="JSON file for the result")
    parser.add_argument("--device", default="cpu", choices=DEVICES)
    parser.add_argument("--network", default="cityscapes", choices=list(NETWORKS))
    parser.add_argument("--backbone", help="another backbone for the network")
    parser.add_argument("--size", nargs=3, type=int, metavar=("IMAGES", "HEIGHT", "WIDTH"))
    parser.add_argument("--passes", nargs="+", choices=PASSES, default=["forward"])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["32-true"])
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    prepare(options.device)

    network = NETWORKS[options.network]
    network = network._replace(
        backbone=options.backbone or network.backbone, size=tuple(options.size or network.size)
    )
    result = start_result(options.device, options.output)
    for which in options.passes:
        for precision in options.precisions:
            for memory_format in options.formats:
                started = time.perf_counter()
                row = {
                    "network": options.network,
                    "backbone": network.backbone,
                    "size": [network.size[0], 3, *network.size[1:]],
                    "pass": which,
                    "precision": precision,
                    "memory_format": memory_format,
                }
                row |= measure(network, row, ("atrous", *options.variants), options.repeats, options.device)
                print(f"{describe(options.device, row)}  [{time.perf_counter() - started:.0f} s]", flush=True)
                others = [old for old in result["rows"] if any(old[name] != row[name] for name in KEY)]
                result["rows"] = [*others, row]
                save(options.output, result)


def measure(
    network: Network, row: dict[str, Any], variants: tuple[str, ...], repeats: int, device: str
) -> dict[str, Any]:
    """Milliseconds, ratio to the atrous network and peak memory of each variant."""
    calls = {
        name: make_call(network, name, row["pass"], row["precision"], row["memory_format"], device)
        for name in variants
    }
    times = alternate(calls, repeats, device, warm_up=1)
    measured: dict[str, Any] = {
        name: {"ms": statistics.median(times[name]), "ratio": ratio(times[name], times["atrous"])}
        for name in variants
    }
    if device == "cuda":
        for name in variants:
            measured[name]["peak_mb"] = peak_mb(calls[name])
    return measured


def make_call(
    network: Network, variant: str, which: str, precision: str, memory_format: str, device: str
) -> Callable[[], None]:
    """A function that runs one forward pass or one training step."""
    use_tf32(precision != "32-true")
    images, height, width = network.size
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(images, 3, height, width, generator=generator)
    image = image.to(device).contiguous(memory_format=FORMATS[memory_format])
    label = torch.randint(network.classes, (images, height, width), generator=generator).to(device)
    model = make_model(network, variant, memory_format, device)
    autocast = torch.autocast(device, torch.bfloat16, enabled=precision == "bf16-mixed")

    def forward() -> None:
        with torch.no_grad(), autocast:
            model(image)

    if which == "forward":
        model.eval()
        return forward
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def training_step() -> None:
        with autocast:
            scores = model(image)
        cross_entropy(scores.float(), label).backward()
        optimizer.step()
        optimizer.zero_grad()

    return training_step


def make_model(network: Network, variant: str, memory_format: str, device: str) -> DeepLab:
    torch.manual_seed(0)
    backbone = build_backbone(BackboneConfig(network.backbone, conv5=variant))  # type: ignore[arg-type]
    model = DeepLab(backbone, network.classes, head_channels=network.head_channels)
    # With offsets of zero, all samples would be at whole cells, unlike in a trained network.
    for name, parameter in model.named_parameters():
        if "conv_offset.bias" in name:
            torch.nn.init.uniform_(parameter, -1, 1)
    return model.to(device).to(memory_format=FORMATS[memory_format])  # type: ignore[call-overload]


def peak_mb(call: Callable[[], None]) -> float:
    """Peak GPU memory of a call in MB (10^6 bytes), without memory allocated before it."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def describe(device: str, row: dict[str, Any]) -> str:
    texts = []
    for name in ("atrous", *VARIANTS):
        if name not in row:
            continue
        found = row[name]
        text = f"{name} {found['ms']:.0f} ms ({found['ratio']:.3f}x)"
        if "peak_mb" in found:
            text += f" {found['peak_mb']:.0f} MB"
        limit = speed_targets.network(device, row, name)
        if limit is not None:
            text += f" ({limit} {'met' if limit.is_met(found['ratio']) else 'not met'})"
        texts.append(text)
    what = f"{row['backbone']} {row['pass']} {row['precision']} {row['memory_format']}"
    return f"{what:46} {', '.join(texts)}"


if __name__ == "__main__":
    main()
