"""What is maximised: functions from activations to a scalar, with arithmetic and names.

Activations are a dict from layer name to `(N, C, H, W)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dreamer.core.transforms import Locate

Activations = Mapping[str, Tensor]


def _here(y: float, x: float) -> tuple[float, float]:
    return y, x


@dataclass(frozen=True)
class Term:
    """One thing to maximise, with its share of the whole.

    Attributes:
        layer: the layer it looks at.
        channel: one channel, or None for the mean of the layer's squared activations (DeepDream).
        at: `(y, x)` of a neuron as shares 0..1 of the picture, or None for all positions.
        weight: its share; negative to be avoided.
        label: how it was asked for, such as `class:zebra`.
    """

    layer: str
    channel: int | None = None
    at: tuple[float, float] | None = None
    weight: float = 1.0
    label: str = ""

    def measure(self, activations: Activations, locate: Locate = _here) -> Tensor:
        """Return the scalar without its weight.

        Args:
            activations: must hold `layer`.
            locate: where a place on the canvas is in the view that was shown.
        """
        values = activations[self.layer]
        if self.channel is None:
            return values.square().mean()
        values = values[:, self.channel]
        if self.at is None:
            return values.mean()
        y, x = locate(*self.at)
        height, width = values.shape[1:]
        row = min(max(int(y * height), 0), height - 1)
        column = min(max(int(x * width), 0), width - 1)
        return values[:, row, column].mean()

    def __str__(self) -> str:
        """Name the term as the target grammar does."""
        if self.label:
            return self.label
        channel = "" if self.channel is None else f":{self.channel}"
        return f"{self.layer}{channel}"


@dataclass(frozen=True)
class Objective:
    """A weighted sum of terms: `2*a + 3*b` is 2 times `a` plus 3 times `b`."""

    terms: tuple[Term, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """Name the layers it looks at, each once."""
        return tuple(dict.fromkeys(term.layer for term in self.terms))

    def __call__(self, activations: Activations, locate: Locate = _here) -> Tensor:
        """Return the scalar to maximise."""
        values = [term.weight * term.measure(activations, locate) for term in self.terms]
        return torch.stack(values).sum()

    def __add__(self, other: Objective) -> Objective:
        return Objective(self.terms + other.terms)

    def __mul__(self, factor: float) -> Objective:
        return Objective(tuple(replace(t, weight=factor * t.weight) for t in self.terms))

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return -1 * self

    def __sub__(self, other: Objective) -> Objective:
        return self + -other

    def scaled(self, scales: tuple[float, ...]) -> Objective:
        """Divide each term by its scale, so that weights compare like with like."""
        pairs = zip(self.terms, scales, strict=True)
        return Objective(tuple(replace(t, weight=t.weight / scale) for t, scale in pairs))

    def __str__(self) -> str:
        """Write the sum as the target grammar does."""
        text = ""
        for term in self.terms:
            sign = "-" if term.weight < 0 else "+"
            factor = "" if abs(term.weight) == 1 else f"{abs(term.weight):.6g}*"
            joint = f" {sign} " if text else ("-" if sign == "-" else "")
            text += f"{joint}{factor}{term}"
        return text
