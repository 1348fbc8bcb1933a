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
    model_validator,
)
from pydantic_core import PydanticSerializationError

import dreamer
from dreamer import mask_text, targets
from dreamer.core import octaves
from dreamer.errors import UsageError
from dreamer.networks.rows import LEVELS, Row
from dreamer.settings import Settings
from dreamer.target_files import Files, Like, apart, file_name

SCHEMA = 1
# Raised whenever the same numbers make other pixels, so that old results are not taken for new.
ENGINE = 3
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
    "precision": "the precision",
    "tile": "the tile",
    "engine": "the version of the program",
}

Start = Literal["photo", "sky", "noise"]
Precision = Literal["float32", "mixed"]
# What a file carries may be anybody's: sizes, counts and names are checked as they are read.
Pixels = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[^/\\\x00-\x1f\x7f]{1,255}$")]
MOST_THREADS = 1024
MOST_SEED = 2**63 - 1
MOST_TILE = 65_535


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

    What most terms do not have, such as a direction or a photo, is not written for those. A photo's
    path never is: it travels with the recipe in memory, and to other processes.
    """

    weight: float
    layer: str
    channel: int | None
    at: tuple[int, int] | None
    label: str
    direction: tuple[tuple[Annotated[int, Field(ge=0)], float], ...] = ()
    like: Like | None = None
    choice: str = ""
    guide: Like | None = None
    by: Literal["best", "means", "style", ""] = ""
    region: Annotated[int, Field(ge=0)] | None = None

    @field_validator("direction")
    @classmethod
    def _points_somewhere(
        cls, direction: tuple[tuple[int, float], ...]
    ) -> tuple[tuple[int, float], ...]:
        channels = [channel for channel, _ in direction]
        if channels != sorted(set(channels)) or any(share == 0 for _, share in direction):
            raise ValueError("should name channels in their order, with shares that are not zero")
        return direction

    @field_validator("choice")
    @classmethod
    def _is_a_choice(cls, choice: str) -> str:
        if choice and targets.choice(choice) is None:
            raise ValueError("should say which channels")
        return choice

    @field_validator("like", "guide")
    @classmethod
    def _is_known(cls, like: Like | None, info: ValidationInfo) -> Like | None:
        return None if like is None else _known(like, info)

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        for name in ("direction", "like", "choice", "guide", "by", "region"):
            if getattr(self, name) in ((), None, ""):
                values.pop(name, None)
        for name in ("like", "guide"):
            if name in values:
                values[name] = _told(getattr(self, name))
        return values

    @property
    def merely(self) -> TermRecord:
        """What it is of, whatever its weight and however it is shown."""
        return self.model_copy(update={"weight": 1.0, "label": ""})


def _known(like: Like, info: ValidationInfo) -> Like:
    """Check what a recipe says of a file; a file may be anybody's: it does not say what is read."""
    if not re.fullmatch(r"[0-9a-f]{64}", like.sha256):
        raise ValueError("should have a SHA-256")
    return replace(like, path="") if info.mode == "json" else like


def _told(like: Like) -> dict[str, str]:
    return {"name": like.name, "sha256": like.sha256}


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
        precision: of what the network computes: 32 bits, or 16 where that is enough.
        tile: the longest side of what the network is shown at once of a larger picture, px; 0 for
            all of it.
        partial: whether it was stopped before its end.
        files: the pictures that its masks and colours are from.
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
    precision: Precision = "float32"
    tile: int = Field(default=0, ge=0, le=MOST_TILE)
    partial: bool = False
    files: tuple[Like, ...] = ()

    @field_validator("files")
    @classmethod
    def _are_known(cls, files: tuple[Like, ...], info: ValidationInfo) -> tuple[Like, ...]:
        return tuple(_known(each, info) for each in files)

    @model_validator(mode="after")
    def _has_its_regions(self) -> Recipe:
        regions = {term.region for term in self.terms}
        wanted: set[int | None] = set(range(len(self.settings.regions)))
        if regions != (wanted or {None}):
            raise ValueError("should have terms for each of its regions, and for no other")
        if [each.name for each in self.files] != [*self.settings.files]:
            raise ValueError("should have the files that its settings name, by their names")
        # Anybody's file does not say which of the user's are read.
        if any(path != file_name(path) for path in paths(self.settings)):
            raise ValueError("should name files without their folders")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        values["files"] = [_told(each) for each in self.files]
        if not self.files:
            del values["files"]
        if self.precision == "float32":
            del values["precision"]
        if self.tile == 0:
            del values["tile"]
        return values

    @property
    def target(self) -> str:
        """The target as text, with detail levels resolved to layers; those of regions in turn."""
        told = [
            targets.describe(targets.Resolved(**dict(term)) for term in terms)
            for terms in self.by_region
        ]
        if not self.settings.regions:
            return told[0]
        masks = self.settings.regions
        return "; ".join(f"{mask}: {text}" for mask, text in zip(masks, told, strict=True))

    @property
    def by_region(self) -> tuple[tuple[TermRecord, ...], ...]:
        """The terms of each region in turn; of all of the picture if there are none."""
        indices = range(len(self.settings.regions)) or (None,)
        return tuple(tuple(t for t in self.terms if t.region == index) for index in indices)

    @property
    def pictures(self) -> tuple[Like, ...]:
        """The pictures beside the photo that it needs, each once."""
        named = [each for term in self.terms for each in (term.like, term.guide) if each]
        return tuple(dict.fromkeys([*named, *self.files]))

    def file(self, name: str) -> Like:
        """Return a file of the masks or colours by its name.

        Raises:
            KeyError: it is not one of them.
        """
        return {each.name: each for each in self.files}[name]

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
        return dumped(self)


def dumped(model: BaseModel) -> str:
    """Return a model as one line of JSON.

    A Ctrl-C that hits a serializer of ours comes out of pydantic as another error, without its
    cause.
    """
    try:
        return model.model_dump_json(by_alias=True)
    except PydanticSerializationError as error:
        if KeyboardInterrupt.__name__ in str(error):
            raise KeyboardInterrupt from error
        raise


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
    except (ValueError, AttributeError, RecursionError):
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
    same = (old.settings.target, old.settings.regions) == (
        new.settings.target,
        new.settings.regions,
    )
    if same and _of_files(old) != _of_files(new):
        changed.append("what is in the files that the target names")
    if old.settings.files == new.settings.files and old.files != new.files:
        changed.append("what is in the files of masks and colours")
    before, after = (_flat(recipe.settings.model_dump()) for recipe in (old, new))
    for path in sorted(before.keys() | after.keys()):
        if path != "description" and before.get(path) != after.get(path):
            new_value, old_value = (_shown(values.get(path)) for values in (after, before))
            changed.append(f"{path} ({new_value} instead of {old_value})")
    return changed or ["what the detail levels stand for"]


def _shown(value: object) -> object:
    return "nothing" if value in (None, "", {}) else value


def _of_files(recipe: Recipe) -> list[tuple[object, ...]]:
    """Return what the target's files hold."""
    found = [(term.direction, term.like, term.guide) for term in recipe.terms]
    return [each for each in found if any(each)]


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
        precision: see `Recipe`.
        tile: see `Recipe`.
    """

    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    precision: Precision = "float32"
    tile: int = 0


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
    files = Files() if files is None else files
    terms = terms_on(settings, row, files)
    check_neurons(terms, row, size)
    ascent = settings.ascent
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
        steps=octaves.steps(ascent.steps, ascent.coarse_steps, len(sizes), ascent.share),
        seed=choice.seed,
        threads=choice.threads,
        device=choice.device,
        precision=choice.precision,
        tile=choice.tile,
        # One file by two paths is one.
        files=tuple(dict.fromkeys(files.photo(path) for path in settings.files)),
    )


def terms_on(settings: Settings, row: Row, files: Files) -> tuple[targets.Resolved, ...]:
    """Resolve the targets of settings on a network, those of regions in turn, and check the rest.

    Args:
        settings: a preset with the flags over it.
        row: the network's row.
        files: what was read of the files that they name; filled with what is read now.

    Raises:
        UsageError: a target, a region or a layer that the network or picture does not have.
        InputError: a file that is named.
    """
    texts = settings.targets_on(row.name)
    named = [path for text in texts.values() for path in targets.paths(targets.parse(text))]
    known = {path: photo.path or path for path, photo in files.photos.items()}
    apart(known.get(path, path) for path in [*settings.files, *named])
    if any(mask.kind == "rest" for mask in settings.masks[: bool(settings.mask.where)]):
        raise UsageError(
            "The mask 'rest' is what no region covers, and is itself no region.",
            "Give it to --region: --region auto=parts --region rest=textures.",
        )
    if settings.mask.invert and not settings.mask.where:
        raise UsageError(
            "There is no mask that --mask-invert could invert.",
            "Name one with --mask; regions are inverted one by one: not:auto=TARGET.",
        )
    if settings.colour.when == "before" and not settings.colours.path:
        raise UsageError(
            "There are no colours of another picture to bring before the dream (--color-when).",
            "Name a picture: --color match:FILE or palette:FILE.",
        )
    if settings.likeness.amount > 0:
        likeness_layers(settings, row)
        if settings.ascent.canvas == "maco":
            raise UsageError(
                "The maco canvas moves all of a photo's waves at once and cannot hold its "
                "likeness.",
                "Choose --canvas pixel or fourier, or leave --likeness out.",
            )
    found = []
    for index, text in enumerate(texts.values()):
        region = index if settings.regions else None
        terms = targets.resolve(targets.parse(text), row, files)
        found += [replace(term, region=region) for term in terms]
    for path in settings.files:
        files.photo(path)
    return tuple(found)


def paths(settings: Settings) -> list[str]:
    """Return the paths of all files that settings name."""
    texts = [settings.target, *settings.targets.values(), *settings.regions.values()]
    named = [path for text in texts for path in targets.paths(targets.parse(text))]
    return [*settings.files, *named]


def likeness_layers(settings: Settings, row: Row) -> tuple[str, ...]:
    """Return the layers in which the photo is held.

    Raises:
        UsageError: the network has no such layer, or it sees the picture as one.
    """
    name = settings.likeness.layer
    names = row.level(name) if name in LEVELS else (row.layer(name).name,)
    kept = tuple(name for name in names if row.layer(name).stride)
    if not kept:
        raise UsageError(
            f"The likeness cannot be held in '{name}' of {row.name}: it sees the picture as one.",
            f"Name an earlier layer: {row.listing} shows them.",
        )
    return kept


def _without_folders(settings: Settings) -> Settings:
    """Return settings that name their files without folders."""

    def named(text: str) -> str:
        target = targets.parse(text)
        return str(targets.without_folders(target)) if targets.paths(target) else text

    def mask(text: str) -> str:
        return str(mask_text.without_folder(mask_text.parse(text))) if text else ""

    regions = {mask(text): named(target) for text, target in settings.regions.items()}
    if len(regions) < len(settings.regions):
        raise UsageError(
            "Two regions have one mask, by two paths.",
            f"Add their targets: {next(iter(regions))}=A + B.",
        )
    colour = {"mode": str(settings.colours.without_folder)}
    return settings.model_copy(
        update={
            "target": named(settings.target),
            "targets": {network: named(text) for network, text in settings.targets.items()},
            "regions": regions,
            "mask": settings.mask.model_copy(update={"where": mask(settings.mask.where)}),
            "colour": settings.colour.model_copy(update=colour),
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
