"""Imported first by each package that needs the training toolkit: an ImportError says how to install it."""

from deformlab.requirements import require_toolkit

require_toolkit("this part of deformlab")
