"""Make random legal and illegal calls of the compiled operators; sanitize_ops.sh adds sanitizers.

A legal call must agree with the reference. Its values are on a coarse grid on which all products and sums are
exact, so that float32 and float64 must agree bit for bit; the memory around each tensor is NaN. An illegal
call must be refused, and must not access out-of-bounds memory even if it reaches the kernels.

The calls are divided among the operators; scripts/fuzz has a module for each. Call i of an operator and a
seed does not depend on earlier calls: --operator NAME --first i --calls 1 repeats it.
"""

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from fuzz import OPERATORS
from fuzz.operator import Arguments
from torch import Tensor

import deformlab


def describe(args: Arguments) -> str:
    def text(value: Any) -> str:
        if not isinstance(value, Tensor):
            return repr(value)
        return f"{value.dtype} {tuple(value.shape)} strides {value.stride()} from {value.storage_offset()}"

    return "\n".join(f"  {name}: {text(value)}" for name, value in args.items())


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--operator", choices=[operator.name for operator in OPERATORS], help="call only this"
    )
    parser.add_argument("--calls", type=int, default=300, help="calls of all operators together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first call")
    parser.add_argument(
        "--folder", type=Path, help="folder of a _C.abi3.so that is called instead of the package's"
    )
    parser.add_argument("--on-host", type=Path, help="call the CUDA source in this build for the CPU instead")
    parser.add_argument("--journal", type=Path, help="file that describes the call in progress")
    return parser.parse_args(arguments)


def load(options: argparse.Namespace) -> Any:
    """Return the namespace of the library whose operators are called."""
    if options.folder:
        deformlab.__path__.insert(0, str(options.folder))
    from deformlab.ops import native_status

    if options.on_host:
        torch.ops.load_library(options.on_host)
        return torch.ops.deformlab_cuda_on_host
    status = native_status()
    if not status.loaded or (options.folder and status.path != options.folder / "_C.abi3.so"):
        sys.exit(f"fuzz_ops: no compiled operators: {status.reason or status.path}")
    return torch.ops.deformlab


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    library, counts, start = load(options), Counter[str](), time.monotonic()
    # The CUDA sources need not have every operator.
    present = [kind for kind in OPERATORS if hasattr(library, kind.native or kind.name)]
    chosen = [kind for kind in present if options.operator in (None, kind.name)]
    if not chosen:
        sys.exit(f"fuzz_ops: the library does not have {options.operator}")
    # Takes turns, so that any number of calls has all operators.
    order = [
        kind(library)
        for round in range(max(k.share for k in chosen))
        for kind in chosen
        if round < kind.share
    ]
    for number in range(options.first, options.first + options.calls):
        operator = order[number % len(order)]
        rng = random.Random(f"{operator.name} {options.seed} {number}")
        args = operator.legal_arguments(rng, 30_000 if options.on_host else 2_000_000)
        if rng.random() < 0.3:
            operator.spoil(rng, args)
        torch.set_num_threads(rng.choice((1, 1, 2, 3)))
        where = (
            f"call {number}, repeated by --operator {operator.name} --seed {options.seed} --first {number} "
            f"--calls 1:\n{describe(args)}"
        )
        if options.journal:
            options.journal.write_text(where + "\n")
        try:
            counts[operator.run(rng, args)] += 1
        except Exception as error:
            print(f"{type(error).__name__}: {error}\nin {where}", file=sys.stderr)
            return 1
    print(
        f"{options.calls} calls of {', '.join(kind.name for kind in chosen)} with seed {options.seed}: "
        f"{counts['legal']} legal, compared with the reference; {counts['refused']} refused; "
        f"{time.monotonic() - start:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
