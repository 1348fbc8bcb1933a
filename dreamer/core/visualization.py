"""Feature visualization: pictures from nothing of what units look for, several at once.

Olah et al., "Feature Visualization" (Distill 2017). The pictures of a batch share the views of
each step and nothing else, so a picture does not depend on what is made beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dreamer.core import gradients, views
from dreamer.core.ascent import Network, generator
from dreamer.core.objectives import Activations, Objective, References, Term
from dreamer.core.parametrisation import Parametrisation
from dreamer.core.redirect import redirected
from dreamer.core.resampling import resample
from dreamer.core.transforms import Locate
from dreamer.core.views import Frames, Views

Optimiser = Literal["adam", "nadam"]
Start = Callable[[tuple[int, int], Sequence[torch.Generator]], Parametrisation]

AGAIN = 32
"""After so many steps the strengths of terms are compared again."""
TOGETHER = 270_000
"""Pixels of views that the network is shown at once: more do not fit into a processor's caches."""


@dataclass(frozen=True)
class Plan:
    """Every number of a run but what is looked for.

    Attributes:
        sizes: height and width of the pictures, px; several for octaves, coarse to fine.
        steps: how many steps each of them takes.
        start: begins the pictures, from one generator each.
        optimiser: by which rule the parameters move.
        rate: its learning rate.
        decay: the share of it that is gone by an octave's last step, 0..1.
        views: what the network is shown.
        redirect: for how many steps dead units are reached through their rectifiers.
        diversity: how strongly the pictures of a group avoid each other's textures, 0 for not.
        group: how many pictures in turn are of one group.
    """

    sizes: tuple[tuple[int, int], ...]
    steps: tuple[int, ...]
    start: Start
    optimiser: Optimiser
    rate: float
    views: Views
    decay: float = 0.0
    redirect: int = 16
    diversity: float = 0.0
    group: int = 1


@dataclass(frozen=True)
class Step:
    """What is known after a step.

    Attributes:
        step: how many are done.
        of: how many there are.
        scores: what each picture's objective was worth before it, `(N,)`.
        moved: whether each picture's parameters had a gradient, `(N,)`.
        pictures: shows them as they are, `(N, 3, H, W)` in 0..1.
        influence: how much each pixel has mattered so far, `(N, H, W)`, of any scale.
    """

    step: int
    of: int
    scores: Tensor
    moved: Tensor
    pictures: Callable[[], Tensor]
    influence: Tensor


def visualize(
    network: Network,
    objectives: Sequence[Objective],
    plan: Plan,
    seeds: Sequence[int],
    *,
    photos: Mapping[str, Tensor] | None = None,
) -> Iterator[Step]:
    """Make a picture an objective, all in one batch, one step an iteration.

    Args:
        network: maps `(N, 3, h, w)` in 0..1 to the activations of all objectives' layers.
        objectives: what each picture maximises. A sum's terms are brought to the same gradient
            strength before their weights count.
        plan: the numbers.
        seeds: what each picture starts from; the views are those of the first seed.
        photos: the pictures `(1, 3, H, W)` in 0..1 that caricatures are of, by name.

    Yields:
        A `Step` after each step.
    """
    run = _Run(network, plan, photos or {})
    canvas = plan.start(plan.sizes[0], [generator(seed, -2) for seed in seeds])
    done, whole = 0, sum(plan.steps)
    influence = torch.zeros(len(objectives), *plan.sizes[0])
    for octave, (size, steps) in enumerate(zip(plan.sizes, plan.steps, strict=True)):
        if octave > 0:
            canvas = canvas.enlarged(size)
            influence = resample(influence[:, None], size)[:, 0]
        random = generator(seeds[0], octave)
        optimiser = _optimiser(canvas, plan)
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = plan.rate * (1 - plan.decay * step / max(1, steps - 1))
            frames = plan.views.draw(size, done / max(1, whole - 1), random)
            scores, gradient, seen = run.step(
                canvas.show(), canvas.parameters, objectives, frames, random, done
            )
            canvas.parameters.grad = gradient
            optimiser.step()
            influence = influence + seen.abs().sum(1).cpu()
            done += 1
            moved = gradient.detach().flatten(1).any(1).cpu()
            yield Step(done, whole, scores, moved, functools.partial(_shown, canvas), influence)


@dataclass(frozen=True)
class Passage:
    """Pictures on the way from one objective to another, all on a shared base.

    Attributes:
        step: how many steps are done.
        of: how many there are.
        frames: shows pictures at some shares 0..1 of the way, `(M, 3, H, W)` in 0..1.
    """

    step: int
    of: int
    frames: Callable[[Sequence[float]], Tensor]


def passage(
    network: Network,
    stations: Sequence[Objective],
    plan: Plan,
    seed: int,
    *,
    keys: int,
    closed: bool = False,
    batch: int = 8,
    photos: Mapping[str, Tensor] | None = None,
) -> Iterator[Passage]:
    """Find pictures for every place on the way from one objective to the next.

    There are `keys` sets of parameters along the way, that all begin as the same picture. Each step
    looks at pictures at random places between them, each of which maximises what lies at its own
    place: a mix of the objectives beside it. What is between two keys is so itself a picture of
    what it stands for, and neighbours stay alike.

    Args:
        network: see `visualize`.
        stations: at least two objectives.
        plan: the numbers.
        seed: decides all that is random.
        keys: sets of parameters, at least 2.
        closed: whether the way leads on from the last station to the first.
        batch: pictures looked at a step.
        photos: see `visualize`.

    Yields:
        A `Passage` after each step.
    """
    stations = [*stations, stations[0]] if closed else list(stations)
    run = _Run(network, plan, photos or {}, mixed=True)
    size, steps = plan.sizes[-1], sum(plan.steps)
    canvas = plan.start(size, [generator(seed, -2) for _ in range(keys)])
    random = generator(seed, 0)
    optimiser = _optimiser(canvas, plan)
    batch = min(batch, keys)
    for step in range(steps):
        offset = torch.rand(batch, generator=random, dtype=torch.float64)
        # One in each equal part of the way, the ends now and then as they are.
        places = ((torch.arange(batch) + offset) / batch * 1.04 - 0.02).clamp(0, 1)
        frames = plan.views.draw(size, step / max(1, steps - 1), random)
        pictures = canvas.show(_at(canvas, places, closed))
        mixed = [_mixed(stations, place) for place in places.tolist()]
        _, gradient, _ = run.step(pictures, canvas.parameters, mixed, frames, random, step)
        canvas.parameters.grad = gradient
        optimiser.step()

        def shown(shares: Sequence[float]) -> Tensor:
            with torch.no_grad():
                return canvas.show(_at(canvas, torch.tensor(shares, dtype=torch.float64), closed))

        yield Passage(step + 1, steps, shown)


def _mixed(stations: Sequence[Objective], place: float) -> Objective:
    """Return the mix of the two objectives that a place 0..1 of the way lies between."""
    along = place * (len(stations) - 1)
    first = min(int(along), len(stations) - 2)
    share = along - first
    return (1 - share) * stations[first] + share * stations[first + 1]


def _at(canvas: Parametrisation, places: Tensor, closed: bool) -> Tensor:
    """Return parameters at places 0..1 of the way through those of the canvas."""
    count = len(canvas.parameters)
    along = places * (count if closed else count - 1)
    first = along.long().clamp(max=count - (1 if closed else 2))
    share = (along - first).to(canvas.parameters.device, torch.float32)
    following = canvas.parameters[(first + 1) % count]
    return canvas.between(canvas.parameters[first], following, share)


class _Run:
    """What the steps of a run share: the network, the objectives and their terms' strengths.

    Args:
        network: see `visualize`.
        plan: the numbers.
        photos: see `visualize`.
        mixed: whether the objectives of a step are mixes of the same terms, not a picture's own.
    """

    def __init__(
        self, network: Network, plan: Plan, photos: Mapping[str, Tensor], *, mixed: bool = False
    ) -> None:
        self._network = network
        self._plan = plan
        self._photos = photos
        self._mixed = mixed
        self._strengths: dict[tuple[int, Term], float] = {}
        self._apart = torch.zeros(1)

    def step(
        self,
        pictures: Tensor,
        parameters: Tensor,
        objectives: Sequence[Objective],
        frames: Frames,
        random: torch.Generator,
        done: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return each picture's score, and the loss's gradients of the parameters and the pixels.

        Args:
            pictures: `(N, 3, H, W)`, which depend on the parameters.
            parameters: of any shape.
            objectives: what each picture maximises.
            frames: what the network is shown.
            random: for noise.
            done: how many steps are over.
        """
        seen = views.look(pictures, frames, random)
        references = self._references(pictures, frames)
        locate = functools.partial(views.place, frames, (pictures.shape[2], pictures.shape[3]))
        if done % AGAIN == 0:
            self._compare(objectives, seen, locate, references)
        scores, slope = self._slope(objectives, seen, locate, references)
        if done < self._plan.redirect:
            count = len(frames.maps)
            dead = ~slope.flatten(1).any(1).view(-1, count).any(1)
            if bool(dead.any()):
                with redirected():
                    _, other = self._slope(objectives, seen, locate, references)
                # A picture that lives is the same whatever is beside it.
                dead = dead.repeat_interleave(count).view(-1, 1, 1, 1)
                slope = torch.where(dead, other, slope)
        gradient, pixels = torch.autograd.grad(seen, [parameters, pictures], slope)
        return scores, gradient, pixels.detach()

    def _slope(
        self,
        objectives: Sequence[Objective],
        seen: Tensor,
        locate: Locate,
        references: References,
    ) -> tuple[Tensor, Tensor]:
        """Return each picture's score, and the gradient of the loss of what is `seen`.

        Many views of one picture are shown to the network one part after the other, which takes
        less memory and no more time.
        """
        count = len(seen) // len(objectives)
        together = self._plan.diversity > 0 and self._plan.group > 1
        most = max(1, TOGETHER // (seen.shape[2] * seen.shape[3]))
        if len(objectives) > 1 or together or count <= most:
            return self._part(objectives, seen, locate, references, count)
        scores, slopes = torch.zeros(1), []
        for first in range(0, count, most):
            part = slice(first, min(first + most, count))
            share = (part.stop - first) / count
            score, slope = self._part(
                objectives,
                seen[part],
                functools.partial(_some, locate, part),
                {
                    name: {
                        layer: values[part] if isinstance(values, Tensor) else values
                        for layer, values in answers.items()
                    }
                    for name, answers in references.items()
                },
                part.stop - first,
            )
            scores = scores + share * score
            slopes.append(share * slope)
        return scores, torch.cat(slopes)

    def _part(
        self,
        objectives: Sequence[Objective],
        seen: Tensor,
        locate: Locate,
        references: References,
        count: int,
    ) -> tuple[Tensor, Tensor]:
        leaf = seen.detach().requires_grad_()
        parts = _parts(self._network(leaf), count)
        values = [
            self._balanced(index, each)(part, locate, references)
            for index, (each, part) in enumerate(zip(objectives, parts, strict=True))
        ]
        scores = torch.stack(values)
        loss = -scores.sum()
        if self._plan.diversity and self._plan.group > 1:
            loss = loss + (self._apart.to(loss) * self._likeness(parts)).sum()
        (slope,) = torch.autograd.grad(loss, leaf)
        return scores.detach().cpu(), slope

    def _references(self, pictures: Tensor, frames: Frames) -> References:
        """Return what the network answers to the photos of caricatures in the same views."""
        found: dict[str, Activations] = {}
        with torch.no_grad():
            for name, photo in self._photos.items():
                fitted = resample(photo.to(pictures), (pictures.shape[2], pictures.shape[3]))
                found[name] = self._network(views.look(fitted, frames))
        return found

    def _key(self, index: int, term: Term) -> tuple[int, Term]:
        return (0 if self._mixed else index, replace(term, weight=1.0))

    def _balanced(self, index: int, objective: Objective) -> Objective:
        if len(objective.terms) == 1:
            return objective
        strengths = [self._strengths.get(self._key(index, term), 1.0) for term in objective.terms]
        return objective.scaled(tuple(strengths))

    def _compare(
        self,
        objectives: Sequence[Objective],
        seen: Tensor,
        locate: Locate,
        references: References,
    ) -> None:
        """Measure how strong the gradients of a sum's terms are, so that weights are shares."""
        group = self._plan.group if self._plan.diversity else 1
        if group == 1 and all(len(each.terms) == 1 for each in objectives):
            return
        leaf = seen.detach().requires_grad_()
        parts = _parts(self._network(leaf), len(seen) // len(objectives))
        for index, (objective, part) in enumerate(zip(objectives, parts, strict=True)):
            if len(objective.terms) == 1:
                continue
            norms: dict[tuple[int, Term], float] = {}
            for term in objective.terms:
                score = term.measure(part, locate, references)
                norms[self._key(index, term)] = gradients.rms(_gradient(score, leaf)).item()
            alive = [norm for norm in norms.values() if norm > 1e-9]
            usual = sum(alive) / len(alive) if alive else 1.0
            self._strengths |= {k: norm if norm > 1e-9 else usual for k, norm in norms.items()}
        if group > 1:
            values = [
                self._balanced(index, each)(part, locate, references)
                for index, (each, part) in enumerate(zip(objectives, parts, strict=True))
            ]
            own = _strengths(torch.stack(values).sum(), leaf, len(leaf) // len(parts) * group)
            other = _strengths(self._likeness(parts).sum(), leaf, len(leaf) // len(parts) * group)
            self._apart = self._plan.diversity * own / other

    def _likeness(self, parts: Sequence[Activations]) -> Tensor:
        """Return how alike the textures in each group are: summed cosines of Gram matrices.

        Of the deepest layer that has maps; all zeros if none has.
        """
        layers = [name for name, values in parts[0].items() if values.shape[2] > 1]
        group, totals = self._plan.group, []
        for first in range(0, len(parts), group):
            together = parts[first : first + group]
            if not layers:
                totals.append(next(iter(together[0].values())).sum() * 0)
                continue
            grams = torch.stack([_gram(part[layers[-1]]).flatten() for part in together])
            cosines = F.normalize(grams, dim=1)
            alike = cosines @ cosines.T
            totals.append(alike.sum() - alike.diagonal().sum())
        return torch.stack(totals)


def _parts(activations: Activations, count: int) -> list[dict[str, Tensor]]:
    """Divide activations of all views into those of each picture."""
    split = {name: torch.split(values, count) for name, values in activations.items()}
    return [dict(zip(split, each, strict=True)) for each in zip(*split.values(), strict=True)]


def _some(locate: Locate, part: slice, y: float, x: float) -> Tensor:
    """Return where a place is in some of the views."""
    return torch.as_tensor(locate(y, x))[part]


def _strengths(score: Tensor, leaf: Tensor, group: int) -> Tensor:
    """Return the root mean square of the gradient of each group's views."""
    parts = torch.split(_gradient(score, leaf), group)
    return torch.stack([gradients.rms(part) for part in parts])


def _gradient(score: Tensor, leaf: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(score, leaf, retain_graph=True)
    return gradient


def _gram(values: Tensor) -> Tensor:
    """Return the Gram matrix `(C, C)` of the channels of `(V, C, h, w)`."""
    flat = values.transpose(0, 1).flatten(1)
    return flat @ flat.T / flat.shape[1]


def _optimiser(canvas: Parametrisation, plan: Plan) -> torch.optim.Optimizer:
    if plan.optimiser == "adam":
        return torch.optim.Adam([canvas.parameters], lr=plan.rate)
    return torch.optim.NAdam([canvas.parameters], lr=plan.rate)


def _shown(canvas: Parametrisation) -> Tensor:
    with torch.no_grad():
        return canvas.show()
