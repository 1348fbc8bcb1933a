"""The recipe of a zoom: the recipes of its keyframes, and how the camera moves between them."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from dreamer.film.base import FilmRecipe, Part
from dreamer.recipe import Recipe

FACTOR = 2.0
"""How many times a keyframe is enlarged to become the next."""


class Stretch(Part):
    """A part of a film with one look.

    Attributes:
        until: where it ends, seconds.
        recipe: of its keyframes; the seed of each is drawn from the recipe's.
        again: of the frames after the first, by feedback; None for keyframes.
    """

    until: float = Field(gt=0)
    recipe: Recipe
    again: Recipe | None = None


class ZoomRecipe(FilmRecipe):
    """Every number that decides a zoom.

    Attributes:
        film: what kind of film.
        method: nested: a picture is dreamed for every doubling, and the frames between follow from
            them; feedback: every frame is dreamed on the one before, moved.
        stretches: the looks, in their order.
        fps: frames a second.
        doublings: how far it zooms in all; every whole one is a keyframe.
        turn: how far it turns in all, degrees.
        centre: the place that stays where it is, from -1 to 1 each way.
        outward: whether it is played backwards.
        ease: whether it starts and ends slowly.
        loop: whether the last frame flows into the first.
        hold: how strongly a keyframe is held to the one around it, 0..1.
        pull: how strongly its light and colour are held to the first one's, 0..1.
    """

    film: Literal["zoom"] = "zoom"
    method: Literal["nested", "feedback"] = "nested"
    stretches: Annotated[tuple[Stretch, ...], Field(min_length=1)]
    fps: float = Field(gt=0)
    doublings: float = Field(ge=0)
    turn: float = 0.0
    centre: tuple[float, float] = (0.0, 0.0)
    outward: bool = False
    ease: bool = False
    loop: bool = False
    hold: float = Field(default=0.8, ge=0, le=1)
    pull: float = Field(default=0.4, ge=0, le=1)

    @property
    def keyframes(self) -> int:
        """How many pictures are dreamed."""
        if self.method == "feedback":
            return self.frames
        whole = math.ceil(self.doublings - 1e-9)
        return whole if self.loop else whole + 1

    @property
    def factor(self) -> float:
        """How many times a keyframe is enlarged to become the next."""
        if self.method == "nested":
            return FACTOR
        each = self.doublings / max(1, self.frames - 1)
        return float(2.0 ** (-each if self.outward else each))

    @property
    def turn_each(self) -> float:
        """How far the view turns from one keyframe to the next, degrees."""
        if self.method == "nested":
            return self.turn / self.doublings if self.doublings else 0.0
        return self.turn / max(1, self.frames - 1)

    def depth(self, frame: int) -> float:
        """Return how far a frame has zoomed, doublings."""
        last = self.frames if self.loop else max(1, self.frames - 1)
        share = (last - frame if self.outward else frame) / last
        if self.ease:
            share = share * share * (3 - 2 * share)
        return share * self.doublings

    def recipe_at(self, keyframe: int) -> Recipe:
        """Return the recipe of a keyframe: of the stretch that the film is in when it is whole."""
        seconds = self.frames / self.fps
        if self.method == "feedback":
            stretch = self._stretch(keyframe / self.fps)
            return stretch.recipe if keyframe == 0 else stretch.again or stretch.recipe
        share = min(1.0, keyframe / self.doublings) if self.doublings else 0.0
        if self.ease:  # the other way round
            share = 0.5 - math.sin(math.asin(1 - 2 * share) / 3)
        time = seconds * (1 - share if self.outward else share)
        return self._stretch(time).recipe

    def _stretch(self, time: float) -> Stretch:
        """Return the stretch at a time, seconds."""
        for stretch in self.stretches:
            if time <= stretch.until:
                return stretch
        return self.stretches[-1]
