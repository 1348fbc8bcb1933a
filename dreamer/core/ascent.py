"""The dream: gradient ascent over octaves, coarse to fine.

The delta pyramid is Mordvintsev's (Google's DeepDream notebook, 2015): each octave dreams on the
photo at its own size plus the enlarged difference that the coarser octaves made.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dreamer.core import canvas as canvases
from dreamer.core import colour, gradients, guidance
from dreamer.core.canvas import Canvas
from dreamer.core.guidance import Banks, Guide
from dreamer.core.objectives import Activations, Objective, References
from dreamer.core.resampling import resample
from dreamer.core.transforms import Look, View

Network = Callable[[Tensor], Activations]
Photos = Mapping[str, Tensor]
Guides = Mapping[str, Guide]

# Of the dial: how the change grows over the steps, how sharply the steps follow that, how much
# shorter and longer they become at most, and how far the whole is scaled at the end.
_GROWTH, _SHARPNESS = 0.7, 3.0
_LEAST_GAIN, _MOST_GAIN = 1 / 64, 4.0
_LEAST_SCALED, _MOST_SCALED = 0.1, 2.5
_NO_GRADIENT = 1e-9
# The share of its own variation by which an early layer differs when half of `Likeness` is felt.
_UNLIKE = 0.02


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
        change: the size of the whole change, before the photo is mixed back: the root mean square
            over all that may change, in units of the whole range. Steps grow or shrink so that it
            comes to that; 0 takes them as they are, and the change as it comes.
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
    change: float = 0.0

    @property
    def work(self) -> int:
        """The pixels of all steps together: what a progress bar should count."""
        return sum(h * w * n for (h, w), n in zip(self.sizes, self.steps, strict=True))


@dataclass(frozen=True)
class Goal:
    """What to maximise in one part of a picture.

    Attributes:
        objective: what.
        where: how much of it each pixel takes, `(1, 1, H, W)` in 0..1; all of it if None. Pixels
            that no goal has a part in stay as they are, to the bit.
    """

    objective: Objective
    where: Tensor | None = None


@dataclass(frozen=True)
class Likeness:
    """What of the photo is held while the target rises.

    Feature accentuation (Hamblin et al., "Feature Accentuation: Revealing What Features Respond to
    in Natural Images", 2024): the distance to the photo in an early layer pulls back, against the
    target's own gradient, both brought to one norm.

    Attributes:
        network: cut after that layer, or after several.
        amount: how strongly, 0..1: with 1 the pull back can be as strong as the target's.
    """

    network: Network
    amount: float


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
        idle: the labels of the terms of a sum that had no gradient when they were balanced.
    """

    octave: int
    step: int
    size: tuple[int, int]
    score: float
    moved: bool
    work: int
    picture: Callable[[], Tensor]
    idle: tuple[str, ...] = ()


def generator(seed: int, octave: int) -> torch.Generator:
    """Return the CPU generator of one octave; results depend on nothing else that is random."""
    digest = hashlib.sha256(f"{seed}/{octave}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def dream(
    photo: Tensor,
    network: Network,
    objective: Objective | Sequence[Goal],
    plan: Ascent,
    seed: int,
    *,
    photos: Photos | None = None,
    guides: Guides | None = None,
    likeness: Likeness | None = None,
) -> Iterator[Step]:
    """Dream on a photo, one step an iteration; stop whenever you like.

    Args:
        photo: `(1, 3, H, W)` in 0..1, on the network's device.
        network: maps `(1, 3, h, w)` in 0..1 to the activations of the objective's layers.
        objective: what to maximise, everywhere or in parts of the picture. A sum's terms are
            brought to the same gradient strength before their weights count.
        plan: the numbers.
        seed: see `generator`.
        photos: the pictures `(1, 3, H, W)` in 0..1 that caricatures are of, by the names that the
            objective has for them; of the photo's shape, or they are stretched to it.
        guides: the pictures to be guided by, likewise by name, other than those of `photos`; of any
            shape.
        likeness: what of the photo is held; nothing in particular if None.

    Yields:
        A `Step` after each step. With no steps or a step size of 0 the picture is the photo.
    """
    goals = (Goal(objective),) if isinstance(objective, Objective) else tuple(objective)
    if any(goal.objective.picky for goal in goals):
        with torch.no_grad():
            seen = network(photo)
        goals = tuple(replace(goal, objective=goal.objective.picked(seen)) for goal in goals)
    whole = union([goal.where for goal in goals])
    dial = _Dial(plan.change, sum(plan.steps), plan.step_size)
    first = resample(photo, plan.sizes[0]).clamp(0, 1)
    canvas = canvases.start(
        plan.canvas, first, together=plan.chroma == 0, where=_resized(whole, plan.sizes[0])
    )
    work, idle = 0, tuple[str, ...]()
    for octave, (size, steps) in enumerate(zip(plan.sizes, plan.steps, strict=True)):
        if octave > 0:
            canvas = canvas.onto(resample(photo, size).clamp(0, 1), _resized(whole, size))
        sight = _Sight.of(network, goals, size, photos or {}, guides or {})
        if octave == 0:
            goals, idle = _balanced(canvas, sight, goals, plan.view, generator(seed, -1))
        random = generator(seed, octave)
        parts = [Goal(goal.objective, _resized(goal.where, size)) for goal in goals]
        velocity = torch.zeros_like(photo[:, :, : size[0], : size[1]])
        for step in range(steps):
            pixels = canvas.pixels()
            look = plan.view.look(pixels, random)
            score, slopes = _gradients(look, sight, parts, again=likeness is not None)
            moved = not all(map(gradients.is_zero, slopes))
            if moved:
                if likeness is not None:
                    slopes = _held(slopes, look, canvas.base, likeness)
                velocity = plan.momentum * velocity + _direction(canvas, slopes, parts, plan)
                scale = dial.gain(pixels - canvas.base, canvas.where)
                canvas.ascend(velocity, scale * plan.step_size * _schedule(step, steps, plan.decay))
            canvas.settle(plan.hold)
            dial.turn()
            if dial.turned == sum(plan.steps) and moved:
                canvas = dial.adjusted(canvas)
            work += size[0] * size[1]
            picture = _renderer(canvas, photo, whole, plan)
            yield Step(octave, step, size, score, moved, work, picture, idle)


def balance(
    canvas: Canvas,
    network: Network,
    objective: Objective,
    view: View,
    random: torch.Generator,
) -> Objective:
    """Scale the terms of a sum to equal gradients, so that weights are shares of the picture.

    A logit and a mean of squares have nothing in common but their gradients; one look at the
    coarsest octave measures those. A term without a gradient keeps the scale of the others' mean.
    """
    sight = _Sight(network, {}, {})
    return _balanced(canvas, sight, (Goal(objective),), view, random)[0][0].objective


def _balanced(
    canvas: Canvas,
    sight: _Sight,
    goals: tuple[Goal, ...],
    view: View,
    random: torch.Generator,
) -> tuple[tuple[Goal, ...], tuple[str, ...]]:
    """Balance the terms of each goal; also return the labels of those without a gradient."""
    if len(goals) == 1 and len(goals[0].objective.terms) == 1:
        return goals, ()
    look = view.look(canvas.pixels(), random)
    activations, references = sight.answers(look)
    balanced, idle = [], []
    for goal in goals:
        where = _resized(goal.where, (canvas.base.shape[2], canvas.base.shape[3]))
        norms = []
        for term in goal.objective.terms:
            score = term.measure(activations, look.locate, references)
            slope = look.gradient(score, again=True)
            norms.append(gradients.rms(slope if where is None else slope * where).item())
        alive = [norm for norm in norms if norm > _NO_GRADIENT]
        usual = sum(alive) / len(alive) if alive else 1.0
        scales = tuple(norm if norm > _NO_GRADIENT else usual for norm in norms)
        several = len(norms) > 1
        balanced.append(replace(goal, objective=goal.objective.scaled(scales)) if several else goal)
        pairs = zip(goal.objective.terms, norms, strict=True)
        idle += [str(term) for term, norm in pairs if norm <= _NO_GRADIENT]
    return tuple(balanced), tuple(dict.fromkeys(idle))


@dataclass(frozen=True)
class _Sight:
    """How a canvas and the pictures beside it are seen in one octave.

    Attributes:
        network: see `dream`.
        photos: those of caricatures, of the canvas' size.
        banks: of the guides.
    """

    network: Network
    photos: Photos
    banks: Mapping[str, Banks]

    @classmethod
    def of(
        cls,
        network: Network,
        goals: Sequence[Goal],
        size: tuple[int, int],
        photos: Photos,
        guides: Guides,
    ) -> _Sight:
        """Look at the guides at an octave's `(height, width)`."""
        terms = [term for goal in goals for term in goal.objective.terms]
        banks = {}
        for name, guide in guides.items():
            layers = {term.layer for term in terms if term.guide == name}
            banks[name] = guidance.banks(guide, network, size, layers)
        fitted = {name: resample(each, size).clamp(0, 1) for name, each in photos.items()}
        return cls(network, fitted, banks)

    def answers(self, look: Look) -> tuple[Activations, References]:
        """Return what the network answers to a view, and to photos that are seen as it is."""
        with torch.no_grad():
            seen = {name: self.network(look.show(each)) for name, each in self.photos.items()}
        return self.network(look.pixels), {**seen, **self.banks}


def _gradients(
    look: Look, sight: _Sight, goals: Sequence[Goal], *, again: bool
) -> tuple[float, list[Tensor]]:
    """Return the score, and the gradient of the pixels for each goal, in its part."""
    activations, references = sight.answers(look)
    score, slopes = 0.0, []
    for index, goal in enumerate(goals):
        value = goal.objective(activations, look.locate, references)
        slope = look.gradient(value, again=again or index < len(goals) - 1)
        score += value.item()
        slopes.append(slope if goal.where is None else slope * goal.where)
    return score, slopes


def _held(slopes: list[Tensor], look: Look, base: Tensor, likeness: Likeness) -> list[Tensor]:
    """Add to gradients what pulls back towards the photo, in an early layer."""
    with torch.no_grad():
        wanted = likeness.network(look.show(base))
    apart = torch.stack(
        [
            (values - wanted[name]).square().mean() / wanted[name].var(correction=0).add(1e-12)
            for name, values in likeness.network(look.pixels).items()
        ]
    ).mean()
    back = look.gradient(-apart)
    if gradients.is_zero(back):
        return slopes
    # What differs little is pulled little: the gradient of a distance has no measure of its own.
    felt = likeness.amount * math.sqrt(apart.item() / (apart.item() + _UNLIKE))
    pull = felt * back / gradients.rms(back)
    return [
        slope if gradients.is_zero(slope) else slope / gradients.rms(slope) + pull
        for slope in slopes
    ]


class _Dial:
    """Brings the size of the whole change to what is wanted, whatever the network and preset.

    Args:
        wanted: the root mean square of the change; 0 for whatever comes.
        steps: how many there are in all.
        step_size: of each, unless it is turned.
    """

    def __init__(self, wanted: float, steps: int, step_size: float) -> None:
        self.wanted = wanted
        self.steps = steps
        self.step_size = step_size
        self.turned = 0

    def turn(self) -> None:
        """Count a step."""
        self.turned += 1

    def gain(self, change: Tensor, where: Tensor | None) -> float:
        """Return how many times as far the next step is to go."""
        if self.wanted == 0 or self.step_size == 0:
            return 1.0
        due: float = self.wanted * (max(1, self.turned) / self.steps) ** _GROWTH
        if self.turned == 0:  # too large a change is hard to take back
            return min(1.0, due / self.step_size)
        gain = float((due / max(_size(change, where), 1e-9)) ** _SHARPNESS)
        return min(_MOST_GAIN, max(_LEAST_GAIN, gain))

    def adjusted(self, canvas: Canvas) -> Canvas:
        """Make up for what is missing at the end, or too much."""
        factor = 1.0
        for _ in range(4 if self.wanted else 0):  # it is not quite proportional: see `soft_clip`
            found = canvas.scaled(factor)
            factor *= self.wanted / _size(found.pixels() - found.base, found.where)
            factor = min(_MOST_SCALED, max(_LEAST_SCALED, factor))
        return canvas if factor == 1 else canvas.scaled(factor)


def _size(change: Tensor, where: Tensor | None) -> float:
    """Return the root mean square of a change over what may change."""
    share = 1.0 if where is None else gradients.rms(where).item()
    return gradients.rms(change).item() / share


def union(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Return how much each pixel may change that parts of a picture have; None for all of them."""
    whole = None
    for part in parts:
        if part is None:
            return None
        whole = part if whole is None else whole + part
    return None if whole is None else whole.clamp(0, 1)


def _resized(where: Tensor | None, size: tuple[int, int]) -> Tensor | None:
    return None if where is None else resample(where, size).clamp(0, 1)


def _direction(
    canvas: Canvas, slopes: Sequence[Tensor], goals: Sequence[Goal], plan: Ascent
) -> Tensor:
    """Return where to go: each goal as far in its part as it would go alone in the whole."""
    whole = torch.zeros_like(slopes[0])
    for slope, goal in zip(slopes, goals, strict=True):
        if gradients.is_zero(slope):
            continue
        direction = canvas.precondition(
            slope, tilt=plan.tilt, grain=plan.grain, decorrelate=plan.decorrelate
        )
        if len(goals) > 1 and goal.where is not None:
            # Its bands reach beyond its part, where others are.
            direction = direction * goal.where
            direction = direction * (gradients.rms(goal.where) / gradients.rms(direction))
        whole = whole + direction
    return colour.mute(whole, plan.chroma)


def _schedule(step: int, steps: int, decay: float) -> float:
    return 1 - decay * step / max(1, steps - 1)


def _renderer(
    canvas: Canvas, photo: Tensor, where: Tensor | None, plan: Ascent
) -> Callable[[], Tensor]:
    canvas = copy.copy(canvas)  # as it stands: the next step gives it another difference

    def picture() -> Tensor:
        dreamed = canvas.onto(photo, where).pixels()
        # Written as a change of the photo: nothing dreamed is the photo to the bit.
        return (photo + (1 - plan.blend) * (dreamed - photo)).clamp(0, 1)

    return picture
