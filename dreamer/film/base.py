"""What the recipes of all kinds of film have in common."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

import dreamer
from dreamer.recipe import Pixels

SCHEMA = 1
# Raised whenever the same numbers make another film.
ENGINE = 1


class Part(BaseModel):
    """A part of a recipe: strict types, no unknown keys, no changes after it is made."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class FilmRecipe(Part):
    """What decides a film of any kind.

    Attributes:
        version: of this format.
        engine: of the arithmetic: see `ENGINE`.
        dreamer: the version of the program that made it.
        size: width and height of a frame, px.
        frames: how many.
    """

    version: int = Field(default=SCHEMA, alias="schema")
    engine: int = ENGINE
    dreamer: str = dreamer.__version__
    size: tuple[Pixels, Pixels]
    frames: int = Field(ge=1)

    @property
    def hash(self) -> str:
        """SHA-256 of all that decides the film: the same hash, the same frames."""
        text = json.dumps(_decisive(self.to_dict()), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they are written."""
        values: dict[str, Any] = json.loads(self.to_json())
        return values

    def to_json(self) -> str:
        """Return one line of JSON."""
        return self.model_dump_json(by_alias=True)


# What only describes a film, or one of its pictures, wherever it stands in the recipe.
_DESCRIPTIONS = frozenset({"dreamer", "preset", "partial", "description", "name"})


def _decisive(values: Any) -> Any:
    """Return the values that change the film, of nested ones."""
    if isinstance(values, dict):
        kept = values.keys() - _DESCRIPTIONS
        return {name: _decisive(values[name]) for name in kept}
    return [_decisive(value) for value in values] if isinstance(values, list) else values
