"""What a picture needs: memory and time, before it is made."""

from __future__ import annotations

import heapq
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dreamer.errors import DeviceError
from dreamer.networks import weights
from dreamer.recipe import Origin
from dreamer.render import memory
from dreamer.render.batch.journal import Record
from dreamer.render.batch.plan import Todo, Verdict
from dreamer.render.look import Look

START = 3.0  # seconds until the workers are there


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
            need = memory.needed(verdict.recipe, verdict.own)
            expected.append(Expected(verdict, seconds, need))
        else:
            expected.append(Expected(verdict, 0.0, 0))
    count = max(1, min(workers(len(todo)), len(todo)))
    largest = sorted((each.memory for each in expected), reverse=True)[:count]
    together = min(sum(largest), max(memory.free(), largest[0] if largest else 0))
    known = [each.seconds for each in expected if each.seconds is not None]
    seconds = START + _makespan(known, count) if todo else 0.0
    whole = seconds if len(known) == len(expected) else None
    return Estimate(tuple(expected), count, whole, together)


def _makespan(seconds: Sequence[float], workers: int) -> float:
    """Return how long it takes when each worker takes the next picture once it is done."""
    busy = [0.0] * workers
    for each in seconds:
        heapq.heapreplace(busy, busy[0] + each)
    return max(busy)


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
    """Measure how long a pixel of a step takes on a small picture; None if it cannot be made."""
    from dreamer.render import still

    published, checkpoint = weights.choose(look.row, look.chosen)
    if checkpoint is None and weights.locate(published) is None:
        return None
    try:
        look = look.placed()
    except DeviceError:  # it is a cluster's
        return None
    network = look.load_network()
    side = published.window or max(512, look.row.minimum)
    recipe = look.recipe(Origin(start="noise"), (side, side))
    still.dream(recipe, None, network)  # the first one prepares what later ones find ready
    began = time.perf_counter()
    still.dream(recipe, None, network)
    return (time.perf_counter() - began) / max(1, recipe.work)
