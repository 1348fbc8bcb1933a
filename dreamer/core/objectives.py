"""What is maximised: functions from activations to a scalar, with arithmetic and names.

Activations are a dict from layer name to `(N, C, H, W)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from dreamer.core import guidance
from dreamer.core.guidance import Bank, By
from dreamer.core.transforms import Locate

Activations = Mapping[str, Tensor]
References = Mapping[str, Mapping[str, Tensor | Bank]]
"""What a network answers to other pictures, by their names and then by layer: to those of
caricatures as they look in the same views (a tensor), to guides as they are (a bank)."""

# Below this cosine a direction counts as met no less: lucid's, so that there is a slope to climb.
_LEAST_COSINE = 0.1
# Of the widest spread in a layer: what varies less is only rounding.
_FLAT = 1e-6


def _here(y: float, x: float) -> tuple[float, float]:
    return y, x


@dataclass(frozen=True)
class Pick:
    """Channels of a layer that are chosen by how much they have to say about the picture.

    How much is how far a channel varies over the picture: its mean is much the same for all.

    Attributes:
        rank: the strongest or the weakest of those that vary at all.
        count: how many.
        anew: whether they are chosen at each step, not once for all.
    """

    rank: Literal["strong", "weak"]
    count: int
    anew: bool = False

    @torch.no_grad()
    def of(self, values: Tensor) -> tuple[int, ...]:
        """Return the channels of answers `(N, C, h, w)`, in their order; none if all are dead."""
        spread = values.transpose(0, 1).flatten(1).std(1, correction=0)
        if not bool(spread.isfinite().all()):
            return tuple(range(len(spread)))  # whose score then says that something is wrong
        some = spread > _FLAT * spread.amax()
        alive = int(some.sum())
        if self.rank == "weak":
            spread = torch.where(some, -spread, -torch.inf)
        return tuple(sorted(spread.topk(min(self.count, alive)).indices.tolist()))


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
        channels: some channels instead of one: the mean of their squared activations.
        pick: the same, but chosen by the picture.
        guide: the name of a picture instead, whose answers are approached wherever they lie in it.
        by: how.
    """

    layer: str
    channel: int | None = None
    at: tuple[float, float] | None = None
    weight: float = 1.0
    label: str = ""
    direction: tuple[tuple[int, float], ...] = ()
    like: str | None = None
    power: float = 1.0
    channels: tuple[int, ...] = ()
    pick: Pick | None = None
    guide: str | None = None
    by: By = "best"

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
            references: must hold the picture that `like` or `guide` names.
        """
        values = activations[self.layer]
        if self.guide is not None:
            bank = (references or {})[self.guide][self.layer]
            assert isinstance(bank, Bank)
            return guidance.agreement(values, bank, self.by)
        if self.like is not None:
            seen = (references or {})[self.like][self.layer]
            assert isinstance(seen, Tensor)
            return _agreement(values, seen, self.power)
        if self.direction:
            channels, shares = zip(*self.direction, strict=True)
            vector = values.new_zeros(values.shape[1])
            vector[list(channels)] = values.new_tensor(shares)
            return _agreement(values, (vector / vector.norm()).view(1, -1, 1, 1), self.power)
        channels = self.channels if self.pick is None else self.pick.of(values)
        if self.pick is not None or channels:
            # None at all is a score that nothing moves.
            some = values[:, list(channels)].square()
            return some.sum((1, 2, 3)) / max(1, len(channels) * values[0, 0].numel())
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

    @property
    def guides(self) -> tuple[str, ...]:
        """Name the guides that it needs the banks of, each once."""
        return tuple(dict.fromkeys(term.guide for term in self.terms if term.guide is not None))

    @property
    def picky(self) -> bool:
        """Whether it has channels to be picked once, by `picked`."""
        return any(term.pick is not None and not term.pick.anew for term in self.terms)

    def picked(self, activations: Activations, *, anew: bool = False) -> Objective:
        """Pick the channels that are picked once, by the picture's activations.

        Args:
            activations: must hold the terms' layers.
            anew: whether those that are picked at each step are picked as well.
        """

        def settled(term: Term) -> Term:
            if term.pick is None or (term.pick.anew and not anew):
                return term
            channels = term.pick.of(activations[term.layer])
            # With nothing to pick it stays as it is, and moves nothing.
            return replace(term, channels=channels, pick=None if channels else term.pick)

        return Objective(tuple(map(settled, self.terms)))

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
