"""The dream: gradient ascent over octaves, coarse to fine.

The delta pyramid is Mordvintsev's (Google's DeepDream notebook, 2015): each octave dreams on the
photo at its own size plus the enlarged difference that the coarser octaves made.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dreamer.core import bands, colour, gradients
from dreamer.core import canvas as canvases
from dreamer.core.canvas import Canvas, Read
from dreamer.core.objectives import Objective
from dreamer.core.resampling import resample
from dreamer.core.sight import (
    Goal,
    Guides,
    Likeness,
    Network,
    Photos,
    Question,
    Scene,
    Sight,
    answered,
)
from dreamer.core.tiles import Tiling
from dreamer.core.transforms import View

__all__ = [
    "Ascent",
    "Goal",
    "Likeness",
    "Network",
    "Question",
    "Step",
    "asking",
    "balance",
    "dream",
    "generator",
    "union",
]

# Of the dial: how the change grows over the steps, how sharply the steps follow that, how much
# shorter and longer they become at most, and how far the whole is scaled at the end.
_GROWTH, _SHARPNESS = 0.7, 3.0
_LEAST_GAIN, _MOST_GAIN = 1 / 64, 4.0
_LEAST_SCALED, _MOST_SCALED = 0.1, 2.5
_NO_GRADIENT = 1e-9


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
        picture: renders the full-size result as it stands, `(1, 3, H, W)` in 0..1; to be called
            before the next step is asked for, since that changes a large picture in place.
        idle: the labels of the terms of a sum that had no gradient when they were balanced.
        tile: the longest side of the tiles that views are seen in, px; 0 for whole views. It is
            another than was asked for if the memory did not suffice.
        notes: what was not as it should be so far, see `dreamer.core.acceleration`.
    """

    octave: int
    step: int
    size: tuple[int, int]
    score: float
    moved: bool
    work: int
    picture: Callable[[], Tensor]
    idle: tuple[str, ...] = ()
    tile: int = 0
    notes: tuple[str, ...] = ()


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
    tiling: Tiling | None = None,
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
        tiling: how views are cut into tiles, at the latest when the memory does not suffice for
            larger ones; see `dreamer.core.sight`. None never does.

    Yields:
        A `Step` after each step. With no steps or a step size of 0 the picture is the photo.
    """
    loop = asking(
        photo,
        network,
        objective,
        plan,
        seed,
        photos=photos,
        guides=guides,
        likeness=likeness,
        tiling=tiling,
    )
    for said in loop:
        if isinstance(said, Step):
            yield said
        else:
            said.look()
        del said  # it holds on to what was looked at


def asking(
    photo: Tensor,
    network: Network,
    objective: Objective | Sequence[Goal],
    plan: Ascent,
    seed: int,
    *,
    photos: Photos | None = None,
    guides: Guides | None = None,
    likeness: Likeness | None = None,
    tiling: Tiling | None = None,
) -> Iterator[Question | Step]:
    """Do as `dream`, but ask for the gradients, so that many dreams can be looked at together.

    Yields:
        A `Question` whenever a gradient is needed, to be answered before the next is asked for;
        and a `Step` after each step.
    """
    goals = (Goal(objective),) if isinstance(objective, Objective) else tuple(objective)
    if any(goal.objective.picky for goal in goals):
        sight = Sight(network, {}, {}, tiling)
        seen = sight.answers(photo)
        tiling = sight.tiling
        goals = tuple(replace(goal, objective=goal.objective.picked(seen)) for goal in goals)
        del seen
    whole = union([goal.where for goal in goals])
    dial = _Dial(plan.change, sum(plan.steps), plan.step_size)
    canvas = canvases.start(
        plan.canvas,
        _fitted(photo, plan.sizes[0]),
        together=plan.chroma == 0,
        where=_resized(whole, plan.sizes[0]),
    )
    work, idle = 0, tuple[str, ...]()
    picture: _Picture | None = None
    for octave, (size, steps) in enumerate(zip(plan.sizes, plan.steps, strict=True)):
        if octave > 0:
            canvas = canvas.onto(_fitted(photo, size), _resized(whole, size))
        if picture is not None:
            picture.release()
        sight = Sight.of(network, goals, size, photos or {}, guides or {}, tiling)
        if octave == 0:
            placement = plan.view.draw(size, generator(seed, -1))
            scene = Scene(canvas.base, canvas.reader(), placement, (seed, 0, -1))
            goals, idle = yield from _balanced(scene, sight, goals)
        random = generator(seed, octave)
        parts = [Goal(goal.objective, _resized(goal.where, size)) for goal in goals]
        velocity: Tensor | None = None
        for step in range(steps):
            read = canvas.reader()
            scene = Scene(canvas.base, read, plan.view.draw(size, random), (seed, octave, step))
            question = Question(sight, scene, parts, likeness)
            yield question
            score, slopes = question.taken()
            moved = not all(map(gradients.is_zero, slopes))
            if moved:
                direction = _onwards(velocity, canvas, slopes, parts, plan)
                length = dial.gain(canvas, read) * plan.step_size
                canvas.ascend(direction, length * _schedule(step, steps, plan.decay))
                onwards = plan.momentum > 0 and step < steps - 1
                velocity = _kept(velocity, direction) if onwards else None
                del direction
            del read, scene, question, slopes
            canvas.settle(plan.hold)
            dial.turn()
            if dial.turned == sum(plan.steps) and moved:
                canvas = dial.adjusted(canvas)
            work += size[0] * size[1]
            picture = _Picture(canvas, photo, whole, plan)
            tile = 0 if sight.tiling is None else sight.tiling.side
            yield Step(octave, step, size, score, moved, work, picture, idle, tile)
        tiling = sight.tiling


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
    size = (canvas.base.shape[2], canvas.base.shape[3])
    scene = Scene(canvas.base, canvas.reader(), view.draw(size, random), (0, 0, -1))
    found = answered(_balanced(scene, Sight(network, {}, {}), (Goal(objective),)))
    return found[0][0].objective


def _balanced(
    scene: Scene, sight: Sight, goals: tuple[Goal, ...]
) -> Generator[Question, None, tuple[tuple[Goal, ...], tuple[str, ...]]]:
    """Balance the terms of each goal; also return the labels of those without a gradient."""
    if len(goals) == 1 and len(goals[0].objective.terms) == 1:
        return goals, ()
    size = (scene.base.shape[2], scene.base.shape[3])
    balanced, idle = [], []
    for goal in goals:
        part = Goal(goal.objective, _resized(goal.where, size))
        norms = yield from sight.asking_norms(scene, part)
        alive = [norm for norm in norms if norm > _NO_GRADIENT]
        usual = sum(alive) / len(alive) if alive else 1.0
        scales = tuple(norm if norm > _NO_GRADIENT else usual for norm in norms)
        several = len(norms) > 1
        balanced.append(replace(goal, objective=goal.objective.scaled(scales)) if several else goal)
        pairs = zip(goal.objective.terms, norms, strict=True)
        idle += [str(term) for term, norm in pairs if norm <= _NO_GRADIENT]
    return tuple(balanced), tuple(dict.fromkeys(idle))


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

    def gain(self, canvas: Canvas, read: Read) -> float:
        """Return how many times as far the next step is to go."""
        if self.wanted == 0 or self.step_size == 0:
            return 1.0
        due: float = self.wanted * (max(1, self.turned) / self.steps) ** _GROWTH
        if self.turned == 0:  # too large a change is hard to take back
            return min(1.0, due / self.step_size)
        gain = float((due / max(_change(canvas, read, roughly=True), 1e-9)) ** _SHARPNESS)
        return min(_MOST_GAIN, max(_LEAST_GAIN, gain))

    def adjusted(self, canvas: Canvas) -> Canvas:
        """Make up for what is missing at the end, or too much."""
        factor = 1.0
        for _ in range(4 if self.wanted else 0):  # it is not quite proportional: see `soft_clip`
            found = canvas.scaled(factor)
            factor *= self.wanted / _change(found, found.reader())
            del found  # or there would be two of them
            factor = min(_MOST_SCALED, max(_LEAST_SCALED, factor))
        return canvas if factor == 1 else canvas.scaled(factor)


def _change(canvas: Canvas, read: Read, *, roughly: bool = False) -> float:
    """Return the root mean square of what changed, over what may change.

    Args:
        canvas: what changed.
        read: shows it.
        roughly: whether a sample of a large picture is enough.
    """
    base = canvas.base
    parts = bands.sample(base) if roughly and canvas.where is None else bands.bands(base)
    rows = ((part.start, part.stop) for part in parts)
    found = bands.rms_of(
        read((top, 0, bottom, base.shape[3])) - base[:, :, top:bottom] for top, bottom in rows
    )
    share = 1.0 if canvas.where is None else gradients.rms(canvas.where).item()
    return found.item() / share


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


def _fitted(photo: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the photo at a size in 0..1; itself, if it is of that size."""
    fitted = resample(photo, size)
    if fitted is not photo:
        return fitted.clamp_(0, 1)
    least, most = photo.aminmax()
    return photo if least >= 0 and most <= 1 else photo.clamp(0, 1)


def _onwards(
    velocity: Tensor | None,
    canvas: Canvas,
    slopes: Sequence[Tensor],
    goals: Sequence[Goal],
    plan: Ascent,
) -> Tensor:
    """Return where to go, and a share of where it went; all are written over.

    Each goal goes as far in its part as it would go alone in the whole.
    """
    whole: Tensor | None = None
    for slope, goal in zip(slopes, goals, strict=True):
        if gradients.is_zero(slope):
            continue
        direction = canvas.precondition(
            slope, tilt=plan.tilt, grain=plan.grain, decorrelate=plan.decorrelate
        )
        if len(goals) > 1 and goal.where is not None:
            # Its bands reach beyond its part, where others are.
            direction = direction.mul_(goal.where)
            direction = direction.mul_(gradients.rms(goal.where) / gradients.rms(direction))
        whole = direction if whole is None else whole.add_(direction)
    assert whole is not None
    whole = bands.mapped(lambda part: colour.mute(part, plan.chroma), whole)
    if velocity is None:
        return whole
    if velocity.dtype == whole.dtype:
        return velocity.mul_(plan.momentum).add_(whole)
    for rows in bands.bands(whole):
        whole[:, :, rows].add_(velocity[:, :, rows], alpha=plan.momentum)
    return whole


def _kept(velocity: Tensor | None, direction: Tensor) -> Tensor:
    """Return a direction to be kept to the next step: of a large picture with half the digits."""
    if len(bands.bands(direction)) == 1:
        return direction
    if velocity is None:
        velocity = bands.zeros(direction, dtype=torch.float16)
    return velocity.copy_(direction)


def _schedule(step: int, steps: int, decay: float) -> float:
    return 1 - decay * step / max(1, steps - 1)


class _Picture:
    """Renders the full-size result as it stands.

    Args:
        canvas: what was dreamed so far.
        photo: see `dream`.
        where: how much each pixel may change.
        plan: the numbers.
    """

    def __init__(self, canvas: Canvas, photo: Tensor, where: Tensor | None, plan: Ascent) -> None:
        # The next step gives a small one another difference.
        self._canvas: Canvas | None = copy.copy(canvas)
        self._photo = photo
        self._where = where
        self._plan = plan

    def __call__(self) -> Tensor:
        """Return `(1, 3, H, W)` in 0..1."""
        if self._canvas is None:
            raise RuntimeError("the picture of a step is rendered before the next octave")
        photo = self._photo
        shown = self._canvas.onto(photo, self._where).pixels()
        # Written as a change of the photo: nothing dreamed is the photo to the bit.
        return shown.sub_(photo).mul_(1 - self._plan.blend).add_(photo).clamp_(0, 1)

    def release(self) -> None:
        """Let go of a large canvas, which whoever keeps the step would keep in memory."""
        if self._canvas is not None and len(bands.bands(self._canvas.base)) > 1:
            self._canvas = None
