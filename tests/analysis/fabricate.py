"""Run folders as training writes them, with numbers made up for the tests."""

import csv
import json
from pathlib import Path

CLASSES = ["Sky", "Road_mark"]
MODEL = {
    "backbone": "resnet18",
    "width": 1.0,
    "output_stride": 16,
    "conv5": "atrous",
    "dilation": 2,
    "num_deformable_layers": 3,
    "deform_groups": 1,
    "offset_dilation": None,
    "offset_lr_multiplier": 1.0,
    "num_classes": 2,
}


def write_run(sweep, trial, miou=0.5, seed=0, dilation=None, curve=(0.1, 0.3, 0.5), model=None, **result):
    """Write one run folder; `dilation` maps layer to {size: (mean, std, count)}, None writes no such file."""
    folder = Path(sweep) / f"{trial}-seed{seed}"
    folder.mkdir(parents=True)
    content = {
        "status": "finished",
        "error": None,
        "trial": trial,
        "sweep": "dilation",
        "seed": seed,
        "role": "trial",
        "miou": miou,
        "best_miou": miou,
        "iou": {"Sky": miou + 0.1, "Road_mark": miou - 0.1},
        "epochs": len(curve),
        "dataset": "camvid",
        "classes": CLASSES,
        "model": MODEL | (model or {}),
        "thresholds": [9216, 50176],
        "parameters": 11234567,
        "seconds": 120.0,
        "images_per_second": 30.0,
        "peak_memory_bytes": 2**30,
        "versions": {"deformlab": "0.1.0", "torch": "2.13.0"},
        "git_revision": "abc123",
        "operator_backend": "native",
        "machine": "a machine, 2 cores",
        "init_from": None,
    }
    (folder / "result.json").write_text(json.dumps(content | result))
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "step", "train/loss", "lr", "images_per_second", "val/miou"])
        for epoch, value in enumerate(curve):
            writer.writerow([epoch, 10 * epoch, 1 - value, 0.05, 30.0, value])
    if dilation is not None:
        with (folder / "effective_dilation.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["layer", "size", "mean", "std", "count"])
            for layer, sizes in dilation.items():
                for size, values in sizes.items():
                    writer.writerow([layer, size, *values])
    return folder


def atrous(sweep, rate, miou, seed=0, **options):
    """An atrous run, whose effective dilation is its rate."""
    sizes = dict.fromkeys(("small", "medium", "large", "background"), (float(rate), 0.0, 500))
    dilation = options.pop("dilation", {"layer4.1.conv2": sizes})
    model = {"conv5": "atrous", "dilation": rate}
    return write_run(sweep, f"atrous-{rate}", miou, seed, dilation, model=model, **options)


def deformable(sweep, miou, seed=0, means=(2.2, 2.9, 4.2, 3.1), counts=(500,) * 4, layers=3, **options):
    """A deformable run; `means` and `counts` for small, medium, large, background in its last layer."""
    sizes = zip(("small", "medium", "large", "background"), means, counts, strict=True)
    last = {size: (mean, 1.0, count) for size, mean, count in sizes}
    first = dict.fromkeys(("small", "medium", "large", "background"), (2.0, 0.5, 500))
    dilation = options.pop("dilation", {"layer4.0.conv2": first, "layer4.1.conv2": last})
    name = options.pop("trial", "deformable-2")
    model = {"conv5": "deformable", "dilation": 2, "num_deformable_layers": layers} | options.pop("model", {})
    return write_run(sweep, name, miou, seed, dilation, model=model, **options)
