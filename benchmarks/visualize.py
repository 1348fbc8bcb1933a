"""Feature visualization: the cost of a step, of many channels at once, and what the files show.

The peers' loops are `benchmarks.peers`; scores are of the saved 8-bit file, read again, over
held-out crops (`dreamer.core.judging`).
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

import dreamer
from benchmarks import peers, textbook
from benchmarks.rows import Row, count
from dreamer.core import judging
from dreamer.core.objectives import Objective, Term
from dreamer.media import images
from dreamer.networks.network import Network
from dreamer.render import visual_job, visualize
from dreamer.render.look import Request

NETWORK = "efficientnet_lite0"
SIZE, STEPS = 224, 256
LAYERS = {"block5": 80, "block8": 112, "block11": 192}  # and how many channels each has
TIMED_LAYER, TIMED_CHANNEL = "block8", 5
MANY, MANY_SIZE = 64, 128


def ours(
    network: Network,
    layer: str,
    channel: int,
    size: int,
    *,
    steps: int,
    views: int | None = None,
    canvas: str | None = None,
    seed: int = 0,
) -> Tensor:
    """Make one picture by our default method, `(3, size, size)`; None is what that has."""
    return _made(network, layer, [channel], size, seed, steps=steps, views=views, canvas=canvas)[0]


def ours_together(
    network: Network, layer: str, channels: Sequence[int], size: int, *, steps: int
) -> list[Tensor]:
    """Make a picture of each channel as `dreamer visualize` makes many, each `(3, size, size)`."""
    return _made(network, layer, channels, size, 0, steps=steps)


def _made(
    network: Network,
    layer: str,
    channels: Sequence[int],
    size: int,
    seed: int,
    **settings: int | str | None,
) -> list[Tensor]:
    # One alone has all threads that a peer has; many are made side by side.
    threads = torch.get_num_threads() if len(channels) == 1 else None
    request = visual_job.VisualRequest(
        targets=tuple(f"{layer}:{channel}" for channel in channels),
        size=(size, size),
        settings=settings,
        look=Request(network=network, seed=seed, device="cpu", threads=threads),
    )
    job = visual_job.prepare(request)
    found = visualize.make(job.recipes, network, workers=job.workers)
    return [each.pixels for each in found]


def measure(repeats: int, quick: bool) -> list[Row]:
    """Measure the costs first, then what the files show."""
    network = dreamer.load_network(NETWORK)
    return [
        *_peers(network, 1 if quick else min(repeats, 3), 48 if quick else STEPS),
        _many(network, 1 if quick else min(repeats, 3), 16 if quick else 64),
        *_scores(network, (5,) if quick else (5, 23, 40, 61), 64 if quick else STEPS),
        _spectra(network, (5,) if quick else (5, 23, 40, 61), 64 if quick else STEPS),
        _grey(network, 8 if quick else None, 32 if quick else 128),
    ]


def _peers(network: Network, repeats: int, steps: int) -> list[Row]:
    """Time whole runs of every peer's loop against ours with as many views and steps.

    Ours end with the score over 64 crops, which weighs more the fewer the steps.
    """
    whole = textbook.network(NETWORK)
    layer = textbook.layer(whole, TIMED_LAYER)
    found: list[Row] = []
    ratios: dict[str, float] = {}
    for name, peer in peers.STAND_INS.items():
        views = peers.VIEWS[name]
        canvas = "maco" if "maco" in name else "fourier"

        def theirs(count: int, peer: peers.Peer = peer, views: int = views) -> None:
            peer(whole, layer, TIMED_CHANNEL, SIZE, count, views, 0)

        def mine(count: int, views: int = views, canvas: str = canvas) -> None:
            place = (network, TIMED_LAYER, TIMED_CHANNEL, SIZE)
            ours(*place, steps=count, views=views, canvas=canvas)

        slow, fast = _in_turn(theirs, mine, steps, repeats)
        ratios[name] = slow / fast
        detail = f"{1000 * slow / steps:.0f} ms a step theirs, {1000 * fast / steps:.0f} ms ours, "
        detail += f"{count(views, 'view')}, {steps} steps at {SIZE} px"
        found.append(
            Row(
                f"visualize: {name}",
                ratios[name],
                "x",
                3 if name == "lucent" else None,
                None,
                detail,
            )
        )
        say(f"{name}: {ratios[name]:.2f} x, {detail}")
    rest = {name: ratio for name, ratio in ratios.items() if name != "lucent"}
    quickest = min(rest, key=rest.__getitem__)
    row = Row("visualize: the quickest of the rest", rest[quickest], "x", 1.8, None, quickest)
    return [*found, row]


def _many(network: Network, repeats: int, steps: int) -> Row:
    """Time 64 channels in batches against one after the other."""
    channels = range(MANY)

    def singly(count: int) -> None:
        for channel in channels:
            ours(network, TIMED_LAYER, channel, MANY_SIZE, steps=count)

    def together(count: int) -> None:
        ours_together(network, TIMED_LAYER, channels, MANY_SIZE, steps=count)

    slow, fast = _in_turn(singly, together, steps, repeats)
    each = [1000 * seconds / MANY / steps for seconds in (slow, fast)]
    detail = f"{each[0]:.1f} ms a step and channel singly, {each[1]:.1f} ms in batches, "
    detail += f"{MANY_SIZE} px, {steps} steps"
    say(f"{MANY} channels: {slow / fast:.2f} x, {detail}")
    return Row(f"visualize: {MANY} channels of {TIMED_LAYER}", slow / fast, "x", 2.5, None, detail)


def _scores(network: Network, channels: Sequence[int], steps: int) -> list[Row]:
    """Score files of ours and of lucid's recipe after the same steps, and after the same time.

    lucid's recipe is `peers.lucent`. For the same time it gets as many steps as it does while ours
    does its own.
    """
    whole = textbook.network(NETWORK)
    same_steps: list[tuple[str, float]] = []
    same_time: list[tuple[str, float]] = []
    for layer in LAYERS:
        module = textbook.layer(whole, layer)
        ours(network, layer, channels[0], SIZE, steps=2)  # a warm-up
        for channel in channels:
            began = time.perf_counter()
            mine = ours(network, layer, channel, SIZE, steps=steps)
            between = time.perf_counter()
            theirs = peers.lucent(whole, module, channel, SIZE, steps, 1, 0)
            ended = time.perf_counter()
            fewer = max(1, round(steps * (between - began) / (ended - between)))
            sooner = peers.lucent(whole, module, channel, SIZE, fewer, 1, 0)
            score, other, early = (
                _score(network, layer, channel, _saved(each)) for each in (mine, theirs, sooner)
            )
            what = f"{layer}:{channel}"
            same_steps.append((what, _ratio(score, other)))
            same_time.append((what, _ratio(score, early)))
            say(
                f"{what}: {score:.2f} ours, {other:.2f} after {steps} steps of lucid's, "
                f"{early:.2f} after {fewer}"
            )
    above = math.nextafter(1, 2)  # more than lucid's
    return [
        _mean("score: lucid's recipe, equal steps", same_steps, 1.0, f"{steps} steps"),
        _mean("score: lucid's recipe, equal time", same_time, above, f"{steps} steps of ours"),
    ]


def _spectra(network: Network, channels: Sequence[int], steps: int) -> Row:
    """Compare how far files of the MACO and of the plain Fourier canvas are from natural."""
    found: dict[str, list[float]] = {"maco": [], "fourier": []}
    for layer in LAYERS:
        for channel in channels:
            for canvas, distances in found.items():
                made = ours(network, layer, channel, SIZE, steps=steps, canvas=canvas)
                distances.append(judging.spectrum_distance(_saved(made)))
    maco, fourier = (statistics.mean(each) for each in found.values())
    pairs = zip(*found.values(), strict=True)
    detail = f"mean {maco:.2f} MACO, {fourier:.2f} Fourier; nearer in "
    detail += f"{sum(a < b for a, b in pairs)} of {len(found['maco'])}"
    say(f"spectrum distance: {detail}")
    below = math.nextafter(1, 0)
    return Row("spectrum distance: MACO against Fourier", maco / fourier, "x", None, below, detail)


def _grey(network: Network, sampled: int | None, steps: int) -> Row:
    """Count the channels whose pictures show nothing."""
    grey: list[str] = []
    total = 0
    for layer, channel_count in LAYERS.items():
        step = max(1, channel_count // sampled) if sampled else 1
        channels = range(0, channel_count, step)
        for channel, made in zip(
            channels, ours_together(network, layer, channels, MANY_SIZE, steps=steps), strict=True
        ):
            total += 1
            if judging.is_grey(_saved(made)):
                grey.append(f"{layer}:{channel}")
        say(f"{layer}: {len(grey)} grey so far")
    detail = f"of {total} channels of {', '.join(LAYERS)}, {MANY_SIZE} px, {steps} steps"
    if grey:
        detail += f": {' '.join(grey[:12])}"
    return Row("grey units", len(grey), "", None, 0, detail)


def _saved(pixels: Tensor) -> Tensor:
    """Return what a PNG file of `(3, H, W)` holds, `(1, 3, H, W)`."""
    return images.load(images.encode(pixels)).pixels[None]


def _score(network: Network, layer: str, channel: int, saved: Tensor) -> float:
    objective = Objective((Term(layer, channel),))
    return judging.held_out(saved, network.features((layer,)), objective)


def _ratio(score: float, other: float) -> float:
    """Return how many times more; a score of nothing or less counts as next to nothing."""
    return max(score, 1e-3) / max(other, 1e-3)


def _mean(name: str, ratios: Sequence[tuple[str, float]], at_least: float, detail: str) -> Row:
    """Return the geometric mean, which no single channel can carry alone."""
    mean = math.exp(statistics.mean(math.log(ratio) for _, ratio in ratios))
    each = " ".join(f"{what} {ratio:.2f}" for what, ratio in ratios)
    return Row(name, mean, "x", at_least, None, f"{detail}, {SIZE} px; {each}")


def _in_turn(
    one: Callable[[int], None], other: Callable[[int], None], steps: int, repeats: int
) -> tuple[float, float]:
    """Time two runs of so many steps in turn, warmed up; return both medians, in seconds."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):
        for kept, function in zip(times, (one, other), strict=True):
            began = time.perf_counter()
            function(steps if turn else 2)
            if turn > 0:
                kept.append(time.perf_counter() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def say(text: str) -> None:
    """Report progress on stderr."""
    print(f"  {text}", file=sys.stderr, flush=True)
