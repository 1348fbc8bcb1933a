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
References = Mapping[str, Activations]
"""What a network answers to other pictures, by their names, seen as the picture at hand is."""

# Below this cosine a direction counts as met no less: lucid's, so that there is a slope to climb.
_LEAST_COSINE = 0.1


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
        direction: `(channel, share)` pairs instead of a channel: a direction among the channels.
        like: the name of a picture instead: its activations are what is maximised, exaggerated.
        power: how many times the cosine counts to a direction or to what a picture does.
    """

    layer: str
    channel: int | None = None
    at: tuple[float, float] | None = None
    weight: float = 1.0
    label: str = ""
    direction: tuple[tuple[int, float], ...] = ()
    like: str | None = None
    power: float = 1.0

    def each(
        self,
        activations: Activations,
        locate: Locate = _here,
        references: References | None = None,
    ) -> Tensor:
        """Return the scalar of every picture, `(N,)`, without the weight.

        Args:
            activations: must hold `layer`.
            locate: where a place on the canvas is in the views that were shown: one `(y, x)`, or
                `(N, 2)` of them.
            references: must hold the picture that `like` names, as it looks in the same views.
        """
        values = activations[self.layer]
        if self.like is not None:
            return _agreement(values, (references or {})[self.like][self.layer], self.power)
        if self.direction:
            channels, shares = zip(*self.direction, strict=True)
            vector = values.new_zeros(values.shape[1])
            vector[list(channels)] = values.new_tensor(shares)
            return _agreement(values, (vector / vector.norm()).view(1, -1, 1, 1), self.power)
        if self.channel is None:
            return values.square().mean((1, 2, 3))
        values = values[:, self.channel]
        if self.at is None:
            return values.mean((1, 2))
        places = torch.as_tensor(locate(*self.at)).expand(len(values), 2)
        height, width = values.shape[1:]
        rows = (places[:, 0] * height).long().clamp(0, height - 1)
        columns = (places[:, 1] * width).long().clamp(0, width - 1)
        return values[torch.arange(len(values)), rows, columns]

    def measure(
        self,
        activations: Activations,
        locate: Locate = _here,
        references: References | None = None,
    ) -> Tensor:
        """Return the mean of `each`, a scalar."""
        return self.each(activations, locate, references).mean()

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

    @property
    def likes(self) -> tuple[str, ...]:
        """Name the pictures that it needs the activations of, each once."""
        return tuple(dict.fromkeys(term.like for term in self.terms if term.like is not None))

    def __call__(
        self,
        activations: Activations,
        locate: Locate = _here,
        references: References | None = None,
    ) -> Tensor:
        """Return the scalar to maximise."""
        values = [
            term.weight * term.measure(activations, locate, references) for term in self.terms
        ]
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


def _agreement(values: Tensor, wanted: Tensor, power: float) -> Tensor:
    """Return how far values go where they should, `(N,)`: `mean(dot * max(.1, cos)^power)`.

    Lucid's measure for directions and caricatures: the dot product alone is had by growing
    anything, the cosine alone by showing nothing.

    Args:
        values: `(N, C, h, w)`.
        wanted: `(N or 1, C, h or 1, w or 1)`.
        power: of the cosine.
    """
    dot = (values * wanted).sum(1)
    norms = values.square().sum(1).add(1e-12).sqrt() * wanted.square().sum(1).add(1e-12).sqrt()
    return (dot * (dot / norms).clamp_min(_LEAST_COSINE) ** power).mean((1, 2))
