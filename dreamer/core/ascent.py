"""The dream: gradient ascent over octaves, coarse to fine.

The delta pyramid is Mordvintsev's (Google's DeepDream notebook, 2015): each octave dreams on the
photo at its own size plus the enlarged difference that the coarser octaves made.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamer.core import canvas as canvases
from dreamer.core import colour, gradients
from dreamer.core.canvas import Canvas
from dreamer.core.objectives import Activations, Objective, References
from dreamer.core.resampling import resample
from dreamer.core.transforms import Look, View

Network = Callable[[Tensor], Activations]
Photos = Mapping[str, Tensor]


@dataclass(frozen=True)
class Ascent:
    """Every number of the loop.

    Attributes:
        sizes: the octaves' `(height, width)`, coarse to fine; the last is the photo's.
        steps: how many steps each of them takes.
        step_size: the root mean square of a step, in units of the whole range 0..1.
        decay: the share of the step size that is gone by an octave's last step, 0..1.
        momentum: how much of the last direction is kept, 0 to less than 1.
        view: the random views.
        tilt: how much stronger each coarser band of the gradient is, see `gradients.condition`.
        grain: how much of the finest band is left, see `gradients.condition`.
        decorrelate: how much colours move together, see `colour.decorrelate`.
        chroma: the share of the dream's colour changes that is kept, 0..1.
        hold: how strongly the broad light and colour are pulled back to the photo's, a step.
        blend: the share of the photo that is mixed back at the end, 0..1.
        canvas: how the photo is changed, see `dreamer.core.canvas`.
    """

    sizes: tuple[tuple[int, int], ...]
    steps: tuple[int, ...]
    step_size: float
    decay: float
    momentum: float
    view: View
    tilt: float
    grain: float
    decorrelate: float
    chroma: float
    hold: float
    blend: float
    canvas: canvases.Kind = "pixel"

    @property
    def work(self) -> int:
        """The pixels of all steps together: what a progress bar should count."""
        return sum(h * w * n for (h, w), n in zip(self.sizes, self.steps, strict=True))


@dataclass(frozen=True)
class Step:
    """What is known after one step.

    Attributes:
        octave: its index, 0 is the coarsest.
        step: its index within the octave.
        size: the octave's `(height, width)`.
        score: the objective's value before the step; in a sum each term is divided by the strength
            of its gradient, see `balance`.
        moved: whether the target had any gradient.
        work: pixels x steps done so far.
        picture: renders the full-size result as it stands, `(1, 3, H, W)` in 0..1.
    """

    octave: int
    step: int
    size: tuple[int, int]
    score: float
    moved: bool
    work: int
    picture: Callable[[], Tensor]


def generator(seed: int, octave: int) -> torch.Generator:
    """Return the CPU generator of one octave; results depend on nothing else that is random."""
    digest = hashlib.sha256(f"{seed}/{octave}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def dream(
    photo: Tensor,
    network: Network,
    objective: Objective,
    plan: Ascent,
    seed: int,
    *,
    photos: Photos | None = None,
) -> Iterator[Step]:
    """Dream on a photo, one step an iteration; stop whenever you like.

    Args:
        photo: `(1, 3, H, W)` in 0..1, on the network's device.
        network: maps `(1, 3, h, w)` in 0..1 to the activations of the objective's layers.
        objective: what to maximise. A sum's terms are brought to the same gradient strength
            before their weights count.
        plan: the numbers.
        seed: see `generator`.
        photos: the pictures `(1, 3, H, W)` in 0..1 that caricatures are of, by the names that the
            objective has for them; of the photo's shape, or they are stretched to it.

    Yields:
        A `Step` after each step. With no steps or a step size of 0 the picture is the photo.
    """
    first = resample(photo, plan.sizes[0]).clamp(0, 1)
    canvas = canvases.start(plan.canvas, first, together=plan.chroma == 0)
    work = 0
    for octave, (size, steps) in enumerate(zip(plan.sizes, plan.steps, strict=True)):
        if octave > 0:
            canvas = canvas.onto(resample(photo, size).clamp(0, 1))
        random = generator(seed, octave)
        shown = {name: resample(each, size).clamp(0, 1) for name, each in (photos or {}).items()}
        if octave == 0:
            objective = balance(
                canvas, network, objective, plan.view, generator(seed, -1), photos=shown
            )
        velocity = torch.zeros_like(photo[:, :, : size[0], : size[1]])
        for step in range(steps):
            score, raw = _gradient(canvas, network, objective, plan.view, random, shown)
            moved = not gradients.is_zero(raw)
            if moved:
                velocity = plan.momentum * velocity + _direction(canvas, raw, plan)
                canvas.ascend(velocity, plan.step_size * _schedule(step, steps, plan.decay))
            canvas.settle(plan.hold)
            work += size[0] * size[1]
            yield Step(octave, step, size, score, moved, work, _renderer(canvas, photo, plan))


def balance(
    canvas: Canvas,
    network: Network,
    objective: Objective,
    view: View,
    random: torch.Generator,
    *,
    photos: Photos | None = None,
) -> Objective:
    """Scale the terms of a sum to equal gradients, so that weights are shares of the picture.

    A logit and a mean of squares have nothing in common but their gradients; one look at the
    coarsest octave measures those. A term without a gradient keeps the scale of the others' mean.
    Photos, see `dream`, are of the canvas' size.
    """
    if len(objective.terms) == 1:
        return objective
    look = view.look(canvas.pixels(), random)
    references = _references(network, look, photos or {})
    activations = network(look.pixels)
    norms = []
    for term in objective.terms:
        score = term.measure(activations, look.locate, references)
        norms.append(gradients.rms(look.gradient(score, again=True)).item())
    alive = [norm for norm in norms if norm > 1e-9]
    usual = sum(alive) / len(alive) if alive else 1.0
    return objective.scaled(tuple(norm if norm > 1e-9 else usual for norm in norms))


def _gradient(
    canvas: Canvas,
    network: Network,
    objective: Objective,
    view: View,
    random: torch.Generator,
    photos: Photos,
) -> tuple[float, Tensor]:
    look = view.look(canvas.pixels(), random)
    references = _references(network, look, photos)
    score = objective(network(look.pixels), look.locate, references)
    return score.item(), look.gradient(score)


def _references(network: Network, look: Look, photos: Photos) -> References:
    """Return what the network answers to photos that are seen as the canvas is."""
    with torch.no_grad():
        return {name: network(look.show(photo)) for name, photo in photos.items()}


def _direction(canvas: Canvas, raw: Tensor, plan: Ascent) -> Tensor:
    direction = canvas.precondition(
        raw, tilt=plan.tilt, grain=plan.grain, decorrelate=plan.decorrelate
    )
    return colour.mute(direction, plan.chroma)


def _schedule(step: int, steps: int, decay: float) -> float:
    return 1 - decay * step / max(1, steps - 1)


def _renderer(canvas: Canvas, photo: Tensor, plan: Ascent) -> Callable[[], Tensor]:
    canvas = copy.copy(canvas)  # as it stands: the next step gives it another difference

    def picture() -> Tensor:
        dreamed = canvas.onto(photo).pixels()
        # Written as a change of the photo: nothing dreamed is the photo to the bit.
        return (photo + (1 - plan.blend) * (dreamed - photo)).clamp(0, 1)

    return picture
