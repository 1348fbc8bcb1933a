"""Gradients where they are quick: in mixed precision, and on CUDA as graphs that are replayed.

Mixed precision is torch's autocast: convolutions compute in 16 bits, pictures, scores and the
gradients of pixels stay in 32. A mean of squares has gradients far below what 16 bits of the IEEE
kind can say, so scores are multiplied before the gradient and gradients divided after it
(Micikevicius et al., "Mixed Precision Training", 2018, section 3.2). Only the direction counts
for ascent, but the terms of a sum are compared by their strengths.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dreamer.core.capture import Graphs
from dreamer.core.guidance import Bank
from dreamer.core.objectives import Activations, Objective, References, Term
from dreamer.core.transforms import Locate

Network = Callable[[Tensor], Activations]
Measure = Callable[[Activations, Sequence[Tensor]], Sequence[Tensor]]
"""From activations, and the tensors that were given beside the pixels, to scalars."""

SCALE = 65536.0
"""Of scores before the gradient in `torch.float16`."""
_LESS = 16.0
_BANK = tuple(field.name for field in dataclasses.fields(Bank))


class Accelerated:
    """A network that answers in 32 bits, however it computes.

    One is made for each dream, so that no picture depends on those before it; graphs may be shared.

    Args:
        network: see `dreamer.core.ascent.dream`.
        device: the network's kind of device.
        dtype: what convolutions compute in: `torch.float16`, `torch.bfloat16` or `torch.float32`.
        graphs: records steps; None for never.
        name: tells the network from others that have their graphs there as well.

    Attributes:
        notes: what was not as it should be, each once.
    """

    def __init__(
        self,
        network: Network,
        device: str,
        dtype: torch.dtype,
        graphs: Graphs | None = None,
        name: Hashable = None,
    ) -> None:
        self.network = network
        self.device = device
        self.dtype = dtype
        self.scale = SCALE if dtype == torch.float16 else 1.0
        self.notes: list[str] = []
        self._graphs = graphs
        self._name = name
        self._numbers: dict[tuple[float, ...], Tensor] = {}

    def __call__(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return the layers' answers in float32, see `dreamer.core.ascent.dream`."""
        return self._answers(pixels, self.dtype)

    def slopes(
        self,
        pixels: Tensor,
        measure: Measure,
        given: Sequence[Tensor] = (),
        key: Hashable = None,
    ) -> tuple[list[float], list[Tensor]]:
        """Return scores, and the gradient of the pixels for each: float32, of their shape.

        Where 16 bits do not reach, scores are multiplied by less, and in the end all is computed in
        32: from then on, and noted.

        Args:
            pixels: `(N, 3, H, W)` in 0..1.
            measure: the scores.
            given: what it needs beside the activations and changes from call to call.
            key: stands for all else that it does; None if it may not be replayed.
        """
        while True:
            scale = self._constant((self.scale,), pixels)
            told, slopes = self._computed([pixels, scale, *given], measure, key)
            *scores, finite = told
            if self.suffices(scores, bool(finite)):
                return scores, slopes

    def suffices(self, scores: Sequence[float], finite: bool) -> bool:
        """Whether what was computed is right; otherwise it has to be computed again.

        Args:
            scores: of the network's answers.
            finite: whether scores and gradients are.
        """
        if finite or self.dtype == torch.float32:
            return True
        if self.scale > 1 and all(map(math.isfinite, scores)):
            self.scale /= _LESS
        else:
            self.dtype, self.scale = torch.float32, 1.0
            self._note("16 bits do not suffice for this network: computed in 32, which is slow")
        return False

    def relieve(self) -> bool:
        """Give up the graphs; return whether there were any."""
        if self._graphs is None or not len(self._graphs):
            return False
        self._graphs.release()
        return True

    def objectives(
        self,
        pixels: Tensor,
        objectives: Sequence[Objective],
        locate: Locate,
        references: References,
    ) -> tuple[list[float], list[Tensor]]:
        """Return the values of objectives, and the gradient of the pixels for each, see `slopes`.

        Args:
            pixels: of one view.
            objectives: what to measure.
            locate: see `Term.each`.
            references: see `Term.each`.
        """
        terms = [term for objective in objectives for term in objective.terms]
        names = _names(references)
        counts = [len(objective.terms) for objective in objectives]

        def measure(activations: Activations, given: Sequence[Tensor]) -> list[Tensor]:
            weights, *rest = given
            known = _put(rest, names)
            values = torch.stack([t.measure(activations, locate, known) for t in terms]) * weights
            return [part.sum() for part in torch.split(values, counts)]

        key = None
        if all(map(capturable, terms)):
            key = (*counts, *(replace(t, weight=1.0, label="") for t in terms), names)
        weights = self._constant(tuple(term.weight for term in terms), pixels)
        return self.slopes(pixels, measure, [weights, *_tensors(references)], key)

    def _computed(
        self, inputs: Sequence[Tensor], measure: Measure, key: Hashable
    ) -> tuple[list[float], list[Tensor]]:
        """Return the scores and whether all is finite, and the gradients."""
        dtype = self.dtype

        def compute(inputs: Sequence[Tensor]) -> list[Tensor]:
            pixels, scale, *given = inputs
            leaf = pixels.detach().requires_grad_()
            scores = measure(self._answers(leaf, dtype), given)
            slopes = []
            for index, score in enumerate(scores):
                again = index < len(scores) - 1
                (slope,) = torch.autograd.grad(score * scale, leaf, retain_graph=again)
                slopes.append(slope / scale)
            told = torch.stack([score.detach() for score in scores])
            finite = torch.stack([each.sum() for each in (told, *slopes)]).isfinite().all()
            return [torch.cat([told, finite[None].to(told)]), *slopes]

        if self._graphs is None or key is None:
            told, *slopes = compute(inputs)
        else:
            (told, *slopes), refused = self._graphs((self._name, key, dtype), compute, inputs)
            if refused:
                self._note(f"steps are not replayed as graphs, which is slow: {refused}")
        return told.tolist(), slopes

    def _answers(self, pixels: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
        mixed: Any = contextlib.nullcontext()
        if dtype != torch.float32:
            mixed = torch.autocast(self.device, dtype=dtype)
        with mixed:
            answers = self.network(pixels)
        return {name: values.float() for name, values in answers.items()}

    def _constant(self, numbers: tuple[float, ...], pixels: Tensor) -> Tensor:
        """Return numbers on the device, where they stay: bringing them there takes its time."""
        if numbers not in self._numbers:
            self._numbers[numbers] = pixels.new_tensor(numbers)
        return self._numbers[numbers]

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def slope(network: Network, score: Tensor, pixels: Tensor, *, again: bool = False) -> Tensor | None:
    """Return the gradient of pixels that a network was shown, as its precision needs it.

    Args:
        network: any.
        score: of its answers.
        pixels: what it was shown.
        again: whether another score of the same answers will follow.

    Returns:
        Of the pixels' shape; None if the score does not depend on them.
    """
    scale = network.scale if isinstance(network, Accelerated) else 1.0
    scaled = score if scale == 1 else score * scale
    (found,) = torch.autograd.grad(scaled, pixels, retain_graph=again, allow_unused=True)
    return found if found is None or scale == 1 else found / scale


def suffice(network: Network, score: float, slopes: Iterable[Tensor]) -> bool:
    """Whether what was computed of a network is right, see `Accelerated.suffices`."""
    if not isinstance(network, Accelerated):
        return True
    finite = all(bool(slope.sum().isfinite()) for slope in slopes)
    return network.suffices([score], finite and math.isfinite(score))


def relieve(network: Network) -> bool:
    """Give up the graphs of a network and all that share them; return whether there were any."""
    return isinstance(network, Accelerated) and network.relieve()


def capturable(term: Term) -> bool:
    """Whether a term does the same to any activations, wherever the view is.

    A neuron is somewhere else in each view, and channels that are chosen, or have shares of a
    direction, are numbers that would be brought to the device each time.
    """
    return term.at is None and term.pick is None and not term.channels and not term.direction


_Named = tuple[tuple[str, str, bool], ...]
"""Of each reference its name, its layer, and whether it is a bank."""


def _names(references: References) -> _Named:
    return tuple(
        (name, layer, isinstance(values, Bank))
        for name, answers in references.items()
        for layer, values in answers.items()
    )


def _tensors(references: References) -> list[Tensor]:
    """Return the tensors of references, in the order of `_names`."""
    found: list[Tensor] = []
    for answers in references.values():
        for values in answers.values():
            if isinstance(values, Bank):
                found += [getattr(values, part) for part in _BANK]
            else:
                found.append(values)
    return found


def _put(tensors: Sequence[Tensor], names: _Named) -> References:
    """Put tensors in their places again."""
    left = iter(tensors)
    found: dict[str, dict[str, Tensor | Bank]] = {}
    for name, layer, bank in names:
        values = Bank(**{part: next(left) for part in _BANK}) if bank else next(left)
        found.setdefault(name, {})[layer] = values
    return found
