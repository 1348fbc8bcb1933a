"""Where a step's time goes: the next best loop and ours, operation by operation."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch.autograd.profiler import profile

from benchmarks.rows import Row
from benchmarks.steps import stepper

SIZE = 512
LEVEL = "objects"
# What operations are called, by the beginnings of their names. What is not named is the rest.
_KINDS = (
    ("aten::mkldnn_convolution", "convolutions"),
    ("mkldnn::_convolution", "convolutions"),
    ("aten::convolution_backward", "convolutions"),
    ("aten::hardtanh", "activations and masks"),
    ("aten::clamp", "activations and masks"),
    ("aten::threshold", "activations and masks"),
    ("aten::add", "residuals"),
    ("aten::copy_", "copies to another layout"),
    ("aten::pad", "copies to another layout"),
    ("aten::constant_pad", "copies to another layout"),
    ("aten::fill_", "copies to another layout"),
)


def measure(repeats: int, quick: bool) -> list[Row]:
    """Return the milliseconds a step of each kind of operation, for both loops."""
    del quick
    found = []
    for kind in ("next best", "ours"):
        spent = _spent(kind, max(3, repeats))
        whole = sum(spent.values())
        for what, seconds in sorted(spent.items(), key=lambda item: -item[1]):
            found.append(
                Row(
                    f"profile: {kind}: {what}",
                    1000 * seconds,
                    "ms",
                    detail=f"{seconds / whole:.0%} of a step at {SIZE}, {LEVEL}",
                )
            )
    return found


def _spent(kind: str, repeats: int) -> dict[str, float]:
    """Return seconds a step by kind of operation."""
    run = stepper(kind, "efficientnet_lite0", LEVEL)
    pixels = torch.rand(1, 3, SIZE, SIZE)
    for _ in range(3):
        run(pixels)
    with profile(record_shapes=True) as watched:
        for _ in range(repeats):
            run(pixels)
    spent: dict[str, float] = defaultdict(float)
    for event in watched.function_events:
        spent[_kind(event)] += event.self_cpu_time_total / 1e6 / repeats
    return dict(spent)


def _kind(event: Any) -> str:
    for start, what in _KINDS:
        if event.name.startswith(start):
            return f"{what}, {_shape(event)}" if what == "convolutions" else what
    return "the rest"


def _shape(event: Any) -> str:
    """Tell depthwise from other convolutions by the weights: `(C', C / groups, k, k)`."""
    shapes = [shape for shape in event.input_shapes if len(shape) == 4]
    weights = [shape for shape in shapes if shape[2] == shape[3] <= 8 and shape[2] != SIZE]
    weight = weights[-1] if weights else shapes[-1]
    if weight[1] == 1:
        return "depthwise"
    return "1x1" if weight[2] == 1 else "the stem's"
