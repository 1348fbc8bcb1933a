"""What the page may ask for: every body checked, and turned into what the renderers take.

No text of the page's names a file: targets with paths are refused, and pictures are named by the
ids of what this person gave.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dreamer import preset_files, presets, recipe, targets
from dreamer.errors import UsageError, unknown
from dreamer.networks import rows
from dreamer.recipe import MOST_SEED
from dreamer.render import devices
from dreamer.render.look import DEFAULT_PRESET, Request, read_recipe
from dreamer.render.look import look as resolve
from dreamer.settings import Settings, setting
from dreamer.studio.people import MADE_UP, Person, from_here

SIZES = (512, 768, 1024, 1600, 2048, 4096, 8192)
SIZE = 1024
"""The longer side of a dream unless told otherwise, px."""
LARGEST = 8192
"""The longer side of a dream, px; larger ones are for the command line."""
MOST_WORK = 4_000_000_000
"""Pixels x steps of one dream: about ten minutes on two processors."""
MOST_DRAFT_WORK = 20_000_000
MOST_FILM_WORK, MOST_FILM_PIXELS = 40_000_000_000, 80_000_000_000
MOST_BATCH_WORK = 200_000_000_000
"""Pixels x steps of a draft, a film and a batch, and the pixels of all frames of a film."""
LONGEST_FILM, LARGEST_FILM = 600.0, 3840
"""Seconds, and the longer side, px."""
MOST_PHOTOS, MOST_PICTURES, MOST_SEEDS, LONGEST_BATCH_FILM = 500, 4000, 16, 60.0
MOST_UNITS = 48
LEAST_SHARE = 0.05
SMALLEST_UNIT, LARGEST_UNIT = 64, 1024
"""The side of a large picture of a unit, px."""

Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Size = Annotated[int, Field(ge=32, le=LARGEST)]
TargetText = Annotated[str, Field(min_length=1, max_length=targets.LONGEST)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Mask(_Body):
    """Where a dream may change the photo."""

    photo: Name
    invert: bool = False
    feather: float | None = Field(default=None, ge=0, le=0.5)


class Guide(_Body):
    """Another picture to go towards."""

    photo: Name
    level: Name = "parts"
    how: Literal["guide", "style", "like"] = "guide"
    weight: float = Field(default=0.5, ge=LEAST_SHARE, le=1.0)


class LookBody(_Body):
    """How to dream; None is as the preset has it."""

    preset: Name | None = None
    recipe: Name | None = Field(default=None, alias="from")
    target: TargetText | None = None
    strength: float | None = None
    octaves: int | None = None
    quality: str | None = None
    color: Literal["free", "keep", "luma"] | None = None
    blend: float | None = None
    likeness: float | None = None
    canvas: str | None = None
    keep: list[str] | None = None
    mask: Mask | None = None
    guide: Guide | None = None


class StripBody(_Body):
    """Every preset on a photo."""

    photo: Name
    seed: Seed = 0


class SuggestBody(_Body):
    """What would suit a photo."""

    photo: Name


class DreamBody(_Body):
    """One picture."""

    photo: Name
    look: LookBody = LookBody()
    size: Size | None = SIZE
    seed: Seed = 0


class StretchBody(_Body):
    """A part of a journey."""

    what: TargetText
    seconds: float = Field(gt=0, le=LONGEST_FILM)


class ZoomBody(_Body):
    """A zoom film."""

    photo: Name
    look: LookBody = LookBody()
    seed: Seed = 0
    preview: bool = False
    seconds: float | None = Field(default=None, ge=0.1, le=LONGEST_FILM)
    fps: float = Field(default=30.0, ge=1, le=120)
    size: Annotated[str, Field(max_length=12)] | None = None
    speed: float = Field(default=2.0, ge=1.01, le=8)
    rotate: float = Field(default=0.0, ge=-360, le=360)
    center: tuple[Share, Share] = (0.5, 0.5)
    direction: Literal["in", "out"] = "in"
    ease: bool = False
    loop: bool = False
    format: Literal["mp4", "webm", "gif", "webp"] = "mp4"
    journey: Annotated[list[StretchBody], Field(max_length=24)] = []
    fade: float | None = Field(default=None, ge=0, le=LONGEST_FILM)

    @model_validator(mode="after")
    def _ends(self) -> ZoomBody:
        if sum(part.seconds for part in self.journey) > LONGEST_FILM:
            raise ValueError(f"a journey can be no longer than {LONGEST_FILM:g} seconds")
        return self


class BatchBody(_Body):
    """Many photos with some presets."""

    photos: Annotated[list[Name], Field(min_length=1, max_length=MOST_PHOTOS)]
    presets: Annotated[list[Name], Field(max_length=64)] = []
    look: LookBody = LookBody()
    size: Size | None = SIZE
    seeds: int = Field(default=1, ge=1, le=MOST_SEEDS)
    zoom: float | None = Field(default=None, ge=0.1, le=LONGEST_BATCH_FILM)

    @model_validator(mode="after")
    def _ends(self) -> BatchBody:
        count = len(self.photos) * max(1, len(self.presets)) * self.seeds
        if count > MOST_PICTURES:
            raise ValueError(f"{count} pictures are too many; a batch can have {MOST_PICTURES}")
        return self


class UnitsBody(_Body):
    """Small pictures of what some units look for."""

    targets: Annotated[list[TargetText], Field(min_length=1, max_length=MOST_UNITS)]


class UnitBody(_Body):
    """A large picture of what a unit looks for."""

    target: TargetText
    size: int = Field(default=384, ge=SMALLEST_UNIT, le=LARGEST_UNIT)
    canvas: Literal["fourier", "maco", "pixel"] = "fourier"
    seed: Seed = 0


_Wanted = TypeVar("_Wanted", bound=_Body)


def read(model: type[_Wanted], body: object) -> _Wanted:
    """Check a body.

    Raises:
        UsageError: the first thing that is wrong with it.
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        said = f"{place}: {said}" if place else said[0].upper() + said[1:]
        raise UsageError(f"{said}.", "Load the page again if it sent this by itself.") from error


@dataclass(frozen=True)
class Asked:
    """A look as the renderers and the command line take it.

    Attributes:
        preset: a name, or the path of an own one; None with a file's settings.
        recipe: the file whose settings to use.
        overrides: settings over those, by their paths.
    """

    preset: str | None
    recipe: str | None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def request(self, **more: Any) -> Request:
        """Return it as a request; what a file says is not looked for anywhere else."""
        request = Request(
            preset=self.preset,
            recipe=self.recipe,
            overrides=self.overrides,
            offline=True,
            here=False,
            **more,
        )
        threads = self.threads()
        return request if threads is None else replace(request, threads=threads)

    def threads(self) -> int | None:
        """Return how many threads to compute with, where a file asks for more than there are."""
        old = None if self.recipe is None else read_recipe(self.recipe)
        most = devices.default_threads()
        return most if old is not None and old.threads > most else None

    def flags(self, *, presets_too: bool = True) -> list[str]:
        """Return it as the flags of the command line."""
        found: list[str] = []
        if presets_too and self.preset is not None and self.preset != DEFAULT_PRESET:
            found += ["--preset", self.preset]
        if self.recipe is not None:
            found += ["--from", self.recipe]
        for path, value in self.overrides.items():
            flag = setting(path).flag
            assert flag is not None
            if value is True:
                found.append(flag)
            elif value is not None and value is not False:
                found += [flag, number(value) if isinstance(value, float) else str(value)]
        threads = self.threads()
        return found if threads is None else [*found, "--threads", str(threads)]

    @property
    def name(self) -> str:
        """What it is called."""
        if self.recipe is not None:
            return f"the settings of {Path(self.recipe).name}"
        return Path(self.preset or DEFAULT_PRESET).stem


def look(body: LookBody, person: Person) -> Asked:
    """Resolve a look of the page's.

    Raises:
        UsageError: a name that is not here, a value that is not valid, a target with files in it.
        InputError: a picture that a file's settings need and that was not given.
        NetworkError: weights that are not here.
    """
    old = None
    if body.recipe is not None:
        old = from_here(person.path(person.photo(body.recipe)))
        check_old(old)
    preset = None if old is not None else preset_of(body.preset or DEFAULT_PRESET, person)
    target = None if body.target is None else plain_target(body.target)
    if body.guide is not None:
        target = _guided(body.guide, target, preset, old, person)
    mask = body.mask
    where = None if mask is None else from_here(person.path(person.photo(mask.photo)))
    overrides = {
        "target": target,
        "ascent.strength": body.strength,
        "octaves.count": body.octaves,
        "ascent.canvas": body.canvas,
        "ascent.quality": body.quality,
        "colour.mode": body.color,
        "mask.where": where,
        "mask.feather": None if mask is None else mask.feather,
        "mask.invert": (mask is not None and mask.invert) or None,
        "mask.keep": ",".join(body.keep) if body.keep else None,
        "likeness.amount": body.likeness,
        "mix.blend": body.blend,
    }
    said = {path: value for path, value in overrides.items() if value is not None}
    asked = Asked(preset, old, said)
    resolve(asked.request())  # what is wrong is said at once, not when its turn comes
    return asked


def preset_of(name: str, person: Person) -> str:
    """Return how a preset of the page's is found: by its name, or an own one by its path.

    Raises:
        UsageError: there is none of that name.
    """
    for found in person.own_presets():
        if found.name == name:
            return from_here(found.path)
    known = preset_files.names()
    if name not in known:
        raise unknown("preset", name, known, preset_files.LISTING)
    return name


def plain_target(text: str) -> str:
    """Return a target in its own spelling.

    Raises:
        UsageError: it is none, or names files: those are given to the page instead.
    """
    found = targets.parse(text)
    if targets.paths(found):
        raise UsageError(
            f"'{text[:80]}' names a file.", "Give the picture to the page, as its guide."
        )
    return str(found)


def photo_of(name: str, person: Person) -> str:
    """Return what to dream on, as the renderers and the command line take it.

    Raises:
        UsageError: there is no such photo.
    """
    return name if name in MADE_UP else from_here(person.path(person.photo(name)))


def title_of(name: str, person: Person) -> str:
    """Return what a photo is called in the queue."""
    return {"sky": "clouds", "noise": "noise"}.get(name) or person.photo(name).id


def line(command: str, *arguments: str, output: Path) -> str:
    """Return a line for a shell; what comes first is a path, or of `visualize` a target."""
    first, *others = arguments
    if first.startswith("-"):  # and is no flag
        first = f" {first}" if command == "visualize" else f"./{first}"
    words = ["dreamer", command, first, *others, "-o", from_here(output)]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def number(value: float) -> str:
    """Return a number as a flag that reads back as the very same."""
    return repr(value).removesuffix(".0")


def shown(settings: Settings, network: str) -> dict[str, Any]:
    """Return the values of settings that the page's dials show."""
    keep = settings.mask.keep
    return {
        "target": "; ".join(settings.targets_on(network).values()),
        "strength": settings.ascent.strength,
        "octaves": settings.octaves.count,
        "quality": settings.ascent.quality,
        "color": settings.colour.mode,
        "blend": settings.mix.blend,
        "likeness": settings.likeness.amount,
        "canvas": settings.ascent.canvas,
        "keep": keep.split(",") if keep else [],
    }


def check_old(path: str) -> None:
    """Refuse a file's settings that name files which its recipe does not know by their content.

    Those would be looked for in the folder that the studio was started in.

    Raises:
        UsageError: it does, or its recipe is damaged.
        InputError: it cannot be read.
    """
    old = read_recipe(path)
    if old is None:
        return  # which is said when it is used
    row = rows.row(old.network)
    pictures = {like.name for like in old.pictures}
    numbers = {(term.layer, term.label) for term in old.terms if term.direction}
    for text in old.settings.targets_on(row.name).values():
        for term in targets.parse(text).terms:
            known = not term.path or term.path in pictures
            if term.kind == "direction" and term.path:
                layer = row.layer(term.name).name
                known = (layer, replace(term, weight=1.0, name=layer).label) in numbers
            if not known:
                raise UsageError(
                    f"The recipe in '{Path(path).name}' names the file '{term.path[:80]}', of "
                    "which it knows nothing.",
                    "Use the original file; other programs may have changed this one.",
                )


def check_own(settings: Settings) -> None:
    """Refuse settings of a preset from the page that name files: `UsageError`."""
    if recipe.paths(settings):
        raise UsageError(
            f"The preset names the file '{recipe.paths(settings)[0][:80]}'.",
            "A preset for the studio names none: give pictures to the page instead.",
        )


def _guided(
    guide: Guide, target: str | None, preset: str | None, old: str | None, person: Person
) -> str:
    """Return the target with a guide's share in it."""
    path = from_here(person.path(person.photo(guide.photo)))
    parsed = targets.parse(f'{guide.how}:"{path}"@{guide.level}')
    if targets.paths(parsed) != (path,) or len(parsed.terms) > 1:  # it goes on behind the level
        raise UsageError(f"'{guide.level[:80]}' is no level and no layer.", "Choose one, as parts.")
    towards = str(parsed)
    if guide.weight == 1:
        return towards
    base = targets.parse(target or _own_target(preset, old))
    weights = [abs(term.weight) for term in base.terms]
    left = (1 - guide.weight) / sum(weights)
    rest = targets.Target(
        tuple(replace(term, weight=round(left * term.weight, 6)) for term in base.terms)
    )
    return str(targets.parse(f"{rest} + {guide.weight:g}*{towards}"))


def _own_target(preset: str | None, old: str | None) -> str:
    """Return the target that a preset, or a file, has by itself."""
    if old is not None:
        found = read_recipe(old)
        assert found is not None  # it was looked at when it was given
        settings, network = found.settings, found.network
    else:
        settings, network = presets.load(preset or DEFAULT_PRESET).settings, rows.DEFAULT
    if settings.regions:
        raise UsageError(
            "These settings have targets for regions, with which a guide has no share.",
            "Give the guide all of it, or choose another preset.",
        )
    if targets.paths(targets.parse(settings.target_on(network))):
        raise UsageError("These settings have a guide of their own.", "Give the new one all of it.")
    return settings.target_on(network)
