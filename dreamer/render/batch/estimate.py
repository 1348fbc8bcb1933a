"""What a picture needs: memory and time, before it is made."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from dreamer.errors import DeviceError
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
START = 3.0  # seconds until the workers are there
DECODED = 32  # bytes that a pixel of a photo takes while it is read; measured at 96 megapixels
SHARE = 0.85  # of the memory that is free

_CGROUP = Path("/sys/fs/cgroup")
_LIMITS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)


def memory(recipe: Recipe, own: tuple[int, int] | None = None) -> int:
    """Return about how many bytes a worker takes to make a picture.

    Args:
        recipe: the picture's.
        own: the photo's own width and height, px: a large one takes much before it is small.
    """
    per_pixel = PER_PIXEL.get(recipe.network, PER_PIXEL_AT_MOST)
    decoded = DECODED * math.prod(own) if own is not None else 0
    return WORKER + max(decoded, math.prod(recipe.size) * per_pixel)


def free_memory() -> int:
    """Return how many bytes a batch may use: a share of what is free here, containers included."""
    free: int = psutil.virtual_memory().available
    for folder, names in itertools.product(_groups(), _LIMITS):
        with contextlib.suppress(OSError, ValueError):
            limit, used, told = ((folder / name).read_text() for name in names)
            # What is kept of files that were read counts as used, and is given up when needed.
            kept = max(map(int, re.findall(r"inactive_file (\d+)", told)), default=0)
            free = min(free, int(limit) - int(used) + kept)
    return round(max(free, 0) * SHARE)


def _groups() -> list[Path]:
    """Return the control groups that this process is in, the innermost first."""
    own = ""
    with contextlib.suppress(OSError):
        found = re.search(r"^0::/(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
        own = found[1] if found else ""
    inner = _CGROUP / own
    return [inner, *(each for each in inner.parents if each.is_relative_to(_CGROUP))]


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
            need = memory(verdict.recipe, verdict.own)
            expected.append(Expected(verdict, seconds, need))
        else:
            expected.append(Expected(verdict, 0.0, 0))
    count = max(1, min(workers(len(todo)), len(todo)))
    largest = sorted((each.memory for each in expected), reverse=True)[:count]
    together = min(sum(largest), max(free_memory(), largest[0] if largest else 0))
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
