"""Values of label maps that have the same meaning in every data set."""

__all__ = ["IGNORED"]

IGNORED = 255
"""Label of ignored pixels, which count neither in the loss nor in any score."""
