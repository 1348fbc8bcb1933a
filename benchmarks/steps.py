"""One step, forward to the layer and back to the pixels, against the textbook loop.

Also against the obvious next best one: see `textbook.next_best`.

Ratios are of medians. The share of the peak sets the best time against the best matrix product:
both then leave out what else the machine was doing. Ours computes as a dream does, with the memory
held that is freed (`dreamer.render.heap`), and so the step before has just run; the others give it
back and take it anew, as a loop in plain Python does.
"""

from __future__ import annotations

import copy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.overrides import BaseTorchFunctionMode

from benchmarks import machine, textbook
from benchmarks.rows import Row
from dreamer.networks import rows
from dreamer.networks.efficientnet_lite import SameConv2d
from dreamer.networks.network import Network, load
from dreamer.render import heap

# Largest difference of the two gradients in double precision, as a share of their size: folding
# only rounds. In single precision a rounding that turns a ReLU or a pooled maximum is amplified to
# a percent, in the textbook loop alone as well.
TOLERANCE = 1e-5

CASES = (
    # network, what it is called, layers (None: the level); at 512 px the least ratio to the
    # textbook loop and to the next best one, and the least share of the peak
    ("efficientnet_lite0", "textures", None, 5.5, 1.3, None),
    ("efficientnet_lite0", "parts", None, None, None, None),
    ("efficientnet_lite0", "objects", None, 4.0, 1.3, 0.55),
    ("googlenet", "inception4c", ("inception4c",), 2.0, None, 0.7),
    ("vgg16", "relu4_3", ("features.22",), None, None, 0.95),
)
SIZES = (256, 512)
MEMORY_SIZE = 1024
MEMORY_SHARE = 0.6  # of what the plain loop takes

MEMORY = """
import resource, sys
import psutil, torch
from benchmarks import steps, textbook
run = steps.stepper(sys.argv[1], "efficientnet_lite0", "objects")
pixels = torch.rand(1, 3, int(sys.argv[2]), int(sys.argv[2]))
run(pixels[:, :, :64, :64].contiguous())  # what is loaded with the first step is no step's
before = psutil.Process().memory_info().rss
for _ in range(3):
    run(pixels)
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(used * (1 if sys.platform == "darwin" else 1024) - before)
"""


def measure(repeats: int, quick: bool) -> list[Row]:
    """Measure every case at 256 and 512 px."""
    del quick  # the repeats are all there is to save
    peak = machine.matmul_peak()
    found = [
        Row("matmul peak", peak / 1e9, "GFLOP/s"),
        Row("1x1 convolution peak", machine.convolution_peak() / 1e9, "GFLOP/s"),
    ]
    for name, label, layers, ratio, beyond, share in CASES:
        embedded = name == "efficientnet_lite0"
        network = load(name) if embedded else load(name, random_seed=0)
        layers = layers or rows.row(name).level(label)
        whole, features = textbook.network(name), network.features(layers)
        _check_same(whole, features, name, layers)
        others = [textbook.step(whole, name, layers)]
        if beyond is not None:
            others.append(textbook.next_best(name, layers))
        ours = _ours(features)
        for size in SIZES:
            pixels = torch.rand(1, 3, size, size)
            peak = max(peak, machine.matmul_peak(0.5))
            *slow, fast, best = _in_turn(others, ours, pixels, repeats)
            print(
                f"  {name} {label} at {size}: {slow[0] / fast:.2f} x", file=sys.stderr, flush=True
            )
            full = size == SIZES[-1]
            what = f"{name} {label} at {size}"
            wanted = (("textbook", ratio), ("next best", beyond))
            for (other, least), each in zip(wanted, slow, strict=False):
                found.append(
                    Row(
                        f"step: {other} / ours: {what}",
                        each / fast,
                        "x",
                        least if full else None,
                        None,
                        f"{1000 * each:.1f} ms {other}, {1000 * fast:.1f} ms ours, 1 view, "
                        f"{torch.get_num_threads()} threads",
                    )
                )
            flops = _operations(network, layers, pixels)
            used = flops / best / peak
            detail = f"{flops / 1e9:.1f} G convolution operations in {1000 * best:.1f} ms"
            detail += f", peak {peak / 1e9:.0f} G/s"
            found.append(
                Row(f"peak share: {what}", used, "", share if full else None, None, detail)
            )
    return found + _memory()


def stepper(kind: str, name: str, level: str) -> textbook.Step:
    """Return a step of the embedded network: "ours", "textbook" or "next best"."""
    layers = rows.row(name).level(level)
    if kind == "textbook":
        return textbook.step(textbook.network(name), name, layers)
    if kind == "next best":
        return textbook.next_best(name, layers)
    return _held(_ours(load(name).features(layers)))


def _held(run: textbook.Step) -> textbook.Step:
    held = heap.held()
    held.__enter__()  # for the rest of the process
    return run


def _memory() -> list[Row]:
    """Compare what a step takes beside the network and the picture."""
    used = {}
    for kind in ("textbook", "next best", "ours"):
        arguments = [sys.executable, "-c", MEMORY, kind, str(MEMORY_SIZE)]
        # A process starts with the peak of the one that started it: a small one stands between.
        small = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
        arguments = [sys.executable, "-c", small, *arguments]
        done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True)
        used[kind] = int(done.stdout)
    return [
        Row(
            f"step: memory, ours / {kind}: efficientnet_lite0 objects at {MEMORY_SIZE}",
            used["ours"] / used[kind],
            "x",
            at_most=MEMORY_SHARE,
            detail=f"{used['ours'] / 1e6:.0f} MB ours, {used[kind] / 1e6:.0f} MB {kind}, "
            "largest resident size less that before the first step",
        )
        for kind in ("textbook", "next best")
    ]


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
    others: list[textbook.Step], ours: textbook.Step, pixels: Tensor, repeats: int
) -> list[float]:
    """Time steps in turn; return the medians, ours last, and then our best, in seconds."""

    def seconds(run: Callable[[Tensor], Tensor]) -> float:
        began = time.perf_counter()
        run(pixels)
        return time.perf_counter() - began

    times: list[list[float]] = [[] for _ in (*others, ours)]
    best = float("inf")
    for turn in range(repeats + 1):
        measured = [seconds(run) for run in others]
        with heap.held():
            ours(pixels)
            mine = [seconds(ours) for _ in range(3)]
        if turn > 0:  # the first is a warm-up
            for kept, value in zip(times, [*measured, statistics.median(mine)], strict=True):
                kept.append(value)
            best = min(best, *mine)
    return [*map(statistics.median, times), best]


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
    # Any such mode makes convolutions be computed one by one, where hooks see them.
    with torch.no_grad(), BaseTorchFunctionMode():
        features(pixels)
    for hook in hooks:
        hook.remove()
    return 2.0 * total
