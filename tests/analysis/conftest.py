"""Run folders as training writes them, with numbers made up for the tests."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from deformlab.analysis import write_report
from deformlab.records import FilterSums, ObjectRecords, SizeRule, by_size, summarize
from deformlab.run_folder.objects import records_text

SIZES = ("small", "medium", "large", "background")
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
RESULT = {
    "status": "finished",
    "error": None,
    "sweep": "dilation",
    "role": "trial",
    "dataset": "camvid",
    "classes": ["Sky", "Road_mark"],
    "thresholds": [9216, 50176],
    "parameters": 11234567,
    "seconds": 120.0,
    "images_per_second": 30.0,
    "peak_memory_bytes": 2**30,
    "versions": {"deformlab": "0.1.0", "torch": "2.13.0"},
    "git_revision": "abc123",
    "operator_backend": "native",
    "precision": "32-true",
    "machine": "a machine, 2 cores",
    "init_from": None,
}


class Sweep:
    """A sweep folder under construction; each method writes one run folder and returns it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def run(self, trial, miou=0.5, seed=0, dilation=None, curve=(0.1, 0.3), model=None, **result):
        """Write a run; `dilation` maps layer to {size: (mean, std, count)}, None writes no such file.

        A size may have six values: the last three are of the filters away from the border, by default all.
        `curve` is mIoU by epoch; that of the last one is `miou`.
        """
        curve = (*curve[:-1], miou)
        folder = self.folder / f"{trial}-seed{seed}"
        folder.mkdir()
        iou = dict.fromkeys(result.get("classes", RESULT["classes"]))
        iou |= zip(iou, (miou + 0.1, miou - 0.1), strict=False)
        scores = {"miou": miou, "best_miou": miou, "iou": iou}
        content = RESULT | {
            "trial": trial,
            "seed": seed,
            "epochs": len(curve),
            "model": MODEL | (model or {}),
        }
        (folder / "result.json").write_text(json.dumps(content | scores | result))
        with (folder / "metrics.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["epoch", "step", "train/loss", "lr", "images_per_second", "val/miou"])
            writer.writerows([epoch, 10 * epoch, 1 - v, 0.05, 30.0, v] for epoch, v in enumerate(curve))
        if dilation is not None:
            nothing = (0.0, 0.0, 0)
            rows = [
                (layer, size, *(2 * sizes.get(size, nothing))[:6])
                for layer, sizes in dilation.items()
                for size in SIZES
            ]
            _write_dilation(folder, rows)
        return folder

    def add_objects(
        self,
        folder,
        dilation=(2.0, 2.0),
        hits=(5, 50),
        images=("a", "b", "c"),
        grow=0.0,
        medium=None,
        border=(0, 0, 0),
    ):
        """Write objects.*: per image a small (100) and a large (60,000) Road_mark in Sky of 1,000 pixels.

        `dilation` and `hits` are those of small and large, of 10 and 100 pixels; each image adds `grow`.
        `medium` is the dilation of another one of 20,000, half of whose 50 pixels are found. Half of the
        filters are in the outermost of two rings; there those on the background, small and large objects look
        `border` cells further than elsewhere.
        """
        layers = ("layer4.0.conv2", "layer4.1.conv2")
        # Sky has no objects, so its IoU in the records is the one in result.json; 10 pixels are too many.
        result = json.loads((folder / "result.json").read_text())
        sky = round(1010 * result["iou"]["Sky"])
        rows = [
            (image, number, area, pixels, found, value + grow * i)
            for i, image in enumerate(images)
            for number, area, pixels, found, value in (
                (0, 0, 1000, sky, 2.0),
                (1, 100, 10, hits[0], dilation[0]),
                (2, 60000, 100, hits[1], dilation[1]),
                (3, 20000, 50, 25, medium),
            )
            if value is not None
        ]
        image, number, area, pixels, found, value = (np.array(column) for column in zip(*rows, strict=True))
        filters = np.repeat(np.where(number == 0, 50, 2 * number)[:, None], 2, axis=1)
        near = np.broadcast_to(filters // 2, filters.shape)
        inside = _sums(filters - near, value[:, None])
        at_border = _sums(near, (value + np.array([*border, 0])[number])[:, None])
        everywhere = FilterSums(*(a + b for a, b in zip(inside, at_border, strict=True)))
        records = ObjectRecords(
            layers=layers,
            groups=(1, 1),
            modulated=(False, False),
            margins=(2, 2),
            image=image,
            object=number,
            label=(number > 0).astype(int),
            box_area=area.astype(float),
            mask_area=area.astype(float),
            scale=np.ones(len(rows)),
            pixels=pixels,
            hits=found,
            false_positives=np.full(len(rows), 10),
            everywhere=everywhere,
            inside=inside,
            ring_filters=np.stack([near, 0 * near], axis=-1),
            ring_total=np.stack([at_border.total, 0 * at_border.total], axis=-1),
        )
        classes = RESULT["classes"]
        (folder / "objects.csv").write_text(records_text(records, classes))
        rule = SizeRule((9216, 50176))
        (folder / "objects.json").write_text(json.dumps(summarize(records, rule, classes, "mask")))
        away = {row[:2]: row[2:] for row in by_size(records, records.inside, rule)}
        rows = [(*row, *away[row[:2]]) for row in by_size(records, records.everywhere, rule)]
        _write_dilation(folder, rows)
        return folder

    def forget_distances(self, folder):
        """Make a run's records those of version 2, without distances from the border."""
        path = folder / "objects.csv"
        header, *lines = (line.split(",") for line in path.read_text().splitlines())
        kept = [i for i, name in enumerate(header) if ":inside_" not in name and ":ring" not in name]
        path.write_text("".join(",".join(line[i] for i in kept) + "\n" for line in (header, *lines)))
        path = folder / "objects.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2}))

    def atrous(self, rate, miou=0.5, seed=0, trial=None, **options):
        """An atrous run, whose effective dilation is its rate."""
        dilation = {"layer4.1.conv2": dict.fromkeys(SIZES, (float(rate), 0.0, 500))}
        model = {"dilation": rate} | options.pop("model", {})
        return self.run(trial or f"atrous-{rate}", miou, seed, dilation, model=model, **options)

    def deformable(
        self,
        miou=0.5,
        seed=0,
        means=(2.2, 2.9, 4.2, 3.1),
        counts=(500,) * 4,
        trial="deformable-2",
        inside=None,
        **options,
    ):
        """A deformable run; `means` and `counts` of small, medium, large, background in its last layer.

        `inside` are the means away from the border, by default the same.
        """
        last = {
            s: (m, 1.0, n, i, 1.0, n)
            for s, m, n, i in zip(SIZES, means, counts, inside or means, strict=True)
        }
        dilation = {"layer4.0.conv2": dict.fromkeys(SIZES, (2.0, 0.5, 500)), "layer4.1.conv2": last}
        model = {"conv5": "deformable"} | options.pop("model", {})
        return self.run(trial, miou, seed, dilation, model=model, **options)


def _write_dilation(folder, rows):
    """Write effective_dilation.csv from layer, size and the numbers of all filters and of those inside."""
    with (folder / "effective_dilation.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        numbers = ["mean", "std", "count"]
        writer.writerow(["layer", "size", *numbers, *(f"inside_{name}" for name in numbers)])
        writer.writerows(rows)


def _sums(filters, value):
    total, squares = filters * value, filters * value**2
    weighted = np.full(filters.shape, np.nan)
    return FilterSums(filters, total, squares, weighted, total[..., None], squares[..., None])


@pytest.fixture(scope="session")
def new_sweep():
    """Make a sweep folder anywhere, for fixtures that live longer than one test."""
    return Sweep


@pytest.fixture
def sweep(tmp_path):
    return Sweep(tmp_path / "dilation")


@pytest.fixture
def compared(sweep):
    """Two atrous rates and two seeds of a deformable network that finds more of large objects only."""
    return _compare(sweep)


@pytest.fixture(scope="session")
def compared_report(new_sweep, tmp_path_factory):
    """The report of the runs of `compared`; tests only read it."""
    return write_report(_compare(new_sweep(tmp_path_factory.mktemp("compared") / "dilation")).folder)


@pytest.fixture
def no_figures(monkeypatch):
    """Reports without figures, which take most of their time."""
    monkeypatch.setattr("deformlab.analysis.report.figures", lambda runs: {})


def _compare(sweep):
    for seed in range(2):
        sweep.add_objects(sweep.atrous(2, 0.45, seed))
    sweep.add_objects(sweep.atrous(4, 0.40), dilation=(4.0, 4.0), hits=(5, 90))
    sweep.add_objects(sweep.deformable(0.46, 0), dilation=(2.0, 3.0), hits=(5, 70))
    sweep.add_objects(sweep.deformable(0.48, 1), dilation=(3.0, 5.0), hits=(5, 80), grow=0.5)
    return sweep
