"""The values of label maps that mean the same in every data set."""

__all__ = ["IGNORED"]

IGNORED = 255
"""Pixels with this label count in no loss and in no score."""
