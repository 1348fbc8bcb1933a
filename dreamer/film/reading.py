"""Read the recipe that a film carries, whatever kind it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from dreamer.errors import DreamerError, UsageError
from dreamer.film.base import SCHEMA
from dreamer.film.video import VideoRecipe
from dreamer.film.visual import PassageRecipe
from dreamer.film.zoom import ZoomRecipe
from dreamer.media import files, footage
from dreamer.recipe import check_version

Film = ZoomRecipe | VideoRecipe | PassageRecipe
_FILMS: TypeAdapter[Film] = TypeAdapter(Annotated[Film, Field(discriminator="film")])


def from_json(text: str, source: str) -> Film:
    """Read a film's recipe.

    Args:
        text: from `FilmRecipe.to_json`.
        source: the file it came from, for messages.

    Raises:
        UsageError: it is no recipe of a film, or one of a newer version.
    """
    check_version(text, source, SCHEMA)
    try:
        return _FILMS.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise UsageError(
            f"'{source}' carries no recipe of a film that can be read: {place}: {first['msg']}.",
            "Use the original file, and the newest dreamer.",
        ) from error


def recipe_in(path: Path) -> Film | None:
    """Return the recipe of a film that may be anything."""
    try:
        comment = footage.read_comment(path)
        return None if comment is None else from_json(comment, files.shown(path))
    except (DreamerError, OSError, ValueError):  # then it is not this film, whatever else it is
        return None
