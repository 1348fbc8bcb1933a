"""Frozen blocks with a backward pass of their own: only the gradient of the input, in few passes.

What autograd does for any convolution is more than a frozen network needs. Here a convolution and
its ReLU6 are one operation where torch has one (oneDNN, on CPU in float32); a mask is applied in
place; the gradient of a convolution of stride 1 is a convolution with the weights turned round, and
the gradient of a residual is added in it. Of the two wide maps of an inverted residual nothing is
kept where they are large: they are computed once more, which took half as long as packing their
masks into bits and unpacking them did.

`dreamer.networks.efficientnet_lite` has the plain way, which this is tested against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.overrides import has_torch_function_unary

CEILING = 6.0
RECOMPUTED = 2**23
"""Wide maps of more values than this are not kept for the backward pass."""


@dataclass(frozen=True)
class Convolution:
    """The numbers of a frozen convolution, and what its gradient is computed with.

    Attributes:
        weight: `(C', C / groups, k, k)`.
        bias: `(C',)`.
        stride: of both axes.
        padding: on all four sides.
        groups: 1, or C for a depthwise convolution.
        turned: the weights of the convolution that is its gradient, for stride 1; else None.
    """

    weight: Tensor
    bias: Tensor | None
    stride: int
    padding: int
    groups: int
    turned: Tensor | None

    @classmethod
    def of(
        cls, weight: Tensor, bias: Tensor, stride: int, padding: int, groups: int
    ) -> Convolution:
        """Prepare what the gradient needs."""
        turned = None
        if stride == 1:
            turned = weight.flip(2, 3)
            if groups == 1:
                turned = turned.transpose(0, 1)
            turned = turned.contiguous(memory_format=torch.channels_last)
        return cls(weight, bias, stride, padding, groups, turned)

    def cropped(self, height: int, width: int) -> Convolution:
        """Leave out the kernel's first row and column for sides that are odd, see `SameConv2d`."""
        weight = self.weight[:, :, height % 2 :, width % 2 :]
        return Convolution(weight, self.bias, self.stride, self.padding, self.groups, self.turned)

    def run(self, x: Tensor, *, add: Tensor | None = None) -> Tensor:
        """Convolve `(N, C, H, W)`; `add` is added to the result."""
        return _convolved(x, self, self.weight, self.bias, add=add)

    def clipped(self, x: Tensor) -> Tensor:
        """Convolve, then ReLU6."""
        return _convolved(x, self, self.weight, self.bias, clip=True)

    def gradient(self, slope: Tensor, shape: torch.Size, *, add: Tensor | None = None) -> Tensor:
        """Return the gradient of the input of `shape` from that of the output; `add` is added."""
        if self.turned is not None:
            return _convolved(slope, self, self.turned, None, add=add)
        # Only its shape is read.
        like = torch.empty(shape, dtype=slope.dtype, device=slope.device)
        like = like.contiguous(memory_format=torch.channels_last)
        found: Tensor = torch.ops.aten.convolution_backward(
            slope,
            like,
            self.weight,
            None,
            [self.stride] * 2,
            [self.padding] * 2,
            [1, 1],
            False,
            [0, 0],
            self.groups,
            [True, False, False],
        )[0]
        return found if add is None else found.add_(add)


def usable(x: Tensor) -> bool:
    """Whether blocks may be computed this way: nobody watches, or changes, what is computed."""
    return not (
        has_torch_function_unary(x)
        or x.is_meta
        or torch.is_autocast_enabled(x.device.type)
        or torch.compiler.is_compiling()
    )


def clipped(x: Tensor, convolution: Convolution) -> Tensor:
    """Convolve `(N, C, H, W)` and clip to 0..6, differentiable by `x`."""
    found: Tensor = _Clipped.apply(x, convolution)
    return found


def inverted_residual(
    x: Tensor,
    expand: Convolution | None,
    depthwise: Convolution,
    project: Convolution,
    residual: bool,
) -> Tensor:
    """Compute an inverted residual block of `(N, C, H, W)`, differentiable by `x`.

    Args:
        x: what goes in.
        expand: 1x1, with ReLU6; None if the block has none.
        depthwise: with ReLU6.
        project: 1x1.
        residual: whether `x` is added.
    """
    found: Tensor = _InvertedResidual.apply(x, expand, depthwise, project, residual)
    return found


class _Clipped(torch.autograd.Function):
    """A convolution and its ReLU6. What is kept is the result, which says where it was clipped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, convolution: Convolution) -> Tensor:
        if convolution.stride != 1:
            convolution = convolution.cropped(x.shape[2], x.shape[3])
        y = convolution.clipped(x)
        ctx.convolution, ctx.shape = convolution, x.shape
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (y,), (slope,) = ctx.saved_tensors, grads
        masked = torch.ops.aten.hardtanh_backward(slope, y, 0.0, CEILING)
        return ctx.convolution.gradient(masked, ctx.shape), None


class _InvertedResidual(torch.autograd.Function):
    """A whole block; weights are constants."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        expand: Convolution | None,
        depthwise: Convolution,
        project: Convolution,
        residual: bool,
    ) -> Tensor:
        if depthwise.stride != 1:
            depthwise = depthwise.cropped(x.shape[2], x.shape[3])
        wide = x if expand is None else expand.clipped(x)
        filtered = depthwise.clipped(wide)
        y = project.run(filtered, add=x if residual else None)
        ctx.block = (expand, depthwise, project, residual)
        ctx.shape = wide.shape
        if not ctx.needs_input_grad[0]:
            return y
        # Without an expansion `wide` is x itself, which has no mask.
        again = wide.numel() > RECOMPUTED
        ctx.again = again
        ctx.save_for_backward(
            *((x,) if again else (filtered,) if expand is None else (wide, filtered))
        )
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        expand, depthwise, project, residual = ctx.block
        (slope,) = grads
        wide: Tensor | None = None
        if ctx.again:
            (x,) = ctx.saved_tensors
            wide = x if expand is None else expand.clipped(x)
            filtered = depthwise.clipped(wide)
        else:
            *first, filtered = ctx.saved_tensors
            wide = first[0] if first else None
        inner = _mask_(project.gradient(slope, filtered.shape), filtered)
        del filtered
        inner = depthwise.gradient(inner, ctx.shape)
        back = slope if residual else None
        if expand is None:
            return inner if back is None else inner.add_(back), None, None, None, None
        assert wide is not None
        inner = _mask_(inner, wide)
        del wide
        shape = (*slope.shape[:1], expand.weight.shape[1], *inner.shape[2:])
        return expand.gradient(inner, torch.Size(shape), add=back), None, None, None, None


def _mask_(slope: Tensor, y: Tensor) -> Tensor:
    """Leave, in place, what passes a ReLU6 whose result was `y`."""
    masked: Tensor = torch.ops.aten.hardtanh_backward.grad_input(
        slope, y, 0.0, CEILING, grad_input=slope
    )
    return masked


def _convolved(
    x: Tensor,
    how: Convolution,
    weight: Tensor,
    bias: Tensor | None,
    *,
    clip: bool = False,
    add: Tensor | None = None,
) -> Tensor:
    stride, padding = [how.stride] * 2, [how.padding] * 2
    if _ONEDNN and x.device.type == "cpu" and x.dtype == torch.float32 == weight.dtype:
        if add is not None:
            found: Tensor = torch.ops.mkldnn._convolution_pointwise.binary(
                x,
                add,
                weight,
                bias,
                padding,
                stride,
                [1, 1],
                how.groups,
                "add",
                None,
                None,
                [],
                None,
            )
            return found
        name, bounds = ("hardtanh", [0.0, CEILING]) if clip else ("none", [])
        found = torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias, padding, stride, [1, 1], how.groups, name, bounds, ""
        )
        return found
    y = F.conv2d(x, weight, bias, stride, padding, 1, how.groups)
    if clip:
        y.clamp_(0.0, CEILING)
    return y if add is None else y.add_(add)


_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(  # type: ignore[no-untyped-call]
    torch.ops.mkldnn, "_convolution_pointwise"
)
