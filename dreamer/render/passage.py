"""A film from one feature visualization to the next, on a shared base."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dreamer.core import visualization
from dreamer.errors import NetworkError, UsageError
from dreamer.film.visual import MOST_KEYS, PassageRecipe
from dreamer.networks.network import Network
from dreamer.render import devices, film_job, steering, visual_job, visualize
from dreamer.render.film_job import Delivery, Film, OnProgress, Progress, Stop
from dreamer.render.visual_job import VisualRequest
from dreamer.render.zoom import levels

KEYS = 6
"""Sets of parameters from one station to the next: what lies between them is a mix of two."""
BATCH = 8
"""Pictures that are looked at a step."""
SHOWN = 4
"""Frames that are computed at once."""


class Frames:
    """The frames of a film: see `dreamer.render.film_job.Pictures`.

    All of them follow from one run, so nothing is kept of one that was interrupted.

    Args:
        recipe: the film's.
        network: loaded.
    """

    def __init__(self, recipe: PassageRecipe, network: Network) -> None:
        self.recipe = recipe
        self.network = network
        self._show: Callable[[Sequence[float]], Tensor] | None = None

    def kept(self) -> int:
        """Return how many runs are there: none."""
        return 0

    def dream(
        self, first: int, *, on_progress: OnProgress | None = None, stop: Stop | None = None
    ) -> Iterator[int]:
        """Find the pictures, see `Pictures.dream`; all frames are one of them."""
        recipe = self.recipe
        station = recipe.stations[0]
        goals = [steering.objective(each, self.network.row) for each in recipe.stations]
        layers = list(dict.fromkeys(name for goal in goals for name in goal.layers))
        width, height = recipe.size
        with (
            devices.threads(station.threads),
            devices.memory_guard(f"{BATCH} pictures of {width}x{height} pixels"),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            for step in visualization.passage(
                self.network.features(layers),
                goals,
                visualize.plan(station, self.network.device),
                station.seed,
                keys=recipe.keys,
                closed=recipe.loop,
                batch=BATCH,
                photos=visualize.references(recipe.stations, self.network.device),
            ):
                self._show = step.frames
                if on_progress is not None:
                    on_progress(Progress(0, 1, step.step, step.of))
                if stop is not None and step.step < step.of and stop():
                    return
        if not bool(self._shown([0.0]).isfinite().all()):
            raise NetworkError(
                f"{station.network} answers with values that are not numbers.",
                "Check its weights with `dreamer networks verify`.",
            )
        yield 0

    def ready(self, kept: int) -> int:
        """Return how many frames can be shown: all or none."""
        return self.recipe.frames if kept else 0

    def frames(self, first: int, last: int) -> Iterator[bytes]:
        """Yield the frames from `first` to before `last` as RGB bytes, rows from the top."""
        places = self.recipe.places
        for start in range(first, last, SHOWN):
            pictures = self._shown(places[start : min(start + SHOWN, last)])
            for picture in pictures.cpu():
                yield levels(picture[None])

    def _shown(self, places: Sequence[float]) -> Tensor:
        assert self._show is not None
        return self._show(places)


def prepare(
    request: VisualRequest, delivery: Delivery, *, seconds: float, fps: float, loop: bool
) -> Film:
    """Resolve and check a film.

    Args:
        request: its targets are the stations, in their order.
        delivery: where it goes.
        seconds: from each station to the next.
        fps: frames a second.
        loop: whether it goes on from the last to the first.

    Raises:
        UsageError: fewer than two targets, or what `visual_job.prepare` or the format refuses.
        OutputError: the film exists with another recipe, or cannot be written.
        DreamerError: as `visual_job.prepare`.
    """
    if request.recipe is not None:
        raise UsageError(
            "A film is not made from a picture's recipe.", "Name its targets instead of --from."
        )
    if len(request.targets) < 2:
        raise UsageError("A film needs at least two targets.", "Name where it goes to as well.")
    for name, value, most in (("--seconds", seconds, 600.0), ("--fps", fps, 240.0)):
        if not 0 < value <= most:
            raise UsageError(f"{value:g} is not valid for {name}.", f"Give up to {most:g}.")
    if (request.diversity or 1) > 1 or (request.restarts or 1) > 1:
        raise UsageError(
            "A film has one picture of each target, from one start.",
            "Leave out --diversity and --restarts.",
        )
    if request.settings.get("alpha") or (request.settings.get("octaves") or 1) != 1:
        raise UsageError("A film is opaque, and of one size.", "Leave out --alpha and --octaves.")
    job = visual_job.prepare(request)
    # The pictures of a step are one batch, which all processors work on.
    threads = job.look.threads
    stations = tuple(each.model_copy(update={"threads": threads}) for each in job.recipes)
    parts = len(stations) - (0 if loop else 1)
    recipe = PassageRecipe(
        stations=stations,
        size=stations[0].size,
        fps=fps,
        frames=max(2, round(parts * seconds * fps)),
        loop=loop,
        keys=min(MOST_KEYS, parts * KEYS + (0 if loop else 1)),
        encoding=delivery.encoding(),
    )
    delivery, kept, notes = film_job.check(delivery, recipe, fps)

    def opened(folder: Path, network: Network) -> Frames:
        return Frames(recipe, network)

    work = stations[0].work * BATCH
    return Film(
        delivery=delivery,
        recipe=recipe,
        look=job.look,
        fps=fps,
        pace=None,
        open=opened,
        pictures=1,
        works=lambda: [work],
        picture="pictures",
        kept=kept,
        notes=job.notes + notes,
    )
