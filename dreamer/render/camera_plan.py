"""The camera of a zoom: from what was asked for to a recipe's keys, and what to say about them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

from dreamer.core.zoom import MARGIN
from dreamer.errors import UsageError
from dreamer.film.zoom import Key, ZoomRecipe, camera_path
from dreamer.render.journeys import CameraKey

LOOKED_AT = 2000
"""Frames that are looked at for corners that mirror, at most."""
SPANS = 3
"""Times that a note names."""


def keys(
    asked: Sequence[CameraKey], seconds: float, length: float, loop: bool
) -> tuple[tuple[Key, ...], tuple[str, ...]]:
    """Return the keys of a film's recipe, and what the user should know about them.

    A loop comes back to how it began: to the first key's motion, at a whole number of doublings,
    and upright.

    Args:
        asked: the path, at least one key.
        seconds: the length that was asked for.
        length: that of whole frames.
        loop: whether the last frame flows into the first.

    Raises:
        UsageError: the path does not fit the film.
    """
    for key in asked:
        if key.at > seconds:
            raise UsageError(
                f"{key.where}the key at {key.at:g} s is beyond the film's end, at {seconds:g} s.",
                "Take it out, or make the film longer.",
            )
    found = tuple(
        Key(
            at=key.at,
            speed=key.speed,
            rotate=key.rotate,
            centre=(2 * key.centre[0] - 1, 2 * key.centre[1] - 1),
            ease=key.ease,
        )
        for key in asked
    )
    if camera_path(found, length).depth(length) < 1e-6:
        raise UsageError(
            f"{asked[0].where}the camera does not zoom.", "Give a key a speed of more than 1."
        )
    return _closed(asked, found, length) if loop else (found, ())


def _closed(
    asked: Sequence[CameraKey], found: tuple[Key, ...], length: float
) -> tuple[tuple[Key, ...], tuple[str, ...]]:
    """Let the end of a path flow into its beginning."""
    notes: tuple[str, ...] = ()
    first, last = found[0], found[-1]
    if last.at >= length - 1e-6 and len(found) > 1:
        if last.motion != first.motion:
            raise UsageError(
                f"{asked[-1].where}the last key, at the loop's end, is not as the first: "
                "the film would jerk there.",
                "Make them alike, or take the last one out: a loop goes back by itself.",
            )
        found = (*found[:-1], last.model_copy(update={"at": length}))
    elif any(key.motion != first.motion for key in found):
        found = (*found, first.model_copy(update={"at": length}))
        if last.motion != first.motion:
            notes += (f"the camera goes back to how it began, from {last.at:g} s to the end",)
    path = camera_path(found, length)
    depth, angle = path.depth(length), math.degrees(path.angle(length))
    deeper = max(1, round(depth)) / depth
    more = (360 * round(angle / 360) - angle) / length
    moved = tuple(
        key.model_copy(
            update={
                "speed": 2.0 ** (math.log2(key.speed) * deeper),
                "rotate": 0.0 if abs(key.rotate + more) < 1e-9 else key.rotate + more,
            }
        )
        for key in found
    )
    steady, speed, rotate = len(found) == 1, moved[0].speed, moved[0].rotate
    if abs(2 ** (depth * (deeper - 1) / length) - 1) > 0.01:
        how = f"{speed:.3g} times a second" if steady else f"{deeper:.3g} times as fast as asked"
        notes += (f"the loop enlarges {how}, a whole number of doublings",)
    if abs(more) > 1e-9:
        how = f"{rotate:.3g} degrees a second" if steady else f"{more:+.3g} degrees a second"
        notes += (f"the loop turns {how}{'' if steady else ' more'}, to end upright",)
    return moved, notes


def mirrored(recipe: ZoomRecipe) -> tuple[str, ...]:
    """Say when the corners of the view leave what is dreamed, so that the mirrored rest shows."""
    if recipe.method == "feedback":
        return ()
    spans = list(_spans(recipe))
    if not spans:
        return ()
    if len(spans) > SPANS:
        spans = [(spans[0][0], spans[-1][1])]
        times = "again and again from {:.1f} to {:.1f} s".format(*spans[0])
    else:
        times = " and ".join(f"from {begin:.1f} to {end:.1f} s" for begin, end in spans)
    return (f"the corners mirror {times}: turn more slowly or go faster there",)


def _spans(recipe: ZoomRecipe) -> Iterator[tuple[float, float]]:
    """Yield when corners mirror, from second to second."""
    every = max(1, recipe.frames // LOOKED_AT)
    begin: int | None = None
    for frame in range(0, recipe.frames, every):
        outside = _leaves(recipe, frame)
        if outside and begin is None:
            begin = frame
        if begin is not None and not outside:
            yield begin / recipe.fps, frame / recipe.fps
            begin = None
    if begin is not None:
        yield begin / recipe.fps, recipe.seconds


def _leaves(recipe: ZoomRecipe, frame: int) -> bool:
    aspect, places = recipe.size[0] / recipe.size[1], recipe.places(frame)
    corners = [places(complex(x * aspect, y)) for x, y in product((-1, 1), repeat=2)]
    return any(
        abs(corner.real) > MARGIN * aspect or abs(corner.imag) > MARGIN for corner in corners
    )
