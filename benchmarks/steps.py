"""One step, forward to the layer and back to the pixels, against the textbook loop.

Ratios are of medians. The share of the peak sets the best time against the best matrix product:
both then leave out what else the machine was doing.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time

import torch
from torch import Tensor, nn

from benchmarks import machine, textbook
from benchmarks.rows import Row
from dreamer.networks import rows
from dreamer.networks.efficientnet_lite import SameConv2d
from dreamer.networks.network import Network, load

# Largest difference of the two gradients in double precision, as a share of their size: folding
# only rounds. In single precision a rounding that turns a ReLU or a pooled maximum is amplified to
# a percent, in the textbook loop alone as well.
TOLERANCE = 1e-5

CASES = (
    # network, what it is called, layers (None: the level), required ratio and share at 512
    ("efficientnet_lite0", "textures", None, 4.0, None),
    ("efficientnet_lite0", "parts", None, None, None),
    ("efficientnet_lite0", "objects", None, 2.8, None),
    ("googlenet", "inception4c", ("inception4c",), 2.0, None),
    ("vgg16", "relu4_3", ("features.22",), None, 0.9),
)


def measure(repeats: int, quick: bool) -> list[Row]:
    """Measure every case at 256 and 512 px."""
    del quick  # the repeats are all there is to save
    peak = machine.matmul_peak()
    found = [Row("matmul peak", peak / 1e9, "GFLOP/s")]
    for name, label, layers, ratio, share in CASES:
        embedded = name == "efficientnet_lite0"
        network = load(name) if embedded else load(name, random_seed=0)
        layers = layers or rows.row(name).level(label)
        whole, features = textbook.network(name), network.features(layers)
        _check_same(whole, features, name, layers)
        plain, ours = textbook.step(whole, name, layers), _ours(features)
        for size in (256, 512):
            pixels = torch.rand(1, 3, size, size)
            peak = max(peak, machine.matmul_peak(0.5))
            slow, fast, best = _in_turn(plain, ours, pixels, repeats)
            print(f"  {name} {label} at {size}: {slow / fast:.2f} x", file=sys.stderr, flush=True)
            full = size == 512
            what = f"{name} {label} at {size}"
            detail = f"{1000 * slow:.0f} ms textbook, {1000 * fast:.0f} ms ours, 1 view"
            found.append(
                Row(f"step: {what}", slow / fast, "x", ratio if full else None, None, detail)
            )
            flops = _operations(network, layers, pixels)
            used = flops / best / peak
            detail = f"{flops / 1e9:.1f} G convolution operations in {1000 * best:.0f} ms"
            detail += f", peak {peak / 1e9:.0f} G/s"
            found.append(
                Row(f"peak share: {what}", used, "", share if full else None, None, detail)
            )
    return found


def _ours(features: nn.Module) -> textbook.Step:
    def run(pixels: Tensor) -> Tensor:
        leaf = pixels.detach().requires_grad_()
        score = torch.stack([out.square().mean() for out in features(leaf).values()]).sum()
        return torch.autograd.grad(score, leaf)[0]

    return run


def _check_same(whole: nn.Module, features: nn.Module, name: str, layers: tuple[str, ...]) -> None:
    """Refuse to compare steps that do not compute the same gradient."""
    plain = textbook.step(copy.deepcopy(whole).double(), name, layers)
    ours = _ours(copy.deepcopy(features).double())
    random = torch.Generator().manual_seed(0)
    pixels = torch.rand(1, 3, 256, 256, generator=random, dtype=torch.float64)
    expected, found = plain(pixels), ours(pixels)
    difference = ((found - expected).norm() / expected.norm()).item()
    if not difference < TOLERANCE:
        raise RuntimeError(
            f"{name} {' + '.join(layers)}: the gradients differ by {difference:.2g} of their size"
        )


def _in_turn(
    one: textbook.Step, other: textbook.Step, pixels: Tensor, repeats: int
) -> tuple[float, float, float]:
    """Time two steps in turn; return both medians and the other's best, in seconds."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):
        for kept, function in zip(times, (one, other), strict=True):
            began = time.perf_counter()
            function(pixels)
            if turn > 0:  # the first is a warm-up
                kept.append(time.perf_counter() - began)
    return statistics.median(times[0]), statistics.median(times[1]), min(times[1])


def _operations(network: Network, layers: tuple[str, ...], pixels: Tensor) -> float:
    """Count the multiplications and additions of the convolutions of a step.

    The gradient of the input costs as many as the forward pass; kernels count with the taps of the
    published network, not with the zeros that stand for padding.
    """
    total = 0

    def count(module: nn.Conv2d, _inputs: object, out: Tensor) -> None:
        nonlocal total
        height, width = module.kernel_size
        taps = module.taps**2 if isinstance(module, SameConv2d) else height * width
        total += 2 * taps * module.in_channels // module.groups * out.numel()

    features = network.features(layers)
    hooks = [m.register_forward_hook(count) for m in features.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        features(pixels)
    for hook in hooks:
        hook.remove()
    return 2.0 * total
