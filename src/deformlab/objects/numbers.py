"""Numbers as JSON has them."""

import math


def number(value: float) -> float | None:
    """The number, None where it is undefined: JSON has neither NaN nor infinity."""
    return float(value) if math.isfinite(value) else None
