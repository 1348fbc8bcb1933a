"""How a canvas is seen: in one view or in the tiles of one, and the gradients that come of it.

In tiles, a mean over the places of a layer is the sum of what the tiles' cores add to it, so that
scores and gradients are those of the whole view, but for what lies beyond the halos. What is no
such mean is found as this says:

- A neuron is in the tile whose core has it.
- Channels that are picked, and what is compared of a guide by "means" and "style", are of all
  tiles together; for that the view is looked at once more beforehand. So is the spread by which a
  likeness is measured.
- A layer without places, such as the logits, answers to each tile, and the score is the mean of
  that. What is around a core does not count twice: such a gradient is kept in the core.
- Networks that look at the whole picture within, as squeeze-and-excitation and attention do, have
  a tile for the whole picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from dreamer.core import acceleration, bands, gradients, guidance, tiles
from dreamer.core.acceleration import Accelerated
from dreamer.core.canvas import Read
from dreamer.core.guidance import Bank, Banks, Guide
from dreamer.core.objectives import Activations, Objective, References, Term
from dreamer.core.resampling import resample
from dreamer.core.tiles import Box, Tile, Tiling
from dreamer.core.transforms import Glimpse, Locate, Look, Placement

Network = Callable[[Tensor], Activations]
Photos = Mapping[str, Tensor]
Guides = Mapping[str, Guide]
_Found = TypeVar("_Found")

# The share of its own variation by which an early layer differs when half of `Likeness` is felt.
_UNLIKE = 0.02
# How torch says that memory is short where it has no class for it.
_SHORT = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)


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
class Scene:
    """What is looked at in one step.

    Attributes:
        base: the photo at the octave's size, `(1, 3, H, W)` in 0..1.
        read: shows parts of the canvas.
        placement: where the view is.
        cut: decides where the view is cut into tiles: seed, octave and step.
    """

    base: Tensor
    read: Read
    placement: Placement
    cut: tuple[int, int, int]


class Sight:
    """How a canvas and the pictures beside it are seen in one octave.

    Args:
        network: see `dreamer.core.ascent.dream`.
        photos: those of caricatures, of the canvas' size.
        banks: of the guides.
        tiling: how views are cut into tiles; None never does. It becomes another one when the
            memory is short.
    """

    def __init__(
        self,
        network: Network,
        photos: Photos,
        banks: Mapping[str, Banks],
        tiling: Tiling | None = None,
    ) -> None:
        self.network = network
        self.photos = photos
        self.banks = banks
        self.tiling = tiling

    @classmethod
    def of(
        cls,
        network: Network,
        goals: Sequence[Goal],
        size: tuple[int, int],
        photos: Photos,
        guides: Guides,
        tiling: Tiling | None = None,
    ) -> Sight:
        """Look at the guides at an octave's `(height, width)`."""
        terms = [term for goal in goals for term in goal.objective.terms]
        sight = cls(network, {}, {}, tiling)
        banks = {}
        for name, guide in guides.items():
            layers = {term.layer for term in terms if term.guide == name}
            fitted = guide.at(size)
            answers = sight.answers(fitted.pixels)
            banks[name] = {layer: guidance.bank(answers[layer], fitted.visible) for layer in layers}
        fitted_photos = {name: resample(each, size).clamp(0, 1) for name, each in photos.items()}
        return cls(network, fitted_photos, banks, sight.tiling)

    def answers(self, picture: Tensor) -> Activations:
        """Return what the network answers to a picture `(1, 3, H, W)` as it is; no gradients."""
        size = (picture.shape[2], picture.shape[3])

        def found() -> Activations:
            if self.whole(size):
                return self.network(picture)
            shown = ((tile, _part(picture, tile.seen)) for tile in self._tiles(size, (0, 0, 0)))
            return self._stitched(self.network, shown)

        with torch.no_grad():
            return self._relieved(size, found)

    def gradients(
        self, scene: Scene, goals: Sequence[Goal], likeness: Likeness | None = None
    ) -> tuple[float, list[Tensor]]:
        """Return the score, and the gradient of the canvas for each goal, in its part.

        Where the memory does not suffice the view is seen in smaller tiles, from then on.

        Args:
            scene: what is looked at.
            goals: what to maximise; `where` has the canvas' size.
            likeness: what of the photo is held.
        """
        size = scene.placement.size

        def found() -> tuple[float, list[Tensor], tuple[Tensor, float] | None]:
            if self.whole(size):
                return self._at_once(scene, goals, likeness)
            while True:
                score, slopes, back = self._in_tiles(scene, goals, likeness)
                right = acceleration.suffice(self.network, score, slopes)
                if likeness is not None and back is not None:
                    right &= acceleration.suffice(likeness.network, back[1], [back[0]])
                if right:
                    return score, slopes, back

        score, slopes, back = self._relieved(size, found)
        slopes = _in_parts(slopes, goals)
        if likeness is not None and back is not None:
            _hold(slopes, *back, likeness.amount)
        return score, slopes

    def norms(self, scene: Scene, goal: Goal) -> list[float]:
        """Return the strength of the gradient of each of a goal's terms, in its part."""
        return answered(self.asking_norms(scene, goal))

    def asking_norms(self, scene: Scene, goal: Goal) -> Generator[Question, None, list[float]]:
        """Do as `norms`, but ask for each gradient."""
        found = []
        for term in goal.objective.terms:
            single = replace(goal, objective=Objective((replace(term, weight=1.0),)))
            question = Question(self, scene, [single])
            yield question
            found.append(gradients.rms(question.taken()[1][0]).item())
        return found

    def whole(self, size: tuple[int, int]) -> bool:
        """Whether a view of `(height, width)` is seen whole, not in tiles."""
        return self.tiling is None or self.tiling.whole(size)

    def _at_once(
        self, scene: Scene, goals: Sequence[Goal], likeness: Likeness | None
    ) -> tuple[float, list[Tensor], tuple[Tensor, float] | None]:
        """Return the score, the gradient for each goal, and the likeness' with its distance."""
        look = scene.placement.look(scene.read((0, 0, *scene.placement.canvas)))
        references = self._references(look.show)
        if isinstance(self.network, Accelerated):
            return _accelerated(self.network, look, references, scene, goals, likeness)
        activations = self.network(look.pixels)
        score, slopes = 0.0, []
        for index, goal in enumerate(goals):
            value = goal.objective(activations, look.locate, references)
            again = likeness is not None or index < len(goals) - 1
            slopes.append(look.gradient(value, again=again))
            score += value.item()
        if likeness is None:
            return score, slopes, None
        with torch.no_grad():
            wanted = likeness.network(look.show(scene.base))
        spread = {name: values.var(correction=0) for name, values in wanted.items()}
        apart = _apart(likeness.network(look.pixels), wanted, spread)
        return score, slopes, (look.gradient(-apart), apart.item())

    def _in_tiles(
        self, scene: Scene, goals: Sequence[Goal], likeness: Likeness | None
    ) -> tuple[float, list[Tensor], tuple[Tensor, float] | None]:
        """Do the same tile by tile."""
        parts = self._tiles(scene.placement.size, scene.cut)
        goals, pulls, score = self._looked_over(scene, goals, parts)
        slopes = [bands.zeros(scene.base) for _ in goals]
        for tile in parts:
            score += self._add(scene, tile, goals, pulls, slopes)
        if likeness is None:
            return score, slopes, None
        with torch.no_grad():
            shown = (
                (tile, glimpse.show(_part(scene.base, glimpse.source)))
                for tile, glimpse in _glimpses(scene, parts)
            )
            maps = self._stitched(likeness.network, shown)
            spread = {name: values.var(correction=0) for name, values in maps.items()}
            del maps
        back, apart = bands.zeros(scene.base), 0.0
        for tile in parts:
            apart += self._add_likeness(scene, tile, likeness, spread, back)
        return score, slopes, (back, apart)

    def _looked_over(
        self, scene: Scene, goals: Sequence[Goal], parts: Sequence[Tile]
    ) -> tuple[Sequence[Goal], _Pulls, float]:
        """Look at all tiles for what is of them together.

        Returns:
            The goals with their channels picked, where to pull what is compared of a guide, by goal
            and term, and the score of that.
        """
        terms = [(i, j, t) for i, g in enumerate(goals) for j, t in enumerate(g.objective.terms)]
        layers = {t.layer for _, _, t in terms if t.pick is not None or self._compared(t)}
        if not layers:
            return goals, {}, 0.0
        with torch.no_grad():
            shown = (
                (tile, glimpse.show(scene.read(glimpse.source)))
                for tile, glimpse in _glimpses(scene, parts)
            )
            maps = self._stitched(self.network, shown, layers)
        pulls, score = {}, 0.0
        for i, j, term in terms:
            if term.guide is not None and self._compared(term):
                bank = self.banks[term.guide][term.layer]
                found = guidance.summary(maps[term.layer], bank, term.by).requires_grad_()
                near = guidance.nearness(found, bank, term.by).sum()
                (pulls[i, j],) = torch.autograd.grad(near, found)
                score += term.weight * near.item()
        picked = [replace(g, objective=g.objective.picked(maps, anew=True)) for g in goals]
        return picked, pulls, score

    def _compared(self, term: Term) -> bool:
        """Whether a term compares the means of all places with a guide's."""
        return term.guide is not None and term.by != "best" and self._stride(term.layer) > 0

    def _add(
        self,
        scene: Scene,
        tile: Tile,
        goals: Sequence[Goal],
        pulls: _Pulls,
        slopes: Sequence[Tensor],
    ) -> float:
        """Add what a tile does to the gradients; return what it does to the score."""
        glimpse = scene.placement.glimpse(tile.seen, scene.base)
        part = scene.read(glimpse.source)
        pixels = glimpse.show(part).detach().requires_grad_()
        references = self._references(lambda other: glimpse.show(_part(other, glimpse.source)))
        activations = self.network(pixels)
        score, values = 0.0, list[tuple[int, Tensor, bool]]()
        for index, goal in enumerate(goals):
            worth = _Worth(tile, activations, references)
            for number, term in enumerate(goal.objective.terms):
                pull = pulls.get((index, number))
                worth.add(term, self._stride(term.layer), scene.placement.locate, pull)
            score += worth.score
            values += [(index, value, kept) for value, kept in worth.values()]
        del activations, references
        found: dict[int, Tensor] = {}
        for number, (index, value, kept) in enumerate(values):
            again = number < len(values) - 1
            slope = acceleration.slope(self.network, value, pixels, again=again)
            if slope is None:
                continue
            if kept:
                inside = torch.zeros_like(slope)
                inside[:, :, *tile.inner] = slope[:, :, *tile.inner]
                slope = inside
            found[index] = found[index] + slope if index in found else slope
        del values, worth
        for index, slope in found.items():
            glimpse.add(slope, part, slopes[index])
        return score

    def _add_likeness(
        self,
        scene: Scene,
        tile: Tile,
        likeness: Likeness,
        spread: Mapping[str, Tensor],
        back: Tensor,
    ) -> float:
        """Add what pulls a tile back to the photo; return what it is apart from it."""
        glimpse = scene.placement.glimpse(tile.seen, scene.base)
        part = scene.read(glimpse.source)
        pixels = glimpse.show(part).detach().requires_grad_()
        with torch.no_grad():
            wanted = likeness.network(glimpse.show(_part(scene.base, glimpse.source)))
        inner, shares = {}, {}
        found = likeness.network(pixels)
        for name, values in found.items():
            places = tile.places((values.shape[2], values.shape[3]), self._stride(name))
            inner[name] = values[:, :, *places.inner], wanted[name][:, :, *places.inner]
            shares[name] = places.share
        apart = torch.stack(
            [
                share * _distance(*inner[name], spread[name])
                for name, share in shares.items()
                if share > 0
            ]
            or [pixels.new_zeros((), requires_grad=True)]
        ).sum() / len(shares)
        slope = acceleration.slope(likeness.network, -apart, pixels)
        if slope is not None:
            glimpse.add(slope, part, back)
        return apart.item()

    def _references(self, show: Callable[[Tensor], Tensor]) -> References:
        """Return what the network answers to photos that are seen as `show` has it."""
        with torch.no_grad():
            seen = {name: self.network(show(each)) for name, each in self.photos.items()}
        return {**seen, **self.banks}

    def _stitched(
        self,
        network: Network,
        shown: Iterable[tuple[Tile, Tensor]],
        layers: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """Put the maps of tiles together, `(1, C, h, w)` by layer; the mean of those of 1 place."""
        maps: dict[str, Tensor] = {}
        for tile, pixels in shown:
            for name, values in network(pixels).items():
                if layers is not None and name not in layers:
                    continue
                stride = self._stride(name)
                if stride == 0:
                    core = values * tile.core_share
                    maps[name] = maps[name] + core if name in maps else core
                    continue
                places = tile.places((values.shape[2], values.shape[3]), stride)
                if name not in maps:
                    maps[name] = values.new_zeros((*values.shape[:2], *places.whole))
                (top, left), (height, width) = places.first, places.shape
                part = maps[name][:, :, top : top + height, left : left + width]
                part.copy_(values[:, :, *places.inner])
        return maps

    def _stride(self, layer: str) -> int:
        assert self.tiling is not None
        return self.tiling.strides[layer]

    def _tiles(self, size: tuple[int, int], cut: tuple[int, int, int]) -> list[Tile]:
        assert self.tiling is not None
        return list(self.tiling.tiles(size, tiles.generator(*cut)))

    def _relieved(self, size: tuple[int, int], compute: Callable[[], _Found]) -> _Found:
        """Compute in ever smaller tiles while the memory is too short."""
        while True:
            try:
                return compute()
            except (MemoryError, RuntimeError) as error:
                smaller = None
                if is_short(error) and self.tiling is not None:
                    smaller = self.tiling.smaller(size)
                # What is kept to be replayed is given up first.
                relieved = is_short(error) and acceleration.relieve(self.network)
                if smaller is None and not relieved:
                    raise
            # Only here, where the error holds on no longer to what was computed.
            if not relieved:
                self.tiling = smaller


class Question:
    """What an ascent has to know to go on: it asks, and whoever runs it looks and answers.

    Args:
        sight: how the canvas is seen.
        scene: what is looked at.
        goals: what to maximise; `where` has the canvas' size.
        likeness: what of the photo is held.
    """

    def __init__(
        self, sight: Sight, scene: Scene, goals: Sequence[Goal], likeness: Likeness | None = None
    ) -> None:
        self.sight = sight
        self.scene = scene
        self.goals = goals
        self.likeness = likeness
        self._answer: tuple[float, list[Tensor]] | None = None

    @property
    def simple(self) -> bool:
        """Whether one pass forward and one backward answer it, without any other picture."""
        return (
            self.likeness is None
            and len(self.goals) == 1
            and not self.sight.photos
            and not isinstance(self.sight.network, Accelerated)
            and self.sight.whole(self.scene.placement.size)
        )

    def look(self) -> None:
        """Answer it by itself, as `Sight.gradients` does."""
        self._answer = self.sight.gradients(self.scene, self.goals, self.likeness)

    def answer(self, score: float, slopes: list[Tensor]) -> None:
        """Answer it.

        Args:
            score: see `Sight.gradients`.
            slopes: the whole gradient of the canvas for each goal, `(1, 3, H, W)`; written over.
        """
        self._answer = score, _in_parts(slopes, self.goals)

    def taken(self) -> tuple[float, list[Tensor]]:
        """Return the answer, once: it is not kept here as well."""
        assert self._answer is not None
        found, self._answer = self._answer, None
        return found


def answered(asking: Generator[Question, None, _Found]) -> _Found:
    """Run what asks, answering each question by itself, and return what it comes to."""
    while True:
        try:
            question = next(asking)
        except StopIteration as end:
            found: _Found = end.value
            return found
        question.look()


_Pulls = Mapping[tuple[int, int], Tensor]
"""Of terms that compare means: what a change of the means is worth, by goal and term."""


class _Worth:
    """What the activations of a tile are worth to a goal.

    Args:
        tile: which.
        activations: of all that is seen of it.
        references: see `Term.each`, as much of them.
    """

    def __init__(self, tile: Tile, activations: Activations, references: References) -> None:
        self.tile = tile
        self.activations = activations
        self.references = references
        self.score = 0.0
        self._of_places = list[Tensor]()
        self._of_all = list[Tensor]()

    def add(self, term: Term, stride: int, locate: Locate, pull: Tensor | None) -> None:
        """Add a term's share.

        Args:
            term: which.
            stride: of its layer, px; 0 if that has no places.
            locate: where a place of the canvas is in the whole view.
            pull: of a term that compares means: see `_Pulls`.
        """
        values = self.activations[term.layer]
        if stride == 0:
            found = term.weight * term.measure(self.activations, locate, self.references)
            # Of each pixel it is the less the larger the tile: with this it is as much everywhere.
            self._of_all.append(found * self.tile.share)
            self.score += found.item() * self.tile.core_share
            return
        places = self.tile.places((values.shape[2], values.shape[3]), stride)
        share, here = places.share, (0.5, 0.5)
        if term.at is not None:
            y, x = locate(*term.at)
            there = places.within(float(y), float(x))
            if there is None:
                return
            share, here = 1.0, there
        if share == 0:
            return

        def inner(maps: Tensor) -> Tensor:
            return maps[:, :, *places.inner]

        if pull is not None and term.guide is not None:
            bank = self.references[term.guide][term.layer]
            assert isinstance(bank, Bank)
            near = (guidance.summary(inner(values), bank, term.by) * pull).sum()
            self._of_places.append(term.weight * share * near)
            return
        seen = {
            name: {
                layer: maps if isinstance(maps, Bank) else inner(maps)
                for layer, maps in answers.items()
                if layer == term.layer
            }
            for name, answers in self.references.items()
        }
        found = term.measure({term.layer: inner(values)}, lambda *_: here, seen)
        self._of_places.append(term.weight * share * found)
        self.score += self._of_places[-1].item()

    def values(self) -> Iterator[tuple[Tensor, bool]]:
        """Yield what to take the gradient of, and whether that is kept in the core."""
        for values, kept in ((self._of_places, False), (self._of_all, True)):
            if values:
                yield torch.stack(values).sum(), kept


def _accelerated(
    network: Accelerated,
    look: Look,
    references: References,
    scene: Scene,
    goals: Sequence[Goal],
    likeness: Likeness | None,
) -> tuple[float, list[Tensor], tuple[Tensor, float] | None]:
    """Do the same as `Sight._at_once`, with a network that has its own way to gradients."""
    pixels = look.pixels.detach()
    objectives = [goal.objective for goal in goals]
    scores, slopes = network.objectives(pixels, objectives, look.locate, references)
    score, slopes = sum(scores), [look.back(slope) for slope in slopes]
    if likeness is None:
        return score, slopes, None
    assert isinstance(likeness.network, Accelerated)
    with torch.no_grad():
        wanted = likeness.network(look.show(scene.base))
    names = list(wanted)

    def measure(activations: Activations, given: Sequence[Tensor]) -> list[Tensor]:
        known = dict(zip(names, given, strict=True))
        spread = {name: values.var(correction=0) for name, values in known.items()}
        return [-_apart(activations, known, spread)]

    (near,), (back,) = likeness.network.slopes(pixels, measure, [*wanted.values()], "likeness")
    return score, slopes, (look.back(back), -near)


def is_short(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory."""
    short = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return short or any(said in str(error) for said in _SHORT)


def _glimpses(scene: Scene, parts: Sequence[Tile]) -> Iterator[tuple[Tile, Glimpse]]:
    for tile in parts:
        yield tile, scene.placement.glimpse(tile.seen, scene.base)


def _in_parts(slopes: Sequence[Tensor], goals: Sequence[Goal]) -> list[Tensor]:
    """Return each gradient in its goal's part; written over."""
    return [
        slope if goal.where is None else slope.mul_(goal.where)
        for slope, goal in zip(slopes, goals, strict=True)
    ]


def _part(picture: Tensor, box: Box) -> Tensor:
    top, left, bottom, right = box
    return picture[:, :, top:bottom, left:right]


def _apart(found: Activations, wanted: Activations, spread: Mapping[str, Tensor]) -> Tensor:
    """Return how far layers are from what they answer to the photo, each by its own spread."""
    distances = [_distance(values, wanted[name], spread[name]) for name, values in found.items()]
    return torch.stack(distances).mean()


def _distance(values: Tensor, wanted: Tensor, spread: Tensor) -> Tensor:
    return (values - wanted).square().mean() / spread.add(1e-12)


def _hold(slopes: Sequence[Tensor], back: Tensor, apart: float, amount: float) -> None:
    """Add to gradients, in place, what pulls back towards the photo, in an early layer."""
    if gradients.is_zero(back):
        return
    # What differs little is pulled little: the gradient of a distance has no measure of its own.
    felt = amount * math.sqrt(apart / (apart + _UNLIKE))
    length = gradients.rms(back)
    pull = back.mul_(felt).div_(length)
    for slope in slopes:
        if not gradients.is_zero(slope):
            slope.div_(gradients.rms(slope)).add_(pull)
