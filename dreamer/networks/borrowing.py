"""Run a module that belongs to the user, up to the layers that are wanted, and leave no trace.

Nothing here makes the module a part of ours: `eval()` and `to()` of what we build do not reach it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import activation

PRE = ".pre"
ACTIVATIONS = tuple(
    getattr(activation, name) for name in activation.__all__ if name != "MultiheadAttention"
)
WEIGHTED = (nn.modules.conv._ConvNd, nn.Linear)


class _ReachedError(Exception):
    """All that was wanted is there."""


@dataclass(frozen=True)
class Tap:
    """A place to listen at: a module's output, or its input."""

    path: str
    before: bool = False


@dataclass
class Call:
    """What a layer answered.

    Attributes:
        value: a tensor, or whatever else it returned.
        key: the same for two calls that returned the same tensor, unchanged in between.
        weighted: convolutions and linear layers done so far, this one included.
        times: how often the layer was called.
    """

    value: Any
    key: tuple[int, int] | None
    weighted: int
    times: int = 1


@dataclass
class Trace:
    """One run of a module.

    Attributes:
        calls: by the layer's name, in the order in which they were done.
        output: what the module returned.
        error: what it raised, if it did.
        weighted: how many convolutions and linear layers there were.
    """

    calls: dict[str, Call] = field(default_factory=dict)
    output: Any = None
    error: Exception | None = None
    weighted: int = 0


@contextlib.contextmanager
def borrowed(module: nn.Module) -> Iterator[None]:
    """Hold a module frozen and in evaluation mode, and give it back exactly as it was.

    Modes and flags are set one by one: a module's own `train` may do more than that.
    """
    training = [each for each in module.modules() if each.training]
    learning = [each for each in module.parameters() if each.requires_grad and each.is_leaf]
    buffers = [
        (owner, name, buffer, buffer._version, buffer.detach().clone())
        for owner in module.modules()
        for name, buffer in owner.named_buffers(recurse=False)
    ]
    try:
        for each in training:
            each.training = False
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for each in training:
            each.training = True
        for parameter in learning:
            parameter.requires_grad_(True)
        for owner, name, buffer, version, kept in buffers:
            if getattr(owner, name) is not buffer:
                setattr(owner, name, buffer)
            if buffer._version != version:
                with torch.no_grad():
                    buffer.copy_(kept)


def activations(
    module: nn.Module, x: Tensor, taps: Mapping[str, Tap], *, whole: bool
) -> tuple[dict[str, Any], Any]:
    """Run a module until it has answered at all taps.

    Args:
        module: the user's; see `borrowed`.
        x: what it is shown.
        taps: where to listen, by the name to use.
        whole: whether the module's own output is wanted too; else nothing is computed past the
            last tap.

    Returns:
        What was heard, by name (names may be missing: see `Tap`), as it was at that moment; and
        the output if it is wanted.
    """
    found: dict[str, Any] = {}

    def keep(name: str, value: Any) -> None:
        if name in found:
            return
        last = not whole and len(found) == len(taps) - 1
        # What follows may work in place.
        found[name] = value.clone() if isinstance(value, Tensor) and not last else value
        if last:
            raise _ReachedError

    with borrowed(module), contextlib.ExitStack() as hooks:
        for name, tap in taps.items():
            hooks.enter_context(_listen(module.get_submodule(tap.path), name, tap.before, keep))
        try:
            output = module(x)
        except _ReachedError:
            return found, None
    return found, output


def trace(module: nn.Module, x: Tensor) -> Trace:
    """Run a module, listening everywhere, as far as it gets.

    Args:
        module: the user's; see `borrowed`.
        x: what it is shown.
    """
    done = Trace()

    def note(name: str, value: Any) -> None:
        if name in done.calls:
            done.calls[name].times += 1
            return
        key = (id(value), value._version) if isinstance(value, Tensor) else None
        done.calls[name] = Call(value, key, done.weighted)

    def count(*_: object) -> None:
        done.weighted += 1

    named = dict(module.named_modules())
    with torch.no_grad(), borrowed(module), contextlib.ExitStack() as hooks:
        for path, each in named.items():
            if isinstance(each, WEIGHTED):
                hooks.enter_context(each.register_forward_hook(count))
            if not path:
                continue
            hooks.enter_context(_listen(each, path, False, note))
            if isinstance(each, ACTIVATIONS) and path + PRE not in named:
                hooks.enter_context(_listen(each, path + PRE, True, note))
        try:
            done.output = module(x)
        except Exception as error:
            done.error = error.with_traceback(None)  # whose frames hold all activations
    return done


def _listen(
    module: nn.Module, name: str, before: bool, tell: Callable[[str, Any], None]
) -> torch.utils.hooks.RemovableHandle:
    """Hook a module; the hooks that the user put on it come first, so what they do counts."""
    if not before:
        return module.register_forward_hook(lambda _, inputs, output: tell(name, output))

    def given(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        tell(name, next(iter([*inputs, *named.values()]), None))

    return module.register_forward_pre_hook(given, with_kwargs=True)


def first_scores(output: Any) -> Tensor | None:
    """Return the first tensor `(N, K)` or `(N, K, 1, 1)` of what a network returned, if any."""
    for tensor in tensors(output):
        flat = tensor.ndim == 2 or (tensor.ndim == 4 and tensor.shape[2:] == (1, 1))
        if flat and tensor.is_floating_point():
            return tensor
    return None


def tensors(output: Any) -> Iterator[Tensor]:
    """Yield the tensors in a tensor, a sequence or a mapping, in order."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from tensors(value)
    elif isinstance(output, Sequence) and not isinstance(output, str):
        for value in output:
            yield from tensors(value)
