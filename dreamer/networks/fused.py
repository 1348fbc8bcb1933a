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

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.overrides import has_torch_function_unary

CEILING = 6.0
RECOMPUTED = 2**23
"""Wide maps of more values than this are not kept for the backward pass."""


@dataclass(frozen=True)
class Convolution:
    """The numbers of a frozen convolution, and what its gradient is computed with.

    Attributes:
        weight: `(C', C / groups, k, l)`.
        bias: `(C',)`, or None.
        stride: down and across.
        padding: zeros above and below, and to both sides.
        groups: into how many parts channels are divided.
        turned: the weights of the convolution that is its gradient, if one is.
    """

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    groups: int
    turned: Tensor | None

    @classmethod
    def of(cls, module: nn.Conv2d) -> Convolution:
        """Take the numbers of a module without dilation, padded with zeros by so many pixels."""
        weight = module.weight.detach()
        bias = None if module.bias is None else module.bias.detach()
        (down, across), padding = module.stride, module.padding
        assert isinstance(padding, tuple)
        turned = None
        depthwise = weight.shape[1] == 1 and module.groups == module.out_channels
        if down == across == 1 and (module.groups == 1 or depthwise):
            turned = weight.flip(2, 3)
            turned = turned if depthwise else turned.transpose(0, 1)
            turned = turned.contiguous(memory_format=torch.channels_last)
        return cls(weight, bias, (down, across), (padding[0], padding[1]), module.groups, turned)

    @staticmethod
    def possible(module: nn.Module) -> bool:
        """Whether `of` can take a module."""
        return (
            type(module) is nn.Conv2d
            and module.dilation == (1, 1)
            and module.padding_mode == "zeros"
            and isinstance(module.padding, tuple)
            # More than this is padding that the gradient's convolution could not have.
            and all(p < k for p, k in zip(module.padding, module.kernel_size, strict=True))
        )

    def cropped(self, height: int, width: int) -> Convolution:
        """Leave out the kernel's first row and column for sides that are odd, see `SameConv2d`."""
        return replace(self, weight=self.weight[:, :, height % 2 :, width % 2 :])

    def run(self, x: Tensor, *, add: Tensor | None = None) -> Tensor:
        """Convolve `(N, C, H, W)`; `add` is added to the result."""
        return self._convolved(x, self.weight, self.bias, self.padding, add=add)

    def clipped(self, x: Tensor, ceiling: float = CEILING) -> Tensor:
        """Convolve, then clip to 0..ceiling, which may be infinite."""
        return self._convolved(x, self.weight, self.bias, self.padding, ceiling=ceiling)

    def gradient(
        self,
        slope: Tensor,
        shape: torch.Size,
        *,
        like: Tensor | None = None,
        add: Tensor | None = None,
    ) -> Tensor:
        """Return the gradient of the input from that of the output.

        Args:
            slope: that of the output.
            shape: of the input.
            like: a tensor of that shape if one is at hand; only its shape is read.
            add: is added.
        """
        if self.turned is not None:
            high, wide = self.turned.shape[2:]
            padding = (high - 1 - self.padding[0], wide - 1 - self.padding[1])
            return self._convolved(slope, self.turned, None, padding, add=add)
        if like is None:
            like = torch.empty(
                shape, dtype=slope.dtype, device=slope.device, memory_format=torch.channels_last
            )
        found: Tensor = torch.ops.aten.convolution_backward(
            slope,
            like,
            self.weight,
            None,
            self.stride,
            self.padding,
            (1, 1),
            False,
            (0, 0),
            self.groups,
            (True, False, False),
        )[0]
        return found if add is None else found.add_(add)

    def _convolved(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        padding: tuple[int, int],
        *,
        ceiling: float | None = None,
        add: Tensor | None = None,
    ) -> Tensor:
        if _ONEDNN and x.device.type == "cpu" and x.dtype == torch.float32 == weight.dtype:
            how = (padding, self.stride, (1, 1), self.groups)
            if add is not None:
                found: Tensor = torch.ops.mkldnn._convolution_pointwise.binary(
                    x, add, weight, bias, *how, "add", None, None, [], None
                )
                return found
            then: tuple[str, list[float]] = ("none", [])
            if ceiling is not None:
                then = ("relu", []) if math.isinf(ceiling) else ("hardtanh", [0.0, ceiling])
            found = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *how, *then, "")
            return found
        y = F.conv2d(x, weight, bias, self.stride, padding, 1, self.groups)
        if ceiling is not None:
            y.clamp_(0.0, ceiling)
        return y if add is None else y.add_(add)


class Kept:
    """Holds what was prepared of a module until its weights change."""

    def __init__(self) -> None:
        self._key: object = None
        self._made: Convolution | None = None

    def __deepcopy__(self, memo: object) -> Kept:
        return Kept()

    def of(self, module: nn.Conv2d) -> Convolution:
        """Return the module's `Convolution`."""
        weight = module.weight
        key = (weight.data_ptr(), weight._version, weight.dtype, weight.device)
        if self._made is None or key != self._key:
            self._key, self._made = key, Convolution.of(module)
        return self._made


class ConvolutionReLU(nn.Module):
    """A frozen convolution and the ReLU after it, as one.

    Args:
        convolution: such as `Convolution.possible` allows.
        ceiling: where the ReLU ends: infinite, or 6 for a ReLU6.
    """

    def __init__(self, convolution: nn.Module, ceiling: float = math.inf) -> None:
        super().__init__()
        assert isinstance(convolution, nn.Conv2d)
        self.convolution = convolution
        self.ceiling = ceiling
        self._kept = Kept()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to `(N, C', H', W')` in 0..ceiling."""
        if usable(x) and not self.convolution.weight.requires_grad:
            return clipped(x, self._kept.of(self.convolution), self.ceiling)
        y = self.convolution(x)
        return F.relu(y) if math.isinf(self.ceiling) else F.relu6(y)


def usable(x: Tensor) -> bool:
    """Whether blocks may be computed this way: nobody watches, or changes, what is computed."""
    return not (
        has_torch_function_unary(x)
        or x.is_meta
        or torch.is_autocast_enabled(x.device.type)
        or torch.compiler.is_compiling()
    )


def clipped(x: Tensor, convolution: Convolution, ceiling: float = CEILING) -> Tensor:
    """Convolve `(N, C, H, W)` and clip to 0..ceiling, differentiable by `x`."""
    found: Tensor = _Clipped.apply(x, convolution, ceiling)
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
    """A convolution and its ReLU. What is kept is the result, which says where it was clipped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, convolution: Convolution, ceiling: float) -> Tensor:
        y = convolution.clipped(x, ceiling)
        ctx.convolution, ctx.ceiling, ctx.shape = convolution, ceiling, x.shape
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (y,), (slope,) = ctx.saved_tensors, grads
        if math.isinf(ctx.ceiling):
            masked = torch.ops.aten.threshold_backward(slope, y, 0.0)
        else:
            masked = torch.ops.aten.hardtanh_backward(slope, y, 0.0, ctx.ceiling)
        return ctx.convolution.gradient(masked, ctx.shape), None, None


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
        inner = depthwise.gradient(inner, ctx.shape, like=wide)
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


_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(  # type: ignore[no-untyped-call]
    torch.ops.mkldnn, "_convolution_pointwise"
)
