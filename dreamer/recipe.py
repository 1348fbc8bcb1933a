"""A recipe: a preset resolved against one network, one picture and one seed.

It holds every number that decides a result, and no path: photos and the weights are known by their
hashes. It is written into the result as JSON and makes it again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
)

import dreamer
from dreamer import targets
from dreamer.core import octaves
from dreamer.errors import UsageError
from dreamer.networks.rows import Row
from dreamer.settings import Settings
from dreamer.target_files import Files, Like

SCHEMA = 1
# Raised whenever the same numbers make other pixels, so that old results are not taken for new.
ENGINE = 2
# What describes a recipe without deciding the picture.
_DESCRIPTIONS = ("dreamer", "preset", "partial")
# The parts that are chosen, beside the settings, with what to call them; the rest follows.
_CHOSEN = {
    "origin": "the photo",
    "size": "the size",
    "network": "the network",
    "weights": "the network's weights",
    "seed": "the seed",
    "threads": "the number of threads",
    "device": "the device",
    "engine": "the version of the program",
}

Start = Literal["photo", "sky", "noise"]
# What a file carries may be anybody's: sizes, counts and names are checked as they are read.
Pixels = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[^/\\\x00-\x1f\x7f]{1,255}$")]
MOST_THREADS = 1024
MOST_SEED = 2**63 - 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Origin(_Part):
    """What is dreamed on.

    Attributes:
        start: a photo, or one of the pictures that are made from the seed.
        name: the photo's file name, without its folder.
        sha256: of the photo's bytes; empty for what is made from the seed.
    """

    start: Start = "photo"
    name: str = ""
    sha256: str = ""


class TermRecord(_Part):
    """One resolved term of the target: see `dreamer.targets.Resolved`.

    What most terms do not have, a direction and a photo, is not written for those. A photo's path
    never is: it travels with the recipe in memory, and to other processes.
    """

    weight: float
    layer: str
    channel: int | None
    at: tuple[int, int] | None
    label: str
    direction: tuple[tuple[Annotated[int, Field(ge=0)], float], ...] = ()
    like: Like | None = None

    @field_validator("direction")
    @classmethod
    def _points_somewhere(
        cls, direction: tuple[tuple[int, float], ...]
    ) -> tuple[tuple[int, float], ...]:
        channels = [channel for channel, _ in direction]
        if channels != sorted(set(channels)) or any(share == 0 for _, share in direction):
            raise ValueError("should name channels in their order, with shares that are not zero")
        return direction

    @field_validator("like")
    @classmethod
    def _is_known(cls, like: Like | None, info: ValidationInfo) -> Like | None:
        if like is None:
            return None
        if not re.fullmatch(r"[0-9a-f]{64}", like.sha256):
            raise ValueError("should have a SHA-256")
        # A file may be anybody's: it does not say which of the user's files are read.
        return replace(like, path="") if info.mode == "json" else like

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if not self.direction:
            values.pop("direction", None)
        if self.like is None:
            values.pop("like", None)
        else:
            values["like"] = {"name": self.like.name, "sha256": self.like.sha256}
        return values


class Recipe(_Part):
    """Every number that decides one picture.

    Attributes:
        version: of this format.
        engine: of the arithmetic: see `ENGINE`.
        dreamer: the version of the program that made it.
        preset: the name the settings came from.
        origin: what is dreamed on.
        size: width and height of the result, px.
        network: its name.
        weights: SHA-256 of the weights' file, or the part of it that is published.
        settings: the preset with the flags over it.
        terms: the target's terms in this network.
        octaves: width and height of each octave, coarse to fine, px.
        steps: the steps of each octave.
        seed: decides all that is random.
        threads: how many threads the network computes with; its last bits depend on it.
        device: the kind of device.
        partial: whether it was stopped before its end.
    """

    version: int = Field(default=SCHEMA, alias="schema")
    engine: int = ENGINE
    dreamer: str = dreamer.__version__
    preset: Name
    origin: Origin
    size: tuple[Pixels, Pixels]
    network: str
    weights: str
    settings: Settings
    terms: tuple[TermRecord, ...]
    octaves: tuple[tuple[Pixels, Pixels], ...]
    steps: tuple[Annotated[int, Field(ge=0)], ...]
    seed: int = Field(ge=0, le=MOST_SEED)
    threads: int = Field(ge=1, le=MOST_THREADS)
    device: str
    partial: bool = False

    @property
    def target(self) -> str:
        """The target as text, with detail levels resolved to layers."""
        return targets.describe(targets.Resolved(**dict(term)) for term in self.terms)

    @property
    def work(self) -> int:
        """The pixels of all steps together: what a progress bar should count."""
        sized = zip(self.octaves, self.steps, strict=True)
        return sum(width * height * steps for (width, height), steps in sized)

    @property
    def hash(self) -> str:
        """SHA-256 of all that decides the picture: the same hash, the same picture."""
        values = self.to_dict()
        for name in _DESCRIPTIONS:
            values.pop(name, None)
        values["settings"].pop("description")
        values["origin"].pop("name")
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they are written."""
        values: dict[str, Any] = json.loads(self.to_json())
        return values

    def to_json(self) -> str:
        """Return one line of JSON."""
        return self.model_dump_json(by_alias=True)


def from_json(text: str, source: str) -> Recipe:
    """Read a recipe.

    Args:
        text: from `Recipe.to_json`.
        source: the file it came from, for messages.

    Raises:
        UsageError: it is no recipe, or one of a newer version.
    """
    check_version(text, source, SCHEMA)
    try:
        return Recipe.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise UsageError(
            f"'{source}' carries a damaged recipe: {place}: {first['msg']}.",
            "Use the original file; other programs may have changed this one.",
        ) from error


def check_version(text: str, source: str, newest: int) -> None:
    """Refuse a recipe, of whatever, that a newer program wrote.

    Args:
        text: JSON, or anything.
        source: the file it came from, for messages.
        newest: the version that this program writes.

    Raises:
        UsageError: it is newer.
    """
    try:
        version = json.loads(text).get("schema")
    except (ValueError, AttributeError):
        return
    if isinstance(version, int) and version > newest:
        raise UsageError(
            f"'{source}' carries a recipe of version {version}; this dreamer reads up to {newest}.",
            "Update dreamer: `pip install --upgrade dreamer`.",
        )


def differences(old: Recipe, new: Recipe) -> list[str]:
    """Say in the user's words why two recipes do not make the same picture; empty if they do."""
    if old.hash == new.hash:
        return []
    changed = [said for key, said in _CHOSEN.items() if getattr(old, key) != getattr(new, key)]
    if old.settings.target == new.settings.target and _of_files(old) != _of_files(new):
        changed.append("what is in the files that the target names")
    before, after = (_flat(recipe.settings.model_dump()) for recipe in (old, new))
    for path in sorted(before.keys() | after.keys()):
        if path != "description" and before.get(path) != after.get(path):
            changed.append(f"{path} ({after.get(path)} instead of {before.get(path)})")
    return changed or ["what the detail levels stand for"]


def _of_files(recipe: Recipe) -> list[tuple[object, ...]]:
    """Return what the target's files hold."""
    return [(term.direction, term.like) for term in recipe.terms if term.direction or term.like]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by their dotted paths."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


@dataclass(frozen=True)
class Choice:
    """What is chosen beside the preset.

    Attributes:
        seed: decides all that is random.
        threads: see `Recipe`.
        device: the kind of device: cpu, cuda or mps.
    """

    seed: int = 0
    threads: int = 1
    device: str = "cpu"


def resolve(
    settings: Settings,
    row: Row,
    *,
    preset: str,
    weights: str,
    origin: Origin,
    size: tuple[int, int],
    choice: Choice,
    files: Files | None = None,
) -> Recipe:
    """Resolve settings against a network and a picture.

    Args:
        settings: a preset with the flags over it.
        row: the network's row.
        preset: the name the settings came from.
        weights: hash of the weights, as far as it is known.
        origin: what is dreamed on.
        size: width and height of the result, px.
        choice: the rest.
        files: what was read of the files that targets name.

    Raises:
        UsageError: the target names what the network does not have.
        InputError: the picture is smaller than the network takes; or a file that the target names.
    """
    row.check_size(*size, f"'{origin.name or origin.start}'")
    terms = targets.resolve(targets.parse(settings.target_on(row.name)), row, files)
    check_neurons(terms, row, size)
    sizes = octaves.plan(
        size,
        settings.octaves.scale,
        count=settings.octaves.count or None,
        coarsest=settings.octaves.coarsest,
        minimum=row.minimum,
    )
    return Recipe(
        preset=re.sub(r"[/\\\x00-\x1f\x7f]", "_", preset),
        origin=origin,
        size=size,
        network=row.name,
        weights=weights,
        settings=_without_folders(settings),
        terms=tuple(TermRecord(**vars(term)) for term in terms),
        octaves=sizes,
        steps=octaves.steps(settings.ascent.steps, settings.ascent.coarse_steps, len(sizes)),
        seed=choice.seed,
        threads=choice.threads,
        device=choice.device,
    )


def _without_folders(settings: Settings) -> Settings:
    """Return settings of which the targets name their files without folders."""

    def named(text: str) -> str:
        target = targets.parse(text)
        return str(targets.without_folders(target)) if targets.names_files(target) else text

    return settings.model_copy(
        update={
            "target": named(settings.target),
            "targets": {network: named(text) for network, text in settings.targets.items()},
        }
    )


def check_neurons(terms: tuple[targets.Resolved, ...], row: Row, size: tuple[int, int]) -> None:
    """Refuse neurons that a layer does not have on a picture of `size` (w, h): `UsageError`."""
    for term in terms:
        if term.at is None:
            continue
        columns, rows = grid(row, term.layer, size)
        if term.at[0] >= rows or term.at[1] >= columns:
            raise UsageError(
                f"'{term.label}' lies outside the layer: at {size[0]}x{size[1]} pixels "
                f"'{term.layer}' has {rows} rows and {columns} columns.",
                f"Give a row from 0 to {rows - 1} and a column from 0 to {columns - 1}.",
            )


def grid(row: Row, layer: str, size: tuple[int, int]) -> tuple[int, int]:
    """Return the columns and rows of neurons that a layer has on a picture of `size` (w, h)."""
    stride = row.layer(layer).stride
    if stride == 0:
        return 1, 1
    return -(-size[0] // stride), -(-size[1] // stride)
