"""Feature visualization: pictures from nothing of what units look for, several at once.

Olah et al., "Feature Visualization" (Distill 2017). The pictures of a batch share the views of
each step and nothing else, so a picture does not depend on what is made beside it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dreamer.core import gradients, views
from dreamer.core.ascent import Network, generator
from dreamer.core.objectives import Activations, Objective, References
from dreamer.core.parametrisation import Parametrisation
from dreamer.core.redirect import redirected
from dreamer.core.resampling import resample
from dreamer.core.transforms import Locate
from dreamer.core.views import Frames, Views

Optimiser = Literal["adam", "nadam"]
Start = Callable[[tuple[int, int], Sequence[torch.Generator]], Parametrisation]

AGAIN = 32
"""After so many steps the strengths of terms are compared again."""


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
    run = _Run(network, tuple(objectives), plan, photos or {})
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
                canvas.show(), canvas.parameters, frames, random, done
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
    run = _Run(network, tuple(stations), plan, photos or {})
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
        _, gradient, _ = run.step(pictures, canvas.parameters, frames, random, step, mixed)
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
    """What the steps of a run share: the network, the objectives and their terms' strengths."""

    def __init__(
        self,
        network: Network,
        objectives: tuple[Objective, ...],
        plan: Plan,
        photos: Mapping[str, Tensor],
    ) -> None:
        self._network = network
        self._objectives = objectives
        self._plan = plan
        self._photos = photos
        self._strengths: dict[str, float] = {}
        self._apart = torch.zeros(1)

    def step(
        self,
        pictures: Tensor,
        parameters: Tensor,
        frames: Frames,
        random: torch.Generator,
        done: int,
        objectives: Sequence[Objective] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return each picture's score, the loss's gradient of the parameters, and of the pixels."""
        wanted = self._objectives if objectives is None else objectives
        seen = views.look(pictures, frames, random)
        redirect = done < self._plan.redirect
        with redirected() if redirect else contextlib.nullcontext():
            activations = self._network(seen)
        references = self._references(pictures, frames)
        count = len(frames.maps)
        size = (pictures.shape[2], pictures.shape[3])
        locate = functools.partial(views.place, frames, size)
        parts = [
            {name: values[k * count : (k + 1) * count] for name, values in activations.items()}
            for k in range(len(wanted))
        ]
        if done % AGAIN == 0:
            self._compare(wanted, parts, pictures, locate, references)
        scores = torch.stack(
            [
                self._balanced(each)(part, locate, references)
                for each, part in zip(wanted, parts, strict=True)
            ]
        )
        loss = -scores.sum()
        if self._plan.diversity and self._plan.group > 1:
            likeness = self._likeness(parts)
            if done % AGAIN == 0:
                own = _strengths(loss, pictures, self._plan.group)
                other = _strengths(likeness.sum(), pictures, self._plan.group)
                self._apart = self._plan.diversity * own / other
            loss = loss + (self._apart * likeness).sum()
        gradient, pixels = torch.autograd.grad(loss, [parameters, pictures], allow_unused=False)
        return scores.detach().cpu(), gradient, pixels.detach()

    def _references(self, pictures: Tensor, frames: Frames) -> References:
        """Return what the network answers to the photos of caricatures in the same views."""
        found: dict[str, Activations] = {}
        with torch.no_grad():
            for name, photo in self._photos.items():
                fitted = resample(photo.to(pictures), (pictures.shape[2], pictures.shape[3]))
                found[name] = self._network(views.look(fitted, frames))
        return found

    def _balanced(self, objective: Objective) -> Objective:
        if len(objective.terms) == 1:
            return objective
        return objective.scaled(tuple(self._strengths.get(str(t), 1.0) for t in objective.terms))

    def _compare(
        self,
        wanted: Sequence[Objective],
        parts: Sequence[Activations],
        pictures: Tensor,
        locate: Locate,
        references: References,
    ) -> None:
        """Measure how strong the gradients of a sum's terms are, so that weights are shares.

        Once for each kind of term is enough: the first picture that has it stands for all.
        """
        norms: dict[str, float] = {}
        for objective, part in zip(wanted, parts, strict=True):
            if len(objective.terms) == 1:
                continue
            for term in objective.terms:
                if str(term) not in norms:
                    score = term.measure(part, locate, references)
                    norms[str(term)] = gradients.rms(_gradient(score, pictures)).item()
        alive = [norm for norm in norms.values() if norm > 1e-9]
        usual = sum(alive) / len(alive) if alive else 1.0
        self._strengths |= {k: norm if norm > 1e-9 else usual for k, norm in norms.items()}

    def _likeness(self, parts: Sequence[Activations]) -> Tensor:
        """Return how alike the textures in each group are: summed cosines of Gram matrices.

        Of the deepest layer that has maps; all zeros if none has.
        """
        layers = [name for name, values in parts[0].items() if values.shape[2] > 1]
        group, totals = self._plan.group, []
        for first in range(0, len(parts), group):
            together = parts[first : first + group]
            if not layers:
                totals.append(sum(next(iter(part.values())).sum() * 0 for part in together))
                continue
            grams = torch.stack([_gram(part[layers[-1]]).flatten() for part in together])
            cosines = F.normalize(grams, dim=1)
            alike = cosines @ cosines.T
            totals.append(alike.sum() - alike.diagonal().sum())
        return torch.stack([torch.as_tensor(total) for total in totals])


def _strengths(score: Tensor, pictures: Tensor, group: int) -> Tensor:
    """Return the root mean square of the gradient of each group's pictures."""
    parts = _gradient(score, pictures).split(group)
    return torch.stack([gradients.rms(part) for part in parts])


def _gradient(score: Tensor, pictures: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(score, pictures, retain_graph=True)
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
