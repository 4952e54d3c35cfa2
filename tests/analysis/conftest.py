"""Run folders as training writes them, with numbers made up for the tests."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deformlab.analysis import write_report
from deformlab.records import BACKGROUND, FilterSums, ObjectMeasurement, ObjectRecords, PositionRecords
from deformlab.run_folder import (
    MEASUREMENT_VERSION,
    ClassScores,
    MeasuredSizes,
    Measurement,
    Result,
    Score,
    read_result,
    write_metrics,
    write_objects,
    write_result,
)

LAYERS = ("layer4.0.conv2", "layer4.1.conv2")
CLASSES = ("Sky", "Road_mark")
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
# Instance id, box area and pixels of the object of each size that every image has.
OBJECTS = {"small": (1, 100, 10), "medium": (2, 20_000, 50), "large": (3, 60_000, 100)}
ROWS, COLUMNS = 6, 10


class Sweep:
    """A sweep folder under construction; each method writes one run folder and returns it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def run(
        self, trial, score=0.5, seed=0, curve=(0.1, 0.3), model=None, iou=None, classes=CLASSES, **result
    ):
        """Write result.json and metrics.csv; `curve` is the score by epoch and ends with `score`."""
        curve = (*curve[:-1], score)
        folder = self.folder / f"{trial}-seed{seed}"
        folder.mkdir()
        if iou is None:
            iou = dict.fromkeys(classes) | dict(zip(classes, (score + 0.1, score - 0.1), strict=False))
        fields = {
            "status": "finished",
            "trial": trial,
            "sweep": "dilation",
            "seed": seed,
            "seconds": 120.0,
            "score": Score("miou", score, score),
            "class_scores": ClassScores("iou", iou),
            "measurement": Measurement(MEASUREMENT_VERSION, {}, MeasuredSizes((9216.0, 50176.0))),
            "epochs": len(curve),
            "max_epochs": len(curve),
            "dataset": "camvid",
            "data": {},
            "classes": tuple(classes),
            "palette": (),
            "model": MODEL | (model or {}),
            "parameters": 11234567,
            "images_per_second": 30.0,
            "peak_memory_bytes": 2**30,
            "precision": "32-true",
            "versions": {"deformlab": "0.1.0", "torch": "2.13.0"},
            "git_revision": "abc123",
            "operator_backend": "native",
            "machine": "a machine, 2 cores",
        }
        write_result(folder, Result(**fields | result))
        write_metrics(
            folder,
            [
                {"epoch": epoch, "step": 10 * epoch, "train/loss": 1 - value, "lr": 0.05, "val/miou": value}
                for epoch, value in enumerate(curve)
            ],
        )
        return folder

    def atrous(self, rate, score=0.5, seed=0, trial=None, **options):
        """An atrous run without records of objects."""
        model = {"dilation": rate} | options.pop("model", {})
        return self.run(trial or f"atrous-{rate}", score, seed, model=model, **options)

    def deformable(self, score=0.5, seed=0, trial="deformable-2", **options):
        """A deformable run without records of objects."""
        model = {"conv5": "deformable"} | options.pop("model", {})
        return self.run(trial, score, seed, model=model, **options)

    def detector(self, trial, scores, kind="rfcn", dataset="voc", seed=0, **model):
        """A run of a detector, without records of objects; the first of `scores` is its main score."""
        (name, value), *others = scores.items()
        model = {"detector": kind, "roi_pooling": "plain", "backbone": "resnet101"} | model
        folder = self.run(trial, seed=seed, model=model, dataset=dataset)
        self.rewrite(
            folder,
            score=Score(name, value, value),
            class_scores=ClassScores(name, dict.fromkeys(CLASSES, value)),
            other_scores=dict(others),
        )
        return folder

    def measure(self, folder, sizes=None, rate=None, **options):
        """Write the object files of a run; see `measured`. `rate` is every filter's effective dilation."""
        result = read_result(folder)
        if rate is not None:
            sizes, options = dict.fromkeys(("small", "medium", "large", "background"), float(rate)), options
            options = {"noise": 0.0, "positions": False} | options
        sky = result.class_scores.values.get("Sky") or 0.0
        measurement = measured(sizes or {"small": 2.0, "large": 2.0, "background": 2.0}, sky=sky, **options)
        write_objects(folder, measurement, result.classes)
        return folder

    def forget_interior(self, folder):
        """Make a run's records those of an early version, without interior filters and positions."""
        packed, path = folder / "objects.csv.gz", folder / "objects.csv"
        with gzip.open(packed, "rt", encoding="utf-8") as file:
            header, *lines = (line.split(",") for line in file.read().splitlines())
        packed.unlink()
        kept = [i for i, name in enumerate(header) if ":interior_" not in name and ":ring" not in name]
        path.write_text("".join(",".join(line[i] for i in kept) + "\n" for line in (header, *lines)))
        (folder / "positions.npz").unlink(missing_ok=True)

    def rewrite(self, folder, **changes):
        """Change fields of a run's result.json."""
        write_result(folder, replace(read_result(folder), **changes))


def measured(
    sizes,
    place=0.0,
    noise=0.05,
    border=0.0,
    hits=(5, 50),
    images=24,
    prefix="",
    positions=True,
    sky=0.6,
    **layers,
):
    """What a validation of images with one object of each of `sizes` measures.

    Args:
        sizes: Effective dilation of interior filters by size, in both layers.
        place: How much further filters in the last row of the map look than those in the first; there are
            more large objects and fewer small ones in the last row.
        noise: Standard deviation of it over images and over filters.
        border: How much further filters near the border look; there are as many as interior ones.
        hits: Pixels of the small and the large object that were found, of 10 and 100.
        images: How many.
        prefix: Of their names.
        positions: Whether they are recorded.
        sky: IoU of Sky, which has no objects, as result.json has it.
        layers: Effective dilation by size of single layers, by the end of their names: `first` or `last`.
    """
    generator = np.random.default_rng(0)
    names = np.array([f"{prefix}{number:03}" for number in range(images)])
    there = [size for size in OBJECTS if size in sizes]
    ids = np.array([BACKGROUND, *(OBJECTS[size][0] for size in there)])
    cells = ROWS * COLUMNS
    row = np.arange(cells) // COLUMNS / (ROWS - 1)
    chance = {"small": 0.05 + 0.25 * (1 - row), "medium": 0.15 + 0 * row, "large": 0.05 + 0.25 * row}
    below = np.cumsum([chance[size] for size in there], axis=0)
    drawn = generator.random((images, cells))
    # The number of the object at each position of each image, 0 for background.
    at = (1 + np.arange(len(there)))[(drawn[:, None] < below).argmax(1)] * (drawn[:, None] < below).any(1)
    wobble = noise * (generator.normal(size=(images, 1)) + generator.normal(size=(images, cells)))
    values = []
    for name in ("first", "last"):
        of_layer = sizes | layers.get(name, {})
        base = np.array([of_layer.get("background", 2.0), *map(of_layer.get, there)])
        values.append((base[at] + wobble + place * row).astype(np.float32))
    image, owner = np.indices((images, len(ids))).reshape(2, -1)
    count = len(image)
    sums = np.zeros((3, count, 2))
    for layer, value in enumerate(values):
        flat = np.repeat(np.arange(images), cells) * len(ids) + at.ravel()
        sums[0, :, layer] = np.bincount(flat, minlength=count)
        sums[1, :, layer] = np.bincount(flat, value.ravel(), count)
        sums[2, :, layer] = np.bincount(flat, value.ravel().astype(float) ** 2, count)
    filters, total, squares = sums[:3]
    ring_total = total + border * filters
    interior = _sums(filters, total, squares)
    of_all = _sums(2 * filters, total + ring_total, 2 * squares + 2 * border * total + border**2 * filters)
    found = np.array(
        [round(1010 * sky), *(dict(zip(("small", "large"), hits, strict=True)).get(s, 25) for s in there)]
    )
    area = np.array([0, *(OBJECTS[size][1] for size in there)], dtype=float)
    pixels = np.array([1000, *(OBJECTS[size][2] for size in there)])
    records = ObjectRecords(
        layers=LAYERS,
        groups=(1, 1),
        modulated=(False, False),
        margins=(2, 2),
        image=names[image],
        object=ids[owner],
        label=(owner > 0).astype(np.int64),
        box_area=area[owner],
        mask_area=area[owner],
        scale=np.ones(count),
        pixels=pixels[owner],
        hits=found[owner],
        false_positives=np.full(count, 10),
        sums={"all": of_all, "interior": interior},
        ring_filters=np.stack([filters, 0 * filters], axis=-1).astype(np.int64),
        ring_total=np.stack([ring_total, 0 * ring_total], axis=-1),
    )
    recorded = [
        PositionRecords(
            layer=layer,
            images=names,
            map_size=np.tile([ROWS, COLUMNS], (images, 1)),
            image=np.repeat(np.arange(images), cells),
            position=np.tile(np.arange(cells), images),
            dilation=value.ravel(),
            object=ids[at.ravel()],
            label=(at.ravel() > 0).astype(np.int64),
        )
        for layer, value in zip(LAYERS, values, strict=True)
    ]
    return ObjectMeasurement(records, tuple(recorded) if positions else ())


def _sums(filters, total, squares):
    weighted = np.full(filters.shape, np.nan)
    return FilterSums(
        filters.astype(np.int64), total, squares, weighted, total[..., None], squares[..., None]
    )


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
    monkeypatch.setattr("deformlab.analysis.report.figures", lambda trials, smallest_effect: {})


def _compare(sweep):
    for seed in range(2):
        sweep.measure(sweep.atrous(2, 0.45, seed), rate=2)
    sweep.measure(sweep.atrous(4, 0.40), rate=4, hits=(5, 90))
    further = {"small": 2.0, "large": 3.0, "background": 2.4}
    sweep.measure(sweep.deformable(0.46, 0), further, hits=(5, 70), place=-0.5)
    further = {"small": 3.0, "large": 5.0, "background": 3.4}
    sweep.measure(sweep.deformable(0.48, 1), further, hits=(5, 80), place=-0.5)
    return sweep
