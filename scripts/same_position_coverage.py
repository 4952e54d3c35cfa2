"""Measure how often the 95 % interval of the same-position effect contains the true, simulated effect.

    python scripts/same_position_coverage.py [--images N] [--simulations N] [--sorting S]

In the simulation, objects at the first positions of the map tend to be small, those at the last tend to be
large. Effective dilation depends on the size, the position, the image, and the combination of image and size,
so filters on one object are not independent.
"""

import argparse

import numpy as np

from deformlab.records import (
    REGIONS,
    FilterSums,
    ObjectRecords,
    PositionRecords,
    SizeRule,
    draws,
    size_effects,
)

EFFECT = 0.2
POSITIONS = 60
RULE = SizeRule((100, 1000))
AREAS = np.array([0.0, 50, 500, 5000])  # areas of objects 0 (background) to 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--sorting", type=float, default=6.0, help="how strongly size depends on position")
    options = parser.parse_args()
    records, drawn = records_of(options.images), draws(options.images, options.resamples)
    values, widths, covered = [], [], 0
    for seed in range(options.simulations):
        filters = simulated(options.images, options.sorting, seed)
        effect = size_effects([filters], records, RULE, drawn).contrast("large", "small").controlled
        if effect.value is None or effect.low is None or effect.high is None:
            raise SystemExit(f"simulation {seed} has no estimate; use more images or less --sorting")
        values.append(effect.value)
        widths.append(effect.high - effect.low)
        covered += effect.low <= EFFECT <= effect.high
    share = covered / options.simulations
    error = np.sqrt(share * (1 - share) / options.simulations)
    print(
        f"{options.images} images, {options.simulations} simulations: true effect {EFFECT}, mean estimate "
        f"{np.mean(values):.4f}, coverage {100 * share:.1f} % (standard error {100 * error:.1f}), mean width "
        f"{np.mean(widths):.3f}, 3.92 standard deviations of the estimates {3.92 * np.std(values):.3f}"
    )


def simulated(images: int, sorting: float, seed: int) -> PositionRecords:
    """The simulated filters of one layer."""
    rng = np.random.default_rng(seed)
    image, position = (part.ravel() for part in np.mgrid[:images, :POSITIONS])
    trend = position / (POSITIONS - 1)
    object_ = np.where(rng.random(len(image)) < 1 / (1 + np.exp(-sorting * (trend - 0.5))), 3, 1)
    other = rng.random(len(image))
    object_[other < 0.4] = 0
    object_[other > 0.9] = 2
    dilation = (
        2 + trend + np.array([0.05, 0, EFFECT / 2, EFFECT])[object_] + 0.2 * rng.normal(size=len(image))
    )
    dilation += 0.1 * rng.normal(size=images)[image] + 0.1 * rng.normal(size=(images, 4))[image, object_]
    return PositionRecords(
        layer="conv",
        images=np.array([f"{i:04}" for i in range(images)]),
        map_size=np.full((images, 2), POSITIONS),
        image=image,
        position=position,
        dilation=dilation.astype(np.float32),
        object=object_,
        label=np.zeros(len(image), dtype=np.int64),
    )


def records_of(images: int) -> ObjectRecords:
    """A small, a medium and a large object in each image, and its background."""
    rows = 4 * images
    zeros = np.zeros(rows, dtype=np.int64)
    return ObjectRecords(
        layers=(),
        groups=(),
        modulated=(),
        margins=(),
        image=np.repeat([f"{i:04}" for i in range(images)], 4),
        object=np.tile(np.arange(4), images),
        label=zeros,
        box_area=np.tile(AREAS, images),
        mask_area=np.tile(AREAS, images),
        scale=np.ones(rows),
        pixels=zeros,
        hits=zeros - 1,
        false_positives=zeros - 1,
        sums={region: FilterSums.zeros(rows, 0, 1) for region in REGIONS},
        ring_filters=np.zeros((rows, 0, 0), dtype=np.int64),
        ring_total=np.zeros((rows, 0, 0)),
    )


if __name__ == "__main__":
    main()
