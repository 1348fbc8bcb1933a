"""Let a unit that is off be reached: ReLU and ReLU6 pass gradients that they would stop.

Where a rectifier stops the whole gradient of a picture, its units are dead and nothing can start
them. Lucid passes those gradients in the first steps of a run that would bring values back into
the range where the rectifier passes them (`lucid.misc.redirected_relu_grad`). This does it without
touching the network: functions of torch are replaced while a context lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

_INPLACE = {torch.relu_, torch.Tensor.relu_, F.relu_}
_RECTIFIERS: dict[Callable[..., Any], float | None] = {
    torch.relu: None,
    torch.relu_: None,
    torch.Tensor.relu: None,
    torch.Tensor.relu_: None,
    F.relu: None,
    F.relu_: None,
    F.relu6: 6.0,
}


class _Rectify(torch.autograd.Function):
    """Clamp to 0..top; the gradient is that of a loss, so a positive one lowers the value."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, top: float, inplace: bool) -> Tensor:
        ctx.save_for_backward(x <= 0, x >= top)
        if not inplace:
            return x.clamp(0, top)
        ctx.mark_dirty(x)
        return x.clamp_(0, top)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        below, above = ctx.saved_tensors
        (gradient,) = grads
        passed = gradient.masked_fill(below | above, 0)
        dead = passed.flatten(1).abs().amax(1) == 0
        if not bool(dead.any()):
            return passed, None, None
        useless = (below & (gradient > 0)) | (above & (gradient < 0))
        redirected = gradient.masked_fill(useless, 0)
        dead = dead.view(-1, *[1] * (gradient.ndim - 1))
        return torch.where(dead, redirected, passed), None, None


class redirected(TorchFunctionMode):  # noqa: N801 - used like a function
    """While it lasts, rectifiers that torch computes pass gradients to dead units.

    Gradients must be those of a loss: of the score with a minus. Networks are not changed.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Compute a function of torch, or what stands in for it."""
        kwargs = kwargs or {}
        if func is F.hardtanh and _lowest(args, kwargs) == 0:
            top = kwargs.get("max_val", args[2] if len(args) > 2 else 1.0)
        elif func in _RECTIFIERS:
            top = _RECTIFIERS[func]
        else:
            return func(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        inplace = func in _INPLACE or bool(kwargs.get("inplace", _last_flag(args)))
        return _Rectify.apply(x, float("inf") if top is None else float(top), inplace)


def _lowest(args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    return float(kwargs.get("min_val", args[1] if len(args) > 1 else -1.0))


def _last_flag(args: tuple[Any, ...]) -> bool:
    """Return `inplace` where it was given by its place, behind the numbers."""
    return len(args) > 1 and args[-1] is True
