"""The recipe of a clip that is dreamed: how its frames are, and how they hang together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dreamer.film.base import FilmRecipe
from dreamer.recipe import Recipe

MOST_KEPT = 0.98
"""The largest share of a dream that goes on into the next frame: all of it would never change."""


class VideoRecipe(FilmRecipe):
    """Every number that decides a dreamed clip.

    Attributes:
        film: what kind of film.
        clip: SHA-256 of the clip's bytes.
        name: the clip's file name, without its folder.
        start: where in the clip the film begins, seconds.
        seconds: how long it is.
        every: of so many frames of the clip, one is used.
        steadiness: how much of a frame's dream goes on into the next one, 0..1; with 0 each frame
            is dreamed by itself.
        whole: of the first frame, and of the first one after a cut.
        again: of the others.
    """

    film: Literal["video"] = "video"
    clip: str
    name: str
    start: float = Field(ge=0)
    seconds: float = Field(ge=0)
    every: int = Field(ge=1)
    steadiness: float = Field(ge=0, le=1)
    whole: Recipe
    again: Recipe

    @property
    def keep(self) -> float:
        """The share of the dream that goes on into the next frame."""
        return min(self.steadiness, MOST_KEPT)
