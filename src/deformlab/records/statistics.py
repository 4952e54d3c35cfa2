"""Bootstrap over images, intervals of ratios, and rank correlation.

Filters and objects of one image are not independent, so whole images are resampled: percentile bootstrap
(Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

RESAMPLES = 1000
LEVEL = 0.95
SEED = 0

_Floats = npt.NDArray[np.float64]
# Most objects times resamples that are ranked at once; limits memory on data sets with many objects.
_AT_ONCE = 4_000_000
MIN_OBJECTS = 3


class Interval(NamedTuple):
    """A number and its 95 % interval; None if undefined.

    Attributes:
        value: The number.
        low: Lower bound of the interval.
        high: Upper bound of the interval.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, value: float, bounds: _Floats | tuple[float, float] = (math.nan, math.nan)) -> "Interval":
        """The interval from a value and its two bounds; NaN and infinity become None."""
        return cls(defined(value), defined(bounds[0]), defined(bounds[1]))


def defined(value: float) -> float | None:
    """The number; None if it is NaN or infinite."""
    return float(value) if math.isfinite(value) else None


def draws(images: int, resamples: int = RESAMPLES, seed: int = SEED) -> _Floats:
    """Draws images with replacement for a bootstrap; equal arguments give equal draws.

    Args:
        images: Number of images, >= 0.
        resamples: Number of resamples.
        seed: Seed of the random numbers.

    Returns:
        (resamples, images), how often each image was drawn; each row sums to `images`.
    """
    if images == 0:
        return np.zeros((resamples, 0))
    generator = np.random.default_rng(seed)
    return generator.multinomial(images, np.full(images, 1 / images), size=resamples).astype(np.float64)


def percentile_bounds(values: _Floats, level: float = LEVEL) -> _Floats:
    """Percentile bounds (2, ...) of resampled values (resamples, ...); NaN if half or more of them are."""
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
    """The quotient; NaN where the denominator is 0."""
    undefined = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator != 0)


def resampled(drawn: _Floats, sums: _Floats) -> _Floats:
    """Sums over each resample (resamples, ...) from sums per image (images, ...)."""
    return (drawn @ sums.reshape(len(sums), math.prod(sums.shape[1:]))).reshape(len(drawn), *sums.shape[1:])


def ratio_interval(drawn: _Floats, numerator: _Floats, denominator: _Floats) -> _Floats:
    """Interval (2, ...) of a ratio of sums, from the sums per image (images, ...) of both.

    NaN if fewer than two images have a nonzero denominator.
    """
    bounds = percentile_bounds(ratio(resampled(drawn, numerator), resampled(drawn, denominator)))
    bounds[:, (denominator != 0).sum(axis=0) < 2] = np.nan
    return bounds


def spearman(x: _Floats, y: _Floats, image: npt.NDArray[np.int64], drawn: _Floats) -> Interval:
    """Spearman's rank correlation of `x` and `y`, and its 95 % interval from resampling images.

    Ties get their mean rank.

    Args:
        x: (n,) one value per object.
        y: (n,) another value per object.
        image: (n,) index into the columns of `drawn` of each object's image.
        drawn: (resamples, images) how often each image was drawn.

    Returns:
        The coefficient, in [-1, 1]. It is undefined for fewer than three objects, or if `x` or `y` is
        constant. The interval is also undefined if all objects are in one image.
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
    """Coefficient of each resample (B,); `weight` (B, n) is how often it repeats each object."""
    rank_x, rank_y = _ranks(x, weight), _ranks(y, weight)
    count = weight.sum(axis=1)
    middle = (count[:, None] + 1) / 2
    dx, dy = rank_x - middle, rank_y - middle
    covariance = np.einsum("bn,bn,bn->b", weight, dx, dy)
    spread = np.sqrt(np.einsum("bn,bn,bn->b", weight, dx, dx) * np.einsum("bn,bn,bn->b", weight, dy, dy))
    # Ranks are multiples of 0.5, so a constant has a spread of exactly 0.
    return np.divide(covariance, spread, out=np.full(len(weight), np.nan), where=spread > 0)


def _ranks(values: _Floats, weight: _Floats) -> _Floats:
    """Mean ranks (B, n) of `values` (n,) when each is repeated `weight` (B, n) times."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    in_group = np.add.reduceat(weight[:, order], starts, axis=1)
    before = np.cumsum(in_group, axis=1) - in_group
    return (before + (in_group + 1) / 2)[:, group]
