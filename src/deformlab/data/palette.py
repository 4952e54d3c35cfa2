"""Colours for classes that have none of their own."""

import numpy as np
import numpy.typing as npt


def color_map(count: int) -> npt.NDArray[np.uint8]:
    """The first `count` colours of the VOC development kit, shape (count, 3).

    Bit `3 i + c` of a class number is bit `7 - i` of its colour's channel `c`.
    """
    bits = (np.arange(count)[:, None] >> np.arange(24)) & 1
    weights = 1 << (7 - np.arange(8))
    return (bits.reshape(count, 8, 3) * weights[:, None]).sum(axis=1).astype(np.uint8)
