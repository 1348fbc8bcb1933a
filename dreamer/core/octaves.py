"""The coarse-to-fine plan: the sizes of the octaves and their steps. Arithmetic only."""

from __future__ import annotations

import math

Size = tuple[int, int]


def plan(
    size: Size, scale: float, *, count: int | None, coarsest: int, minimum: int
) -> tuple[Size, ...]:
    """List the octaves' sizes, coarse to fine; the last is `size`.

    Args:
        size: width and height of the full picture, px.
        scale: each octave is this many times smaller than the next, more than 1.
        count: how many octaves; None takes as many as bring the shorter side near `coarsest`,
            so that a large picture gets the same composition as a small one.
        coarsest: see `count`, px.
        minimum: the shortest side that the network takes, px. Octaves below it are left out.

    Returns:
        At least one `(width, height)`, strictly growing.
    """
    short = min(size)
    if count is None:
        count = 1 + max(0, round(math.log(short / coarsest) / math.log(scale)))
    sizes = [size]
    for octave in range(1, count):
        factor = scale**octave
        smaller = (max(1, round(size[0] / factor)), max(1, round(size[1] / factor)))
        if min(smaller) < minimum or smaller == sizes[-1]:
            break
        sizes.append(smaller)
    return tuple(reversed(sizes))


def steps(finest: int, coarse_steps: float, octaves: int, share: float = 1.0) -> tuple[int, ...]:
    """List the steps of each octave, coarse to fine, in a geometric progression.

    Composition is decided on the coarse octaves, where steps cost little: they keep theirs while
    the finest, which most of the work is for, takes more or fewer.

    Args:
        finest: steps on the finest octave.
        coarse_steps: how many times more steps the coarsest octave takes.
        octaves: how many there are.
        share: how many times as many steps the finest octave takes; the coarsest takes as many as
            without, and those between them a geometric mean. No octave is left without a step that
            has one otherwise.
    """
    ratios = [coarse_steps ** (k / max(1, octaves - 1)) for k in range(octaves)]
    usual = [round(finest * ratio) for ratio in ratios]
    shares = [share ** (1 - k / max(1, octaves - 1)) for k in range(octaves)]
    scaled = [round(finest * ratio * s) for ratio, s in zip(ratios, shares, strict=True)]
    return tuple(max(min(1, u), s) for u, s in zip(usual, scaled, strict=True))[::-1]


def stretch(finest: int, octaves: int, share: float) -> float:
    """Return how many times as long steps must be to come as far with a share of them.

    Args:
        finest: steps on each octave without.
        octaves: how many there are.
        share: see `steps`.
    """
    return finest * octaves / max(1, sum(steps(finest, 1.0, octaves, share)))
