"""Bootstrap over images, intervals of ratios, and rank correlation.

Filters and objects of one image are not independent, so images are the units that are drawn: percentile
bootstrap (Efron and Tibshirani, 1993, chapter 13).
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

RESAMPLES = 1000
LEVEL = 0.95
SEED = 0

_Floats = npt.NDArray[np.float64]
# Objects times resamples that are ranked at once: bounds the memory on data sets of many objects.
_AT_ONCE = 4_000_000
MIN_OBJECTS = 3


class Interval(NamedTuple):
    """A number and its interval; None where undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, value: float, bounds: _Floats | tuple[float, float] = (math.nan, math.nan)) -> "Interval":
        """From floats of which some may be nan."""
        return cls(defined(value), defined(bounds[0]), defined(bounds[1]))


def defined(value: float) -> float | None:
    """The number; None where it is nan or infinite."""
    return float(value) if math.isfinite(value) else None


def draws(images: int, resamples: int = RESAMPLES, seed: int = SEED) -> _Floats:
    """How often each image was drawn, (resamples, images); the same for the same arguments."""
    if images == 0:
        return np.zeros((resamples, 0))
    generator = np.random.default_rng(seed)
    return generator.multinomial(images, np.full(images, 1 / images), size=resamples).astype(np.float64)


def percentile_bounds(values: _Floats, level: float = LEVEL) -> _Floats:
    """The bounds (2, ...) of resampled values (resamples, ...); nan where half of them or more are nan."""
    flat = values.reshape(len(values), -1)
    bounds = np.full((2, flat.shape[1]), np.nan)
    tails = ((1 - level) / 2, (1 + level) / 2)
    complete = ~np.isnan(flat).any(axis=0)
    bounds[:, complete] = np.quantile(flat[:, complete], tails, axis=0)
    for column in np.flatnonzero(~complete):
        known = flat[~np.isnan(flat[:, column]), column]
        if 2 * len(known) > len(flat):
            bounds[:, column] = np.quantile(known, tails)
    return bounds.reshape(2, *values.shape[1:])


def ratio(numerator: _Floats, denominator: _Floats) -> _Floats:
    """The quotient, nan where the denominator is 0."""
    nothing = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=nothing, where=denominator != 0)


def resampled(drawn: _Floats, sums: _Floats) -> _Floats:
    """Sums per image (images, ...) as sums of each resample (resamples, ...)."""
    return (drawn @ sums.reshape(len(sums), math.prod(sums.shape[1:]))).reshape(len(drawn), *sums.shape[1:])


def ratio_interval(drawn: _Floats, numerator: _Floats, denominator: _Floats) -> _Floats:
    """Interval (2, ...) of a quotient of sums, from sums per image (images, ...) of both.

    nan where fewer than two images have a denominator.
    """
    bounds = percentile_bounds(ratio(resampled(drawn, numerator), resampled(drawn, denominator)))
    bounds[:, (denominator != 0).sum(axis=0) < 2] = np.nan
    return bounds


def spearman(x: _Floats, y: _Floats, image: npt.NDArray[np.int64], drawn: _Floats) -> Interval:
    """Rank correlation of `x` and `y` and its interval by resampling images; ties get their mean rank.

    Args:
        x: (n,) one value per object.
        y: (n,) the other.
        image: (n,) the column of `drawn` that an object's image has.
        drawn: (resamples, images) how often each image was drawn.

    Returns:
        The coefficient, in [-1, 1]; undefined for fewer than three objects and where one of both is constant.
        The interval is undefined too where all objects are in one image.
    """
    if len(x) < MIN_OBJECTS:
        return Interval(None)
    value = _coefficients(x, y, np.ones((1, len(x))))[0]
    if np.isnan(value) or len(np.unique(image)) < 2:
        return Interval.of(value)
    step = max(1, _AT_ONCE // len(x))
    parts = [_coefficients(x, y, drawn[i : i + step, image]) for i in range(0, len(drawn), step)]
    return Interval.of(value, percentile_bounds(np.concatenate(parts)))


def _coefficients(x: _Floats, y: _Floats, weight: _Floats) -> _Floats:
    """Coefficient of each resample (B,), for the weights (B, n) with which it repeats the objects."""
    rank_x, rank_y = _ranks(x, weight), _ranks(y, weight)
    count = weight.sum(axis=1)
    middle = (count[:, None] + 1) / 2
    dx, dy = rank_x - middle, rank_y - middle
    covariance = np.einsum("bn,bn,bn->b", weight, dx, dy)
    spread = np.sqrt(np.einsum("bn,bn,bn->b", weight, dx, dx) * np.einsum("bn,bn,bn->b", weight, dy, dy))
    # Ranks are halves, so a constant has a spread of exactly 0.
    return np.divide(covariance, spread, out=np.full(len(weight), np.nan), where=spread > 0)


def _ranks(values: _Floats, weight: _Floats) -> _Floats:
    """Mean ranks of `values`, each repeated as often as `weight` (B, n) says."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    in_group = np.add.reduceat(weight[:, order], starts, axis=1)
    before = np.cumsum(in_group, axis=1) - in_group
    return (before + (in_group + 1) / 2)[:, group]
