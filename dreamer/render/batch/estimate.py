"""What a picture needs: memory and time, before it is made."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from dreamer.networks import weights
from dreamer.recipe import Origin, Recipe
from dreamer.render.batch.journal import Record
from dreamer.render.batch.plan import Todo, Verdict
from dreamer.render.look import Look

WORKER = 600_000_000
"""Bytes that a worker with a network takes before it has a picture."""

# Bytes that a pixel takes in the largest octave, measured at 512 to 1024 px with `parts` and
# `objects` as targets; and for networks that were not measured, the most of those that were.
PER_PIXEL = {
    "efficientnet_lite0": 950,
    "mobilenet_v3_large": 850,
    "googlenet": 1150,
    "inception_v3": 1250,
    "resnet50": 1200,
    "convnext_tiny": 2000,
    "vgg16": 2150,
    "vgg19": 2250,
    "densenet121": 2600,
}
PER_PIXEL_AT_MOST = 2600
SHARE = 0.85  # of the memory that is free

_LIMITS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)


def memory(recipe: Recipe) -> int:
    """Return about how many bytes a worker takes to make a picture."""
    width, height = recipe.size
    per_pixel = PER_PIXEL.get(recipe.network, PER_PIXEL_AT_MOST)
    return WORKER + width * height * per_pixel


def free_memory() -> int:
    """Return how many bytes a batch may use: a share of what is free here, containers included."""
    free: int = psutil.virtual_memory().available
    for limit, used in _LIMITS:
        with contextlib.suppress(OSError, ValueError):
            free = min(free, int(limit.read_text()) - int(used.read_text()))
    return round(max(free, 0) * SHARE)


@dataclass(frozen=True)
class Expected:
    """What is expected of an item.

    Attributes:
        verdict: what is to be done about it.
        seconds: of computing; None if that cannot be told, 0 if nothing is to be done.
        memory: bytes.
    """

    verdict: Verdict
    seconds: float | None
    memory: int


@dataclass(frozen=True)
class Estimate:
    """What is expected of a batch.

    Attributes:
        items: each for itself.
        workers: how many pictures are made at once.
        seconds: from start to end; None if that cannot be told.
        memory: bytes that the workers take at most, together.
    """

    items: tuple[Expected, ...]
    workers: int
    seconds: float | None
    memory: int


def estimate(
    verdicts: Sequence[Verdict],
    records: Mapping[str, Record],
    workers: Callable[[int], int],
) -> Estimate:
    """Estimate a batch, by what its journal says or else by a small picture that is made now.

    Args:
        verdicts: what is to be done about each item.
        records: the journal's.
        workers: how many pictures are made at once, given how many there are.
    """
    todo = [each for each in verdicts if isinstance(each, Todo)]
    rates: dict[str, float | None] = {}
    for each in todo:
        look = each.item.look
        if look.preset not in rates:
            rates[look.preset] = _known_rate(look, records) or _measured_rate(look)
    expected = []
    for verdict in verdicts:
        if isinstance(verdict, Todo):
            rate = rates[verdict.item.look.preset]
            seconds = None if rate is None else rate * verdict.recipe.work
            expected.append(Expected(verdict, seconds, memory(verdict.recipe)))
        else:
            expected.append(Expected(verdict, 0.0, 0))
    count = workers(len(todo))
    largest = sorted((each.memory for each in expected), reverse=True)[:count]
    whole: float | None = 0.0
    for item in expected:
        whole = None if whole is None or item.seconds is None else whole + item.seconds
    together = min(sum(largest), max(free_memory(), largest[0] if largest else 0))
    return Estimate(tuple(expected), count, None if whole is None else whole / count, together)


def _known_rate(look: Look, records: Mapping[str, Record]) -> float | None:
    """Return the seconds that a pixel of a step took in the journal, or None."""
    rates = [
        record.seconds / record.work
        for record in records.values()
        if record.status == "done" and record.preset == look.preset and record.work > 0
        if (record.facts or {}).get("network") == look.row.name and record.seconds > 0
    ]
    return statistics.median(rates) if rates else None


def _measured_rate(look: Look) -> float | None:
    """Measure how long a pixel of a step takes, on a small picture; None without the weights."""
    from dreamer.render import still

    published, checkpoint = weights.choose(look.row, look.chosen)
    if checkpoint is None and weights.locate(published) is None:
        return None
    network = look.load_network()
    side = published.window or max(256, look.row.minimum)
    recipe = look.recipe(Origin(start="noise"), (side, side))
    still.dream(recipe, None, network)  # the first one prepares what later ones find ready
    began = time.perf_counter()
    still.dream(recipe, None, network)
    return (time.perf_counter() - began) / max(1, recipe.work)
