"""`python -m deformlab`: the command line without an installed script."""

import sys

from deformlab.cli import main

if __name__ == "__main__":
    sys.exit(main())
