"""The recipe of a film from one feature visualization to the next."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dreamer.film.base import FilmRecipe
from dreamer.visual_recipe import VisualRecipe

MOST_KEYS = 256


class PassageRecipe(FilmRecipe):
    """Every number that decides a film from one unit to others, on a shared base.

    Attributes:
        film: what kind of film.
        stations: what it goes past, evenly in time; alike but for their targets.
        fps: frames a second.
        loop: whether it goes on from the last to the first.
        keys: how many sets of parameters there are along the way.
    """

    film: Literal["visualization"] = "visualization"
    stations: Annotated[tuple[VisualRecipe, ...], Field(min_length=2, max_length=64)]
    fps: float = Field(gt=0, le=1000)
    loop: bool = False
    keys: int = Field(ge=2, le=MOST_KEYS)

    def facts(self) -> dict[str, str]:
        """Return what sets a film apart from another of its kind, in the user's words."""
        first = self.stations[0]
        return super().facts() | {
            "targets": ", ".join(each.target for each in self.stations),
            "frames": f"{self.frames} at {self.fps:g} a second",
            "network": first.network,
            "seed": str(first.seed),
            "steps": str(first.settings.steps),
            "canvas": first.settings.canvas,
        }

    @property
    def places(self) -> tuple[float, ...]:
        """Where on the way each frame is, 0..1."""
        last = self.frames if self.loop else max(1, self.frames - 1)
        return tuple(k / last for k in range(self.frames))
