"""EfficientNet-Lite, the embedded network: inverted residuals with ReLU6 and no squeeze-excitation.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (2019);
the Lite variants drop squeeze-and-excitation and swish, and never scale the stem and the head.
The module is built with every BatchNorm already folded into the convolution before it, so it is
only good for what dreams need: a frozen network and the gradient of its input.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from dreamer.networks import fused
from dreamer.networks.fused import Convolution

BATCH_NORM_EPSILON = 1e-3


@dataclass(frozen=True)
class Stage:
    """A run of blocks: only the first has the stride and changes the number of channels."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
# Multipliers of depth and width against Lite0.
SCALES: Mapping[str, tuple[float, float]] = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.1, 1.0),
    "efficientnet_lite2": (1.2, 1.1),
}


def _scaled_channels(channels: int, width: float) -> int:
    """Scale to a multiple of 8 that is not more than 10% below."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def block_plan(name: str) -> list[tuple[int, Stage]]:
    """List `(channels in, Stage with repeats=1)` for every block of the network `name`."""
    depth, width = SCALES[name]
    plan, channels = [], STEM_CHANNELS
    for index, stage in enumerate(STAGES):
        # Lite networks keep the first and the last stage at one block.
        fixed = index in (0, len(STAGES) - 1)
        repeats = stage.repeats if fixed else math.ceil(depth * stage.repeats)
        out = _scaled_channels(stage.channels, width)
        for repeat in range(repeats):
            stride = stage.stride if repeat == 0 else 1
            plan.append((channels, Stage(1, stage.kernel, stride, stage.expand, out)))
            channels = out
    return plan


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: where the padding is odd, more at the end.

    With stride 2 and an even size the window starts one pixel later than with the usual symmetric
    padding. A row and a column of zeros before the kernel say the same without copying the input
    to pad it; an odd size leaves them out.
    """

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        self.taps = kernel
        size = kernel + 1 if stride == 2 else kernel
        super().__init__(channels, out, size, stride, kernel // 2, groups=groups)
        self._kept = fused.Kept()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to `(N, C', ceil(H / stride), ceil(W / stride))`."""
        if self.stride[0] == 1:
            return super().forward(x)
        weight = self.weight[:, :, x.shape[2] % 2 :, x.shape[3] % 2 :]
        y: Tensor = F.conv2d(x, weight, self.bias, self.stride, self.padding, 1, self.groups)
        return y

    def clipped(self, x: Tensor) -> Tensor:
        """Convolve, then ReLU6."""
        if not fused.usable(x):
            return F.relu6(self(x))
        return fused.clipped(x, self.frozen(x))

    def frozen(self, x: Tensor) -> Convolution:
        """Return its numbers as `dreamer.networks.fused` has them, for what is convolved."""
        found = self._kept.of(self)
        return found if self.stride[0] == 1 else found.cropped(x.shape[2], x.shape[3])


class InvertedResidual(nn.Module):
    """Expand with 1x1, filter each channel by itself, project back with 1x1 and no activation."""

    def __init__(self, channels: int, stage: Stage) -> None:
        super().__init__()
        wide = channels * stage.expand
        self.expand = SameConv2d(channels, wide, 1) if stage.expand != 1 else None
        self.depthwise = SameConv2d(wide, wide, stage.kernel, stage.stride, groups=wide)
        self.project = SameConv2d(wide, stage.channels, 1)
        self.residual = stage.stride == 1 and channels == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to `(N, C', ceil(H / stride), ceil(W / stride))`."""
        if not fused.usable(x):
            return self.plain(x)
        expand = None if self.expand is None else self.expand.frozen(x)
        parts = expand, self.depthwise.frozen(x), self.project.frozen(x)
        return fused.inverted_residual(x, *parts, residual=self.residual)

    def plain(self, x: Tensor) -> Tensor:
        """Do the same in the plain way: what `forward` is tested against."""
        wide = x if self.expand is None else F.relu6(self.expand(x))
        y: Tensor = self.project(F.relu6(self.depthwise(wide)))
        return y + x if self.residual else y


class EfficientNetLite(nn.Module):
    """The whole network, or its beginning: `forward` returns the wanted layers by name.

    Layers in execution order: `stem`, `block0`, `block1`, ..., `head`, `logits`. A block's output
    is its projection with the residual added: signed values, with no activation after them.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        plan = block_plan(name)
        self.stem = SameConv2d(3, STEM_CHANNELS, 3, 2)
        self.blocks = nn.ModuleList(InvertedResidual(channels, stage) for channels, stage in plan)
        self.head = SameConv2d(plan[-1][1].channels, HEAD_CHANNELS, 1)
        self.classifier = nn.Linear(HEAD_CHANNELS, 1000)
        self.layer_names = ("stem", *(f"block{i}" for i in range(len(plan))), "head", "logits")

    def forward(
        self, x: Tensor, layers: Collection[str] = ("logits",), *, plain: bool = False
    ) -> dict[str, Tensor]:
        """Run up to the deepest of `layers`.

        Args:
            x: normalised pixels `(N, 3, H, W)`.
            layers: which outputs to return.
            plain: compute with torch's own operations and autograd: slower, but hooks on all
                modules are called.

        Returns:
            `(N, C, H, W)` by layer name; `(N, 1000, 1, 1)` for `logits`.
        """
        taken: dict[str, Tensor] = {}
        for name in self.layer_names:
            x = self._run(name, x, plain)
            if name in layers:
                taken[name] = x
                if len(taken) == len(set(layers)):
                    break
        return taken

    def _run(self, name: str, x: Tensor, plain: bool) -> Tensor:
        if name in ("stem", "head"):
            convolution = self.stem if name == "stem" else self.head
            return F.relu6(convolution(x)) if plain else convolution.clipped(x)
        if name == "logits":
            logits: Tensor = self.classifier(x.mean((2, 3)))
            return logits[:, :, None, None]
        block = self.blocks[int(name.removeprefix("block"))]
        assert isinstance(block, InvertedResidual)
        found: Tensor = block.plain(x) if plain else block(x)
        return found


def build(name: str, state_dict: Mapping[str, Tensor]) -> EfficientNetLite:
    """Build the network `name` from the parameter names of its published checkpoint.

    Every BatchNorm is folded into the convolution before it. Raises `KeyError` for a missing
    parameter and `RuntimeError` for one of another shape.
    """
    with torch.device("meta"):
        network = EfficientNetLite(name)
    folded: dict[str, Tensor] = {}

    def fold(ours: str, convolution: str, norm: str) -> None:
        module = network.get_submodule(ours)
        assert isinstance(module, SameConv2d)
        margin = module.kernel_size[0] - module.taps
        scale = state_dict[f"{norm}.weight"] * torch.rsqrt(
            state_dict[f"{norm}.running_var"] + BATCH_NORM_EPSILON
        )
        weight = state_dict[f"{convolution}.weight"] * scale[:, None, None, None]
        folded[f"{ours}.weight"] = F.pad(weight, (margin, 0, margin, 0))
        folded[f"{ours}.bias"] = (
            state_dict[f"{norm}.bias"] - state_dict[f"{norm}.running_mean"] * scale
        )

    fold("stem", "_conv_stem", "_bn0")
    for index, block in enumerate(network.blocks):
        ours, theirs = f"blocks.{index}", f"_blocks.{index}"
        if block.expand is not None:
            fold(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
        fold(f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
        fold(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
    fold("head", "_conv_head", "_bn1")
    for parameter in ("weight", "bias"):
        folded[f"classifier.{parameter}"] = state_dict[f"_fc.{parameter}"]
    network.load_state_dict(folded, assign=True)
    network.to(memory_format=torch.channels_last)
    return network.requires_grad_(False).eval()
