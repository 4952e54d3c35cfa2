"""Make random legal and illegal calls of the compiled deform_conv2d; sanitize_ops.sh adds sanitizers.

A legal call must agree with the reference. Its values are on a coarse grid on which all products and sums are
exact, so that float32 and float64 must agree bit for bit; the memory around each tensor is NaN. An illegal
call must be refused, and must not access out-of-bounds memory even if it reaches the kernels.

Call i of a seed does not depend on earlier calls: --first i --calls 1 repeats it.
"""

import argparse
import contextlib
import math
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import deformlab

TENSORS = ("input", "offset", "weight", "bias", "mask")
GEOMETRY = ("stride", "padding", "dilation")
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
FAR = (math.nan, math.inf, -math.inf, 1e10, -1e10, 3e38, 2.0**31, -(2.0**31), 2.0**63, -0.0)
ILLEGAL_NUMBERS = (-1, 0, 2**31, 2**40, 2**62, -(2**62), 2**63 - 1, -(2**63))
Arguments = dict[str, Any]


def legal_arguments(rng: random.Random, most_products: int) -> Arguments:
    """Arguments of one call with at most `most_products` products, with `grad` and `needs` for backward."""
    while True:
        groups, offset_groups = rng.choice((1, 1, 2, 3)), rng.choice((1, 1, 2, 3))
        channels = math.lcm(groups, offset_groups) * rng.choice((1, 2, 3, 4, 5, 8, 17))
        outputs = groups * rng.choice((1, 2, 3, 5, 8, 17, 33))
        batch = rng.choice((0, 1, 1, 2, 3))
        # With more channels, every kernel and image size would be too large.
        if batch * channels * outputs <= most_products:
            break
    while True:
        kernel = [rng.choice((1, 2, 3, 3, 3, 5, 7)) for _ in range(2)]
        size = [rng.choice((1, 1, 2, 3, 5, 8, 13, 34)) for _ in range(2)]
        geometry = {
            name: tuple(rng.randint(least, 3) for _ in range(2))
            for name, least in zip(GEOMETRY, (1, 0, 1), strict=True)
        }
        P, Q = (
            (length + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
            for length, taps, stride, padding, dilation in zip(size, kernel, *geometry.values(), strict=True)
        )
        if min(P, Q) > 0 and batch * channels * math.prod(kernel) * P * Q * outputs <= most_products:
            break
    dtype = rng.choice(DTYPES)
    offset_dtype = rng.choice((dtype, torch.float32)) if dtype.itemsize == 2 else dtype
    taps = offset_groups * math.prod(kernel)
    tensors = {
        "input": grid(rng, (batch, channels, *size), 2).to(dtype),
        "offset": offsets(rng, (batch, 2 * taps, P, Q)).to(offset_dtype),
        "weight": grid(rng, (outputs, channels // groups, *kernel), 1).to(dtype),
        "bias": grid(rng, (outputs,), 2).to(dtype) if rng.random() < 0.5 else None,
        "mask": (grid(rng, (batch, taps, P, Q), 1).abs() / rng.choice((1, 2))).to(dtype)
        if rng.random() < 0.5
        else None,
        "grad": grid(rng, (batch, outputs, P, Q), 1).to(dtype),
    }
    laid_out = {name: None if value is None else lay_out(rng, value) for name, value in tensors.items()}
    boundary = rng.choice(("zeros", "zeros", "clamp"))
    return laid_out | geometry | {"boundary": boundary, "needs": [rng.random() < 0.7 for _ in range(4)]}


def grid(rng: random.Random, shape: tuple[int, ...], largest: int) -> Tensor:
    generator = torch.Generator().manual_seed(rng.getrandbits(63))
    return torch.randint(-largest, largest + 1, shape, generator=generator).double()


def offsets(rng: random.Random, shape: tuple[int, ...]) -> Tensor:
    """Offsets of half cells, so that many samples are exactly on a border; some are far away or NaN."""
    values = grid(rng, shape, 6) / 2
    if rng.random() < 0.4:
        flat = values.view(-1)
        for _ in range(values.numel() // 8):
            flat[rng.randrange(values.numel())] = rng.choice(FAR)
    return values


def lay_out(rng: random.Random, tensor: Tensor) -> Tensor:
    """The same values in another memory layout surrounded by NaN; or the batch's first entry, expanded."""
    kind = rng.choice(("contiguous", "channels_last", "transposed", "every second", "expanded"))
    if kind == "expanded" and len(tensor):
        return tensor[:1].expand(tensor.shape)
    order = list(range(tensor.ndim))
    if kind == "channels_last" and tensor.ndim == 4:
        order = [0, 2, 3, 1]
    elif kind == "transposed":
        rng.shuffle(order)
    step, shift = 2 if kind == "every second" else 1, rng.choice((0, 0, 1, 3))
    memory = torch.full((tensor.numel() * step + shift + 2,), math.nan, dtype=tensor.dtype)
    view = memory[shift : shift + tensor.numel() * step : step].view([tensor.shape[dim] for dim in order])
    return view.permute([order.index(dim) for dim in range(tensor.ndim)]).copy_(tensor)


def spoil(rng: random.Random, args: Arguments) -> None:
    """Changes one argument so that the call is most likely illegal."""
    name = rng.choice([name for name in (*TENSORS, "grad", *GEOMETRY) if args[name] is not None])
    value = args[name]
    if isinstance(value, tuple):
        numbers: list[Any] = [*value, 1] if rng.random() < 0.1 else list(value)
        numbers[rng.randrange(2)] = rng.choice((*ILLEGAL_NUMBERS, 1.5, True, None))
        args[name] = tuple(numbers)
        return
    dim, size = rng.randrange(value.ndim), value.shape
    changes = {
        "shorter": lambda: value.narrow(dim, 0, max(0, size[dim] - 1)),
        "longer": lambda: torch.cat((value, value.narrow(dim, 0, min(1, size[dim]))), dim),
        "nothing": lambda: value.narrow(dim, 0, 0),
        "endless": lambda: value.narrow(dim, 0, 1).expand(
            [2**45 if d == dim else n for d, n in enumerate(size)]
        ),
        "one dimension more": lambda: value[None],
        "one dimension less": lambda: value.flatten(0, 1) if value.ndim > 1 else value.sum(),
        "another type": lambda: value.nan_to_num(0, 0, 0).to(rng.choice((torch.int64, torch.bool, *DTYPES))),
        "on no device": lambda: value.to("meta"),
        "no tensor": lambda: rng.choice((None, [1.0], "zeros")),
    }
    if size[dim] == 0:
        del changes["endless"]
    args[name] = changes[rng.choice(list(changes))]()


class Calls:
    """Calls the operators of one library and checks the results."""

    def __init__(self, operators: Any, check: Any, reference: Any) -> None:
        self.operators, self.check, self.reference = operators, check, reference
        overloads = operators.deform_conv2d_backward.overloads()
        self.backwards = [getattr(operators.deform_conv2d_backward, name) for name in overloads]

    def run(self, rng: random.Random, args: Arguments) -> str:
        """Makes one call.

        Returns:
            `legal` or `refused`.

        Raises:
            AssertionError: A result is wrong, or a legal call was refused.
        """
        grad, needs = args["grad"], args["needs"]
        values = {name: args[name] for name in (*TENSORS, *GEOMETRY, "boundary")}
        try:
            self.check(**values)
        except (TypeError, ValueError):
            if all(not isinstance(value, Tensor) or value.device.type == "cpu" for value in args.values()):
                self._unchecked(rng, values, grad, needs)
            return "refused"
        if not isinstance(grad, Tensor) or grad.device.type != "cpu" or grad.dtype != values["input"].dtype:
            return "refused"
        try:
            results = [self._forward(values)]
        except RuntimeError:
            endless = any(isinstance(value, Tensor) and value.numel() >= 2**45 for value in values.values())
            assert endless, "the forward pass refused a legal call"
            return "refused"
        shape_fits = grad.shape == results[0].shape
        try:
            results += self._backward(rng, values, grad, needs)
        except RuntimeError:
            assert not shape_fits, "the backward pass refused a legal call"
            return "refused"
        assert shape_fits, "the backward pass took a gradient of another shape than the output's"
        self._compare(values, grad, needs, results)
        return "legal"

    def _forward(self, values: Arguments) -> Any:
        tensors, geometry = (tuple(values[name] for name in names) for names in (TENSORS, GEOMETRY))
        return self.operators.deform_conv2d(*tensors, *geometry, values["boundary"] == "clamp")

    def _backward(self, rng: random.Random, values: Arguments, grad: Any, needs: list[bool]) -> Any:
        backward = rng.choice(self.backwards)
        tensors = [values[name] for name in TENSORS if name != "bias"]
        clamp = values["boundary"] == "clamp"
        return backward(grad, *tensors, *(values[name] for name in GEOMETRY), clamp, *needs)

    def _unchecked(self, rng: random.Random, values: Arguments, grad: Any, needs: list[bool]) -> None:
        """Calls the library without the checks of deformlab.ops; it may raise, but must stay in bounds."""
        for call in (
            lambda: self._forward(values),
            lambda: self._backward(rng, values, grad, needs),
        ):
            with contextlib.suppress(RuntimeError, TypeError, NotImplementedError):
                call()

    def _compare(self, values: Arguments, grad: Tensor, needs: list[bool], results: list[Tensor]) -> None:
        dtype = values["input"].dtype
        exact = dtype if dtype == torch.float64 else torch.float32
        leaves = {
            name: value.to(exact, copy=True).requires_grad_() if isinstance(value, Tensor) else value
            for name, value in values.items()
        }
        output = self.reference(**leaves)
        names = [name for name in TENSORS if name != "bias" and leaves[name] is not None]
        gradients = torch.autograd.grad(output, [leaves[name] for name in names], grad.to(exact))
        expected = {"output": output.detach()} | dict(zip(names, gradients, strict=True))
        wanted = dict(zip(("output", "input", "offset", "weight", "mask"), (True, *needs), strict=True))
        # A 16-bit result is rounded, and so are the products before it.
        tolerance = 0 if dtype.itemsize > 2 else 2 * torch.finfo(dtype).eps
        for (name, needed), actual in zip(wanted.items(), results, strict=True):
            if not needed or name not in expected:
                assert actual.numel() == 0, f"{name}: a gradient that was not requested"
                continue
            assert actual.dtype == (dtype if name == "output" else values[name].dtype), f"{name}: dtype"
            assert actual.shape == expected[name].shape, f"{name}: shape"
            if actual.numel():
                error = (actual.to(exact) - expected[name]).abs().max()
                assert error <= tolerance * expected[name].abs().max(), f"{name}: off by {error:.3g}"


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
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first call")
    parser.add_argument(
        "--folder", type=Path, help="folder of a _C.abi3.so that is called instead of the package's"
    )
    parser.add_argument("--on-host", type=Path, help="call the CUDA source in this build for the CPU instead")
    parser.add_argument("--journal", type=Path, help="file that describes the call in progress")
    return parser.parse_args(arguments)


def load(options: argparse.Namespace) -> Calls:
    if options.folder:
        deformlab.__path__.insert(0, str(options.folder))
    from deformlab.ops import native_status, reference
    from deformlab.ops._impl.deform_conv2d import check_deform_conv2d

    if options.on_host:
        torch.ops.load_library(options.on_host)
        operators = torch.ops.deformlab_cuda_on_host
    else:
        status = native_status()
        if not status.loaded or (options.folder and status.path != options.folder / "_C.abi3.so"):
            sys.exit(f"fuzz_ops: no compiled operators: {status.reason or status.path}")
        operators = torch.ops.deformlab
    return Calls(operators, check_deform_conv2d, reference.deform_conv2d)


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    calls, counts, start = load(options), Counter[str](), time.monotonic()
    for number in range(options.first, options.first + options.calls):
        rng = random.Random(f"{options.seed} {number}")
        args = legal_arguments(rng, 30_000 if options.on_host else 2_000_000)
        if rng.random() < 0.3:
            spoil(rng, args)
        torch.set_num_threads(rng.choice((1, 1, 2, 3)))
        where = f"call {number} of seed {options.seed}:\n{describe(args)}"
        if options.journal:
            options.journal.write_text(where + "\n")
        try:
            counts[calls.run(rng, args)] += 1
        except Exception as error:
            print(f"{type(error).__name__}: {error}\nin {where}", file=sys.stderr)
            return 1
    print(
        f"{options.calls} calls of seed {options.seed}: {counts['legal']} legal, compared with the "
        f"reference; {counts['refused']} refused; {time.monotonic() - start:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
