"""The loop that most DeepDream programs run: the whole network, trainable weights, a hook.

And `next_best`, what somebody makes of it who knows torch and has an afternoon.

It has the very weights of the network it is compared with, only not folded. With others it would
compute something else, and with torch's default ones its values fade from layer to layer until
they are denormal, which alone makes it many times slower.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torchvision.models.feature_extraction import create_feature_extractor

from dreamer.networks import checkpoints, rows, weights, zoo
from dreamer.networks.efficientnet_lite import STEM_CHANNELS, block_plan

Step = Callable[[Tensor], Tensor]


class _Same(nn.Module):
    """A convolution padded like TensorFlow's, its BatchNorm and maybe ReLU6."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, groups: int, act: bool):
        super().__init__()
        margin = max(kernel - stride, 0)
        self.pad = nn.ZeroPad2d((margin // 2, margin - margin // 2) * 2)
        self.conv = nn.Conv2d(channels, out, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out, eps=1e-3)
        self.act = nn.ReLU6() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(self.pad(x))))


class _Block(nn.Module):
    def __init__(self, channels: int, kernel: int, stride: int, expand: int, out: int):
        super().__init__()
        wide = channels * expand
        first = [_Same(channels, wide, 1, 1, 1, True)] if expand > 1 else []
        depthwise = _Same(wide, wide, kernel, stride, wide, True)
        self.body = nn.Sequential(*first, depthwise, _Same(wide, out, 1, 1, 1, False))
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


def efficientnet_lite0() -> nn.Sequential:
    """Build the embedded network as it is published: nothing folded."""
    blocks = [
        _Block(channels, stage.kernel, stage.stride, stage.expand, stage.channels)
        for channels, stage in block_plan("efficientnet_lite0")
    ]
    tail = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000))
    head = _Same(blocks[-1].body[-1].conv.out_channels, 1280, 1, 1, 1, True)
    return nn.Sequential(_Same(3, STEM_CHANNELS, 3, 2, 1, True), *blocks, head, *tail).eval()


def network(name: str) -> nn.Module:
    """Build a network in evaluation mode, its weights trainable.

    The embedded network has its published weights; torchvision's have the random ones of
    `dreamer.networks.network.load(name, random_seed=0)`.
    """
    row = rows.row(name)
    published = row.published()
    if not row.embedded:
        return zoo.randomised(row, published, 0).requires_grad_(True)
    built = efficientnet_lite0()
    state = checkpoints.read(weights.fetch(row, published, offline=True))
    # Both list the same modules in the same order, under other names.
    built.load_state_dict(dict(zip(built.state_dict(), state.values(), strict=True)))
    return built.requires_grad_(True)


def layer(module: nn.Module, name: str) -> nn.Module:
    """Find a layer by our name for it."""
    if isinstance(module, nn.Sequential) and name.startswith("block"):
        return module[1 + int(name.removeprefix("block"))]
    return module.get_submodule(name)


def step(module: nn.Module, name: str, names: tuple[str, ...]) -> Step:
    """Return the textbook step: pixels to the gradient of the layers' mean squares.

    Args:
        module: from `network`.
        name: the network's.
        names: its layers.
    """
    published = rows.row(name).published()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (published.mean, published.std))
    kept: list[Tensor] = []
    for wanted in names:
        layer(module, wanted).register_forward_hook(lambda _m, _i, out: kept.append(out.clone()))

    def run(pixels: Tensor) -> Tensor:
        kept.clear()
        leaf = pixels.detach().requires_grad_()
        module((leaf - mean) / std)
        torch.stack([out.square().mean() for out in kept]).sum().backward()
        assert leaf.grad is not None
        return leaf.grad

    return run


def next_best(name: str, names: tuple[str, ...], dtype: torch.dtype = torch.float32) -> Step:
    """Return the obvious next best step: the same gradient with what torch has for speed.

    The network is cut after the deepest layer, every BatchNorm is folded into the convolution
    before it, weights are frozen, all is channels-last, and torch's autograd does the rest.

    Args:
        name: the network's; its weights are those of `network(name)`.
        names: its layers, none of which anything that follows may change in place, as an in-place
            ReLU would.
        dtype: of the weights, and so of the pixels.
    """
    published = rows.row(name).published()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (published.mean, published.std))
    whole = network(name).to(dtype)
    paths = {each: path for path, each in whole.named_modules()}
    body = create_feature_extractor(whole, [paths[layer(whole, wanted)] for wanted in names])
    body = fuse(body, inplace=True, no_trace=True).requires_grad_(False)
    body.to(memory_format=torch.channels_last)

    def run(pixels: Tensor) -> Tensor:
        leaf = pixels.detach().requires_grad_()
        x = ((leaf - mean) / std).contiguous(memory_format=torch.channels_last)
        score = torch.stack([out.square().mean() for out in body(x).values()]).sum()
        return torch.autograd.grad(score, leaf)[0]

    return run
