"""`python -m deformlab`: the command line without an installed script."""

import sys

if __name__ == "__main__":
    # Python puts the working directory first; a file random.py in it would take the place of Python's own.
    # An installed script has no such entry either.
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]

    from deformlab.cli import main

    sys.exit(main())
