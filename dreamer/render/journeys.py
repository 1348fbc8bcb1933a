"""Journeys and camera paths as they are written: on the command line, and in TOML files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dreamer import errors, preset_files, targets
from dreamer.core.camera import Ease
from dreamer.errors import UsageError
from dreamer.preset_files import Document, Found, shorten

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SPEEDS, TURNS, LONGEST_FILM = (1.01, 8.0), 360.0, 86_400.0
"""Times a second, degrees a second either way, and seconds."""
EXAMPLE = "'textures 4s, eyes 6s'"

Part = Literal["preset", "target", "either"]


@dataclass(frozen=True)
class Stretch:
    """A part of a journey.

    Attributes:
        what: a preset's name or a target.
        seconds: how long it is.
        fade: seconds that it comes up out of the one before; None is not said.
        kind: which of the two it is.
        where: the file and line it is from, for messages.
    """

    what: str
    seconds: float
    fade: float | None = None
    kind: Part = "either"
    where: str = ""


@dataclass(frozen=True)
class CameraKey:
    """How the camera moves at one time.

    Attributes:
        at: seconds.
        speed: how many times a second enlarges, at least 1.
        rotate: degrees a second, clockwise.
        centre: the place that stays where it is, 0..1 from the left and from the top.
        ease: how it goes from here to the next key.
        where: the file and line it is from, for messages.
    """

    at: float = 0.0
    speed: float = 2.0
    rotate: float = 0.0
    centre: tuple[float, float] = (0.5, 0.5)
    ease: Ease = "smooth"
    where: str = ""


@dataclass(frozen=True)
class Script:
    """What is written in a file: a journey, a camera's path, or both."""

    looks: tuple[Stretch, ...]
    camera: tuple[CameraKey, ...]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


_Share = Annotated[float, Field(ge=0, le=1)]


class _Look(_Table):
    preset: str | None = None
    target: str | None = None
    seconds: float = Field(gt=0, le=LONGEST_FILM)
    fade: float | None = Field(default=None, ge=0, le=LONGEST_FILM)


class _Camera(_Table):
    at: float = Field(ge=0, le=LONGEST_FILM)
    speed: float = Field(default=2.0, ge=1, le=SPEEDS[1])
    rotate: float = Field(default=0.0, ge=-TURNS, le=TURNS)
    centre: list[_Share] = Field(default=[0.5, 0.5], min_length=2, max_length=2)
    ease: Ease = "smooth"


class _File(_Table):
    look: list[_Look] = []
    camera: list[_Camera] = []


# A neuron's place and a list of channels have commas, too; so may brackets and names in quotes.
_BETWEEN = re.compile(r',(?!\s*\d+(?:[\s,]|$))(?![^\[\]]*\])(?=(?:[^"]*"[^"]*")*[^"]*$)')
_TABLES: dict[str, type[_Table]] = {"look": _Look, "camera": _Camera}


def parse(text: str) -> tuple[Stretch, ...]:
    """Read a journey such as "textures 4s, eyes 6s, class:zebra 5s".

    Raises:
        UsageError: a part of it has no seconds.
    """
    found = []
    for part in _BETWEEN.split(text):
        what, _, time = part.strip().rpartition(" ")
        try:
            seconds = float(time.removesuffix("s"))
        except ValueError:
            seconds = math.nan
        if not what.strip() or not 0 < seconds < math.inf:
            raise UsageError(
                f"'{part.strip()}' is no part of a journey.",
                f"Write presets or targets with their seconds: {EXAMPLE}.",
            )
        found.append(Stretch(what.strip(), seconds))
    return tuple(found)


def is_file(journey: str) -> bool:
    """Whether a journey is a file rather than its own text."""
    return journey.rstrip().endswith(".toml")


def read(path: str, needed: Literal["look", "camera"]) -> Script:
    """Read a file with `[[look]]` and `[[camera]]` tables.

    Args:
        path: it.
        needed: which of the two must be there.

    Raises:
        UsageError: it cannot be read, or lacks what is needed; everything that is wrong with it,
            a line each.
    """
    kind, other = ("journey", EXAMPLE) if needed == "look" else ("path", "--speed and --rotate")
    document = preset_files.read(Found(Path(path).stem, Path(path), "file"), kind, other)
    problems: list[tuple[int, str]] = []
    try:
        file = _File.model_validate(dict(document.values))
    except ValidationError as error:
        file = _File()
        problems += (_problem(document, found) for found in error.errors(include_url=False))
    problems += _more_problems(document, file)
    if problems:
        said = [text for _, text in sorted(problems)]
        these = "it" if len(said) == 1 else f"these {len(said)} things"
        raise UsageError("\n".join(said), f"Correct {these}; the guide has a whole example.")
    if not getattr(file, needed):
        raise UsageError(
            f"'{preset_files.shown(Path(path))}' has no [[{needed}]].",
            "Write one for each look." if needed == "look" else "Write one for each key.",
        )
    return Script(tuple(_looks(document, file)), tuple(_keys(document, file)))


def _looks(document: Document, file: _File) -> Iterator[Stretch]:
    for index, look in enumerate(file.look):
        kind: Part = "target" if look.preset is None else "preset"
        what = look.target if look.preset is None else look.preset
        where = _where(document, "look", str(index), kind)
        yield Stretch(what or "", look.seconds, look.fade, kind, where)


def _keys(document: Document, file: _File) -> Iterator[CameraKey]:
    """Yield the keys; what one does not say stays as it was in the one before."""
    values = {name: getattr(CameraKey(), name) for name in ("speed", "rotate", "centre")}
    for index, key in enumerate(file.camera):
        said = key.model_fields_set
        values |= {name: getattr(key, name) for name in values if name in said}
        speed, rotate, (across, down) = values["speed"], values["rotate"], values["centre"]
        where = _where(document, "camera", str(index), "at")
        yield CameraKey(key.at, speed, rotate, (across, down), key.ease, where)


def _more_problems(document: Document, file: _File) -> Iterator[tuple[int, str]]:
    """Find what is wrong with tables that are valid each by itself."""
    for index, look in enumerate(file.look):
        place = ("look", str(index))
        if (look.preset is None) == (look.target is None):
            yield _said(document, place, "give either a preset or a target.")
        elif look.target is not None:
            try:
                targets.parse(look.target)
            except UsageError as error:
                yield _said(document, (*place, "target"), f"{error.message} {error.advice}")
    for index, (before, key) in enumerate(zip(file.camera, file.camera[1:], strict=False), 1):
        if key.at <= before.at:
            said = f"{key.at:g} is not after the key before, at {before.at:g}."
            yield _said(document, ("camera", str(index), "at"), said)


def _problem(document: Document, details: ErrorDetails) -> tuple[int, str]:
    """Say in the project's words what pydantic found."""
    path = tuple(str(part) for part in details["loc"])
    table = _TABLES.get(path[0]) if len(path) > 2 else None
    fields = _File.model_fields if table is None else table.model_fields
    value = shorten(details["input"])
    match details["type"]:
        case "extra_forbidden":
            near = errors.nearest(path[-1], fields, 1)
            offer = f"Did you mean {near[0]}?" if near else f"There are {', '.join(fields)}."
            text = f"there is no such {'table' if table is None else 'setting'}. {offer}"
        case "missing":
            text = "is missing."
        case "literal_error":
            near = errors.nearest(str(details["input"]), ("smooth", "linear", "hold"), 1)
            offer = f"Did you mean {near[0]}? " if near else ""
            text = f"{value} is not valid. {offer}It can be smooth, linear or hold."
        case "greater_than" | "greater_than_equal" | "less_than_equal":
            text = f"{value} is not valid. It can be {_range(path)}."
        case "list_type" if len(path) == 1:
            text = f"should be tables: write [[{path[0]}]] above each."
        case "list_type" | "too_short" | "too_long":
            text = f"{value} is not valid. It should be a place such as [0.5, 0.5]."
        case "model_type":
            text = f"{value} should be a table: write [[{path[0]}]] above its settings."
        case _:
            text = f"{value} is not valid. It should {details['msg'].partition(' should ')[2]}."
    return _said(document, path, text)


def _range(path: tuple[str, ...]) -> str:
    """Say what a number can be."""
    return {
        "seconds": f"more than 0, up to {LONGEST_FILM:g}",
        "fade": f"0 to {LONGEST_FILM:g}",
        "at": f"0 to {LONGEST_FILM:g}",
        "speed": f"1 to {SPEEDS[1]:g}",
        "rotate": f"{-TURNS:g} to {TURNS:g}",
        "centre": "0 to 1, from the left and from the top",
    }[path[2]]


def _line(document: Document, path: tuple[str, ...]) -> int:
    prefixes = (path[:length] for length in range(len(path), 0, -1))
    return next((document.lines[prefix] for prefix in prefixes if prefix in document.lines), 1)


def _where(document: Document, *path: str) -> str:
    return f"{preset_files.shown(document.found.path)}:{_line(document, path)}: "


def _said(document: Document, path: tuple[str, ...], text: str) -> tuple[int, str]:
    """Return a problem with its line, to sort by."""
    names = ".".join(part for part in path if not part.isdigit())
    return _line(document, path), f"{_where(document, *path)}{names}: {text}"
