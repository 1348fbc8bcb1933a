"""What the recipes of all kinds of film have in common."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

import dreamer
from dreamer.recipe import Pixels, Recipe, dumped

SCHEMA = 2
# Raised whenever the same numbers make another film.
ENGINE = 2
# What a file carries may be anybody's: nothing in it is so large that it cannot be reckoned with.
MOST_FRAMES = 10**9


class Part(BaseModel):
    """A part of a recipe: strict types, no unknown keys, no changes after it is made."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Encoding(Part):
    """How a film's frames are written; the same ones can be written in many ways.

    Attributes:
        codec: its name; "" is not known.
        crf: the quality; None for a codec without one.
        audio: SHA-256 of the file that the sound is from; "" for none.
    """

    codec: str = ""
    crf: int | None = None
    audio: str = ""


class FilmRecipe(Part):
    """What decides a film of any kind.

    Attributes:
        version: of this format.
        engine: of the arithmetic: see `ENGINE`.
        dreamer: the version of the program that made it.
        size: width and height of a frame, px.
        frames: how many.
        encoding: how they are written; it does not belong to the hash.
    """

    version: int = Field(default=SCHEMA, alias="schema")
    engine: int = ENGINE
    dreamer: str = dreamer.__version__
    size: tuple[Pixels, Pixels]
    frames: int = Field(ge=1, le=MOST_FRAMES)
    encoding: Encoding = Encoding()

    @property
    def hash(self) -> str:
        """SHA-256 of all that decides the film: the same hash, the same frames."""
        values = self.to_dict()
        values.pop("encoding")
        text = json.dumps(_decisive(values), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def facts(self) -> dict[str, str]:
        """Return what sets a film apart from another of its kind, in the user's words."""
        width, height = self.size
        return {"size": f"{width}x{height}"}

    def pictures(self) -> tuple[Recipe, ...]:
        """Return the recipes of pictures that are part of it."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they are written."""
        values: dict[str, Any] = json.loads(self.to_json())
        return values

    def to_json(self) -> str:
        """Return one line of JSON."""
        return dumped(self)


# What only describes a film, or one of its pictures, wherever it stands in the recipe.
_DESCRIPTIONS = frozenset({"dreamer", "preset", "partial", "description", "name"})


def _decisive(values: Any) -> Any:
    """Return the values that change the film, of nested ones."""
    if isinstance(values, dict):
        kept = values.keys() - _DESCRIPTIONS
        return {name: _decisive(values[name]) for name in kept}
    return [_decisive(value) for value in values] if isinstance(values, list) else values
