"""Which way of measuring effective dilation and objects a run's numbers come from.

`result.json` has it as `"measurement": {"version": ..., "options": {...}}`. Numbers of two versions do not
compare, so a change of what is measured raises the version.

| version | what was measured |
|---|---|
| 1 | A filter was given to the object in the middle of its cell, half a cell away from the filter's centre. |
| 2 | A filter is given to the object at its centre, as `deformlab.metrics.filter_centre` says. |

Later runs of version 2 record sums over the filters away from the border of the feature map beside those over
all filters, which are the same as before.

The first runs of either version lack the field. Those of version 2 have an `objects.json` of version 2 or
later, or the column `inside_count` in `effective_dilation.csv`.
"""

__all__ = ["VERSION"]

VERSION = 2
