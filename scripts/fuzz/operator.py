"""How to fuzz an operator: the base class of all, and random tensors.

An operator is a subclass that names its arguments, makes random legal ones, and says how to call the library.
Making a call, spoiling an argument and comparing with the reference are the same for all. See
`deform_conv2d.py`.

Import deformlab.ops only inside functions: fuzz_ops.py first chooses which library it loads.
"""

import contextlib
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

__all__ = ["DTYPES", "FAR", "Arguments", "Operator", "grid", "lay_out"]

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
FAR = (math.nan, math.inf, -math.inf, 1e10, -1e10, 3e38, 2.0**31, -(2.0**31), 2.0**63, -0.0)
ILLEGAL_NUMBERS = (-1, 0, 2**31, 2**40, 2**62, -(2**62), 2**63 - 1, -(2**63))
ENDLESS = 2**45
Arguments = dict[str, Any]


class Operator(ABC):
    """Random calls of one operator of one library, and what must be true of their results.

    Args:
        library: The namespace with the compiled operators, such as `torch.ops.deformlab`.
    """

    name: ClassVar[str]
    """The operator's name in deformlab.ops."""
    native: ClassVar[str] = ""
    """The library's operator, if it has another name. Libraries that lack it are skipped."""
    share: ClassVar[int] = 1
    """How many calls this operator gets for each call of an operator with share 1."""
    tensors: ClassVar[tuple[str, ...]]
    """The tensor arguments. The first one determines the result's dtype and device."""
    others: ClassVar[tuple[str, ...]]
    """The other arguments of `check` and of the reference."""
    spoiled: ClassVar[tuple[str, ...]]
    """Those of `others` that `spoil` may change: numbers and tuples of numbers."""
    gradients: ClassVar[tuple[str, ...]] = ()
    """The tensors whose gradients `backward` returns, in its order. Empty: the operator has no gradient."""

    def __init__(self, library: Any) -> None:
        self.library = library

    @abstractmethod
    def legal_arguments(self, rng: random.Random, most_work: int) -> Arguments:
        """Return the arguments of one legal call with at most `most_work` products or comparisons.

        With gradients, `grad` is the gradient of the output, and `needs` has one truth value per name in
        `gradients`. Values should be on a grid on which all products and sums are exact.
        """

    @abstractmethod
    def check(self, values: Arguments) -> None:
        """Check the arguments as deformlab.ops does; raises TypeError or ValueError."""

    @abstractmethod
    def forward(self, values: Arguments) -> Any:
        """Call the library's operator without checks."""

    def backward(self, rng: random.Random, values: Arguments, grad: Any, needs: list[bool]) -> Any:
        """Call the library's gradient, or one of several, without checks."""
        raise NotImplementedError

    @abstractmethod
    def reference(self, values: Arguments) -> Any:
        """Call the reference: differentiable if the operator has gradients."""

    def run(self, rng: random.Random, args: Arguments) -> str:
        """Make one call.

        Returns:
            `legal` or `refused`.

        Raises:
            AssertionError: A result is wrong, or a legal call was refused.
        """
        grad: Any = args.get("grad")
        needs = args.get("needs", [])
        values = {name: args[name] for name in (*self.tensors, *self.others)}
        try:
            self.check(values)
        except (TypeError, ValueError):
            if all(not isinstance(value, Tensor) or value.device.type == "cpu" for value in args.values()):
                self._unchecked(rng, values, grad, needs)
            return "refused"
        # Arguments on the meta device are legal, but there is nothing to compute.
        if any(isinstance(value, Tensor) and value.device.type != "cpu" for value in values.values()):
            return "refused"
        if self.gradients and not self._can_be_gradient(grad, values):
            return "refused"
        try:
            output = self.forward(values)
        except RuntimeError:
            endless = any(isinstance(value, Tensor) and value.numel() >= ENDLESS for value in values.values())
            assert endless, "the forward pass refused a legal call"
            return "refused"
        if not self.gradients:
            self.compare(values, output)
            return "legal"
        shape_fits = grad.shape == output.shape
        try:
            gradients = self.backward(rng, values, grad, needs)
        except RuntimeError:
            assert not shape_fits, "the backward pass refused a legal call"
            return "refused"
        assert shape_fits, "the backward pass took a gradient of another shape than the output's"
        self._compare_with_gradients(values, grad, needs, output, gradients)
        return "legal"

    def spoil(self, rng: random.Random, args: Arguments) -> None:
        """Change one argument so that the call is most likely illegal."""
        grad = ("grad",) if self.gradients else ()
        names = [name for name in (*self.tensors, *grad, *self.spoiled) if args[name] is not None]
        name = rng.choice(names)
        value = args[name]
        args[name] = _spoiled_tensor(rng, value) if isinstance(value, Tensor) else _spoiled_number(rng, value)

    def compare(self, values: Arguments, output: Any) -> None:
        """Check the result of an operator without gradients."""
        raise NotImplementedError

    def tolerance(self, dtype: torch.dtype) -> float:
        """Return the allowed error of a result, relative to the largest value of the expected one."""
        # A 16-bit result is rounded, and so are the products before it.
        return 0 if dtype.itemsize > 2 else 2 * torch.finfo(dtype).eps

    def _can_be_gradient(self, grad: Any, values: Arguments) -> bool:
        return (
            isinstance(grad, Tensor)
            and grad.device.type == "cpu"
            and grad.dtype == values[self.tensors[0]].dtype
        )

    def _unchecked(self, rng: random.Random, values: Arguments, grad: Any, needs: list[bool]) -> None:
        """Call the library without the checks of deformlab.ops; it may raise, but must stay in bounds."""
        calls: list[Callable[[], Any]] = [lambda: self.forward(values)]
        if self.gradients:
            calls.append(lambda: self.backward(rng, values, grad, needs))
        for call in calls:
            with contextlib.suppress(RuntimeError, TypeError, NotImplementedError):
                call()

    def _compare_with_gradients(
        self, values: Arguments, grad: Tensor, needs: list[bool], output: Tensor, gradients: Sequence[Tensor]
    ) -> None:
        dtype = values[self.tensors[0]].dtype
        exact = dtype if dtype == torch.float64 else torch.float32
        leaves = {
            name: value.to(exact, copy=True).requires_grad_(name in self.gradients)
            if isinstance(value, Tensor)
            else value
            for name, value in values.items()
        }
        reference = self.reference(leaves)
        names = [name for name in self.gradients if leaves[name] is not None]
        wanted = torch.autograd.grad(
            reference, [leaves[name] for name in names], grad.to(exact), allow_unused=True
        )
        expected = {"output": reference.detach()}
        for name, gradient in zip(names, wanted, strict=True):
            expected[name] = torch.zeros_like(leaves[name]) if gradient is None else gradient
        results = {"output": output, **dict(zip(self.gradients, gradients, strict=True))}
        needed = {"output": True, **dict(zip(self.gradients, needs, strict=True))}
        for name, actual in results.items():
            if not needed[name] or name not in expected:
                assert actual.numel() == 0, f"{name}: a gradient that was not requested"
                continue
            assert actual.dtype == (dtype if name == "output" else values[name].dtype), f"{name}: dtype"
            assert actual.shape == expected[name].shape, f"{name}: shape"
            if actual.numel():
                error = (actual.to(exact) - expected[name]).abs().max()
                limit = self.tolerance(dtype) * expected[name].abs().max()
                assert error <= limit, f"{name}: off by {error:.3g}"


def grid(rng: random.Random, shape: tuple[int, ...], largest: int) -> Tensor:
    """Return random integers from -largest to largest, as float64."""
    generator = torch.Generator().manual_seed(rng.getrandbits(63))
    return torch.randint(-largest, largest + 1, shape, generator=generator).double()


def lay_out(rng: random.Random, tensor: Tensor) -> Tensor:
    """Return the same values in another memory layout surrounded by NaN; or the first entry, expanded."""
    kind = rng.choice(("contiguous", "channels_last", "transposed", "every second", "expanded"))
    if kind == "expanded" and len(tensor):
        return tensor[:1].expand(tensor.shape)
    order = list(range(tensor.ndim))
    if kind == "channels_last" and tensor.ndim == 4:
        order = [0, 2, 3, 1]
    elif kind == "transposed":
        rng.shuffle(order)
    step, shift = 2 if kind == "every second" else 1, rng.choice((0, 0, 1, 3))
    around = math.nan if tensor.is_floating_point() else torch.iinfo(tensor.dtype).max
    memory = torch.full((tensor.numel() * step + shift + 2,), around, dtype=tensor.dtype)
    view = memory[shift : shift + tensor.numel() * step : step].view([tensor.shape[dim] for dim in order])
    return view.permute([order.index(dim) for dim in range(tensor.ndim)]).copy_(tensor)


def _spoiled_number(rng: random.Random, value: Any) -> Any:
    illegal = rng.choice((*ILLEGAL_NUMBERS, math.nan, 1.5, True, None))
    if not isinstance(value, tuple):
        return illegal
    numbers: list[Any] = [*value, 1] if rng.random() < 0.1 else list(value)
    numbers[rng.randrange(len(value))] = illegal
    return tuple(numbers)


def _spoiled_tensor(rng: random.Random, value: Tensor) -> Any:
    dim, size = rng.randrange(value.ndim), value.shape
    changes = {
        "shorter": lambda: value.narrow(dim, 0, max(0, size[dim] - 1)),
        "longer": lambda: torch.cat((value, value.narrow(dim, 0, min(1, size[dim]))), dim),
        "nothing": lambda: value.narrow(dim, 0, 0),
        "endless": lambda: value.narrow(dim, 0, 1).expand(
            [ENDLESS if d == dim else n for d, n in enumerate(size)]
        ),
        "one dimension more": lambda: value[None],
        "one dimension less": lambda: value.flatten(0, 1) if value.ndim > 1 else value.sum(),
        "another type": lambda: value.nan_to_num(0, 0, 0).to(rng.choice((torch.int64, torch.bool, *DTYPES))),
        "on no device": lambda: value.to("meta"),
        "no tensor": lambda: rng.choice((None, [1.0], "zeros")),
    }
    if size[dim] == 0:
        del changes["endless"]
    return changes[rng.choice(list(changes))]()
