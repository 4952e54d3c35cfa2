"""Confidence intervals by resampling images: filters and objects of one image are not independent.

Percentile bootstrap (Efron and Tibshirani, 1993, chapter 13) with images as the units that are drawn.
"""

import math

import numpy as np
import numpy.typing as npt

RESAMPLES = 1000
LEVEL = 0.95
SEED = 0

_Floats = npt.NDArray[np.float64]


def draws(images: int, resamples: int = RESAMPLES, seed: int = SEED) -> _Floats:
    """How often each image was drawn, (resamples, images); the same for the same arguments."""
    if images == 0:
        return np.zeros((resamples, 0))
    generator = np.random.default_rng(seed)
    return generator.multinomial(images, np.full(images, 1 / images), size=resamples).astype(np.float64)


def interval(values: _Floats, level: float = LEVEL) -> _Floats:
    """The bounds (2, ...) of resampled values (resamples, ...); nan where over half of them are undefined."""
    flat = values.reshape(len(values), -1)
    bounds = np.full((2, flat.shape[1]), np.nan)
    tails = ((1 - level) / 2, (1 + level) / 2)
    complete = ~np.isnan(flat).any(axis=0)
    bounds[:, complete] = np.quantile(flat[:, complete], tails, axis=0)
    for column in np.flatnonzero(~complete):
        defined = flat[~np.isnan(flat[:, column]), column]
        if 2 * len(defined) > len(flat):
            bounds[:, column] = np.quantile(defined, tails)
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

    nan where fewer than two images have a denominator: one image says nothing about another.
    """
    bounds = interval(ratio(resampled(drawn, numerator), resampled(drawn, denominator)))
    bounds[:, (denominator != 0).sum(axis=0) < 2] = np.nan
    return bounds
