"""The recipe of a film: the recipes of its keyframes, and how the camera moves between them."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import dreamer
from dreamer.errors import DreamerError, UsageError
from dreamer.media import files, footage
from dreamer.recipe import Pixels, Recipe

SCHEMA = 1
# Raised whenever the same numbers make another film.
ENGINE = 1
FACTOR = 2.0
"""How many times a keyframe is enlarged to become the next."""

_DESCRIPTIONS = ("dreamer",)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Stretch(_Part):
    """A part of a film with one look.

    Attributes:
        until: where it ends, seconds.
        recipe: of its keyframes; the seed of each is drawn from the recipe's.
        again: of the frames after the first, by feedback; None for keyframes.
    """

    until: float = Field(gt=0)
    recipe: Recipe
    again: Recipe | None = None


class ZoomRecipe(_Part):
    """Every number that decides a zoom.

    Attributes:
        version: of this format.
        engine: of the arithmetic: see `ENGINE`.
        dreamer: the version of the program that made it.
        film: what kind of film.
        method: nested: a picture is dreamed for every doubling, and the frames between follow from
            them; feedback: every frame is dreamed on the one before, moved.
        stretches: the looks, in their order.
        size: width and height of a frame, px.
        fps: frames a second.
        frames: how many.
        doublings: how far it zooms in all; every whole one is a keyframe.
        turn: how far it turns in all, degrees.
        centre: the place that stays where it is, from -1 to 1 each way.
        outward: whether it is played backwards.
        ease: whether it starts and ends slowly.
        loop: whether the last frame flows into the first.
        hold: how strongly a keyframe is held to the one around it, 0..1.
        pull: how strongly its light and colour are held to the first one's, 0..1.
    """

    version: int = Field(default=SCHEMA, alias="schema")
    engine: int = ENGINE
    dreamer: str = dreamer.__version__
    film: Literal["zoom"] = "zoom"
    method: Literal["nested", "feedback"] = "nested"
    stretches: Annotated[tuple[Stretch, ...], Field(min_length=1)]
    size: tuple[Pixels, Pixels]
    fps: float = Field(gt=0)
    frames: int = Field(ge=1)
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

    @property
    def hash(self) -> str:
        """SHA-256 of all that decides the film."""
        values = self.to_dict()
        for name in _DESCRIPTIONS:
            values.pop(name, None)
        for stretch in values["stretches"]:
            for recipe in filter(None, (stretch["recipe"], stretch["again"])):
                for name in ("dreamer", "preset", "partial"):
                    recipe.pop(name, None)
                recipe["settings"].pop("description")
                recipe["origin"].pop("name")
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they are written."""
        values: dict[str, Any] = json.loads(self.to_json())
        return values

    def to_json(self) -> str:
        """Return one line of JSON."""
        return self.model_dump_json(by_alias=True)

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


def from_json(text: str, source: str) -> ZoomRecipe:
    """Read a film's recipe.

    Args:
        text: from `ZoomRecipe.to_json`.
        source: the file it came from, for messages.

    Raises:
        UsageError: it is no recipe of a film, or one of a newer version.
    """
    try:
        version = json.loads(text).get("schema")
    except (ValueError, AttributeError):
        version = None
    if isinstance(version, int) and version > SCHEMA:
        raise UsageError(
            f"'{source}' carries a recipe of version {version}; this dreamer reads up to {SCHEMA}.",
            "Update dreamer: `pip install --upgrade dreamer`.",
        )
    try:
        return ZoomRecipe.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise UsageError(
            f"'{source}' carries no recipe of a film that can be read: {place}: {first['msg']}.",
            "Use the original file, and the newest dreamer.",
        ) from error


def recipe_in(path: Path) -> ZoomRecipe | None:
    """Return the recipe of a film that may be anything."""
    try:
        comment = footage.read_comment(path)
        return None if comment is None else from_json(comment, files.shown(path))
    except (DreamerError, OSError, ValueError):  # then it is not this film, whatever else it is
        return None
