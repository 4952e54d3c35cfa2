"""Spearman's rank correlation of objects' sizes and effective dilations, with an interval over images."""

import numpy as np
import numpy.typing as npt

from deformlab.objects.bootstrap import interval

_Floats = npt.NDArray[np.float64]
# Objects times resamples that are ranked at once: bounds the memory on data sets of many objects.
_AT_ONCE = 4_000_000
MIN_OBJECTS = 3


def spearman(
    x: _Floats, y: _Floats, image: npt.NDArray[np.int64], drawn: _Floats
) -> tuple[float, float, float]:
    """Rank correlation of `x` and `y` and its interval by resampling images; ties get their mean rank.

    Args:
        x: (n,) one value per object.
        y: (n,) the other.
        image: (n,) the column of `drawn` that an object's image has.
        drawn: (resamples, images) how often each image was drawn.

    Returns:
        Coefficient in [-1, 1], lower and upper bound; nan where under three objects or a constant leave it
        undefined, bounds also where the objects are in one image.
    """
    if len(x) < MIN_OBJECTS:
        return np.nan, np.nan, np.nan
    value = _coefficients(x, y, np.ones((1, len(x))))[0]
    if np.isnan(value) or len(np.unique(image)) < 2:
        return float(value), np.nan, np.nan
    step = max(1, _AT_ONCE // len(x))
    parts = [_coefficients(x, y, drawn[i : i + step, image]) for i in range(0, len(drawn), step)]
    low, high = interval(np.concatenate(parts))
    return float(value), float(low), float(high)


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
