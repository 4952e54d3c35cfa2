"""`python -m deformlab`: the command line without an installed script."""

import sys

if __name__ == "__main__":
    # Python searches the working directory first, where a file random.py would hide Python's own module.
    # An installed script does not search it either.
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]

    from deformlab.cli import main

    sys.exit(main())
