"""Check that notebooks have no outputs, which would name a machine and make diffs unreadable.

    python scripts/check_notebooks.py [NOTEBOOK ...]     default: all in experiments/notebooks

If there are problems, prints one line for each and exits with code 1.
"""

import json
import sys
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[1] / "experiments" / "notebooks"


def problems(path: Path) -> list[str]:
    """One line for each cell with an output or execution count, or for a file that is not a notebook."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except OSError as error:
        return [f"{path}: cannot be read ({error.strerror}); name a notebook"]
    except (ValueError, KeyError, TypeError):
        return [f"{path}: is not a notebook; save it again from Jupyter"]
    found = []
    for number, cell in enumerate(cells, start=1):
        if cell.get("outputs"):
            found.append(f"{path}: cell {number} has outputs; clear all outputs and save")
        elif cell.get("execution_count") is not None:
            found.append(f"{path}: cell {number} has an execution count; clear all outputs and save")
    return found


def main(arguments: list[str]) -> int:
    paths = [Path(argument) for argument in arguments] or sorted(NOTEBOOKS.glob("*.ipynb"))
    found = [line for path in paths for line in problems(path)]
    print("\n".join(found) or f"notebooks without outputs: {len(paths)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
