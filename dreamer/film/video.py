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

    def facts(self) -> dict[str, str]:
        """Return what sets a dreamed clip apart from another, in the user's words."""
        return {
            **super().facts(),
            "clip": f"{self.name}, {self.clip[:8]}",
            "start": f"{self.start:.4g} s",
            "seconds": f"{self.seconds:.4g}",
            "frames": str(self.frames),
            "every": str(self.every),
            "steadiness": f"{self.steadiness:g}",
            "preset": self.whole.preset,
        }

    def pictures(self) -> tuple[Recipe, ...]:
        """Return how the first frame is dreamed: what sets the others apart follows from it."""
        return (self.whole,)

    @property
    def keep(self) -> float:
        """The share of the dream that goes on into the next frame."""
        return min(self.steadiness, MOST_KEPT)
