"""The looks of a film: what its journey asks for, on one network, with their cross-fades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dreamer.core import octaves as pyramid
from dreamer.errors import UsageError, unknown
from dreamer.film.zoom import Stretch as StretchRecipe
from dreamer.networks import rows
from dreamer.presets import names as preset_names
from dreamer.recipe import Origin
from dreamer.render.journeys import Stretch
from dreamer.render.look import Look, Request, look

LONGEST_FADE = 2.0
"""Unless told otherwise a fade takes so many seconds, or half of the shorter look beside it."""
AGAIN, AGAIN_OCTAVES = 1, 2
AGAIN_STRENGTH = 0.35
"""Steps, octaves and share of the strength of a frame after the first, by feedback."""


def looks(request: Request, journey: Sequence[Stretch]) -> list[Look]:
    """Return the look of each stretch: of a preset, or of a target with the film's preset.

    Raises:
        UsageError: there is no such preset or target; with the line, if it is from a file.
    """
    if not journey:
        return [look(request)]
    found = []
    for stretch in journey:
        try:
            found.append(_look(request, stretch))
        except UsageError as error:
            raise UsageError(f"{stretch.where}{error.message}", error.advice) from error
    return found


def _look(request: Request, stretch: Stretch) -> Look:
    what, presets = stretch.what, preset_names()
    if stretch.kind == "preset" or (stretch.kind == "either" and what in presets):
        wanted = replace(request, preset=what)
    else:
        wanted = replace(request, overrides={**request.overrides, "target": what})
    try:
        return look(wanted)
    except UsageError as error:
        network = request.network if isinstance(request.network, str) else rows.DEFAULT
        row = rows.row(network)
        near = [*presets, *rows.LEVELS, *(layer.name for layer in row.layers)]
        if stretch.kind != "either" or ":" in what or "*" in what or what in near:
            raise
        listing = "`dreamer presets list` and `dreamer layers` show them"
        raise unknown("preset or target", what, near, listing) from error


def stretches(
    journey: Sequence[Stretch],
    each: Sequence[Look],
    origin: Origin,
    canvas: tuple[int, int],
    *,
    seconds: float,
    fade: float | None = None,
    loop: bool = False,
    feedback: bool = False,
) -> tuple[StretchRecipe, ...]:
    """Return the stretches of a film's recipe.

    Args:
        journey: what was asked for; none for one look all through.
        each: their looks.
        origin: what the first keyframe is dreamed on.
        canvas: width and height of a keyframe, px.
        seconds: the film's length, where the last one ends.
        fade: seconds of every cross-fade that the journey does not say itself.
        loop: whether the first look comes up out of the last one.
        feedback: whether every frame is dreamed.

    Raises:
        UsageError: a fade is longer than a look beside it; a target is not for this size.
    """
    ends = [sum(part.seconds for part in journey[: index + 1]) for index in range(len(journey))]
    return tuple(
        StretchRecipe(
            until=until,
            recipe=look.recipe(origin, canvas),
            again=_briefly(look).recipe(origin, canvas) if feedback else None,
            fade=time,
        )
        for until, look, time in zip(
            [*ends[:-1], seconds], each, _fades(journey, fade, loop), strict=True
        )
    )


def _fades(journey: Sequence[Stretch], fade: float | None, loop: bool) -> list[float]:
    """Return how long each look comes up out of the one before, seconds."""
    if len(journey) < 2:
        return [0.0]
    fades = []
    for index, stretch in enumerate(journey):
        shorter = min(journey[index - 1], stretch, key=lambda part: part.seconds)
        said = fade if stretch.fade is None else stretch.fade
        if index == 0 and not loop:
            fades.append(0.0)
            continue
        if said is not None and said > shorter.seconds:
            raise UsageError(
                f"{stretch.where}a fade of {said:g} s is longer than '{shorter.what}' beside it.",
                f"Give at most {shorter.seconds:g}; 0 is a cut.",
            )
        fades.append(min(LONGEST_FADE, shorter.seconds / 2) if said is None else said)
    return fades


def _briefly(each: Look) -> Look:
    """Return a look with the few steps that a frame after the first takes, by feedback."""
    settings = each.settings
    strength = settings.ascent.strength * AGAIN_STRENGTH
    strength *= pyramid.stretch(AGAIN, AGAIN_OCTAVES, settings.ascent.share)
    few = {"steps": AGAIN, "coarse_steps": 1.0, "strength": strength, "change": 0.0}
    ascent = settings.ascent.model_copy(update=few)
    octaves = settings.octaves.model_copy(update={"count": AGAIN_OCTAVES})
    changed = settings.model_copy(update={"ascent": ascent, "octaves": octaves})
    return replace(each, settings=changed)
