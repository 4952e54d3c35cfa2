"""Numbers as JSON has them."""

import math


def number(value: float) -> float | None:
    """The number, None where it is undefined: JSON has no NaN."""
    return None if math.isnan(value) else float(value)
