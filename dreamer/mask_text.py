"""Masks, written as text: where a dream may change a picture, and how much.

One grammar for flags, presets and Python:

    mask    = ["not:"] where
    where   = "alpha"                                  where the photo is opaque
            | "auto"                                   where the network sees the target already
            | "rest"                                   what no other region covers
            | "ellipse:" x "," y "," rx "," ry         ellipse:0.5,0.4,0.3,0.35
            | ["file:"] path                           mask.png, "my mask.png", ./auto
    keep    = part { "," part }                        faces, edges, dark, light
    region  = mask "=" target                          auto=class:zebra

An ellipse has its centre and its two radii, as shares of the picture's width (x, rx) and height
(y, ry). A path has a dot or a slash in it, or stands in quotes or behind `file:`; in a region one
with "=" stands in quotes. It counts from the folder one is in.

Reads no file, and imports neither torch nor pydantic.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from dreamer import errors
from dreamer.errors import UsageError
from dreamer.media.files import shown
from dreamer.target_files import file_name

Kind: TypeAlias = Literal["file", "alpha", "ellipse", "auto", "rest"]
Ellipse: TypeAlias = tuple[float, float, float, float]
"""Centre x, centre y, radius x, radius y, as shares of the width (x) and the height (y)."""

KEEPS = ("faces", "edges", "dark", "light")
"""What can be kept as it is, in canonical order."""
KINDS = "alpha, auto, rest, ellipse:X,Y,RX,RY or a picture file such as mask.png"
REGION = "--region ellipse:0.5,0.4,0.3,0.35=class:zebra"

LONGEST = 1000  # characters of a mask
LARGEST_RADIUS = 2.0
FARTHEST = (-1.0, 2.0)  # where the centre of an ellipse may lie

_NOT, _ELLIPSE, _FILE = "not:", "ellipse:", "file:"
_WORDS: tuple[Kind, ...] = ("alpha", "auto", "rest")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN_PATH = re.compile(r"(?=[^\"]*[./\\])[^\s\"=,]+")
_PREFIXED = re.compile(rf"(?:{_NOT}|{_ELLIPSE}|{_FILE})", re.IGNORECASE)


@dataclass(frozen=True)
class Mask:
    """Where a dream may change a picture.

    Attributes:
        kind: a picture file, the photo's own opacity, an ellipse, where the network sees the
            target, or what no other region covers.
        path: of the picture file.
        ellipse: see `Ellipse`.
        inverted: whether it is everywhere else instead.

    Raises:
        UsageError: numbers that are out of range, a path with quotes or control characters, or
            `not:rest`.
    """

    kind: Kind
    path: str = ""
    ellipse: Ellipse | None = None
    inverted: bool = False

    def __post_init__(self) -> None:
        if self.kind == "rest" and self.inverted:
            raise UsageError(
                "'not:rest' is where the other regions are.", "Name these regions themselves."
            )
        if self.kind == "ellipse":
            _check_ellipse(self.ellipse or ())
        if self.kind == "file":
            _check_path(self.path)

    def __str__(self) -> str:
        """Write it so that it can be parsed again."""
        where: str = self.kind
        if self.ellipse is not None:
            where = _ELLIPSE + ",".join(map(_shortest, self.ellipse))
        elif self.kind == "file":
            plain = _PLAIN_PATH.fullmatch(self.path) and not _PREFIXED.match(self.path)
            where = self.path if plain else f'"{self.path}"'
        return _NOT * self.inverted + where


def parse(text: str) -> Mask:
    """Read a mask.

    Raises:
        UsageError: it is empty, too long or malformed, or names no kind of mask.
    """
    if len(text) > LONGEST:
        raise UsageError(
            f"The mask '{shown(text[:20])}...' is too long: {len(text)} characters.",
            f"At most {LONGEST} are read: give the file a shorter path.",
        )
    if _CONTROL.search(text):
        raise UsageError(
            f"The mask '{shown(text)}' has control characters in it.", f"A mask is {KINDS}."
        )
    where, inverted = text.strip(), False
    while where.lower().startswith(_NOT):
        where, inverted = where[len(_NOT) :].strip(), not inverted
    if not where:
        raise UsageError(f"The mask '{shown(text)}' is empty.", f"A mask is {KINDS}.")
    return replace(_where(where), inverted=inverted)


def parse_keep(text: str) -> tuple[str, ...]:
    """Read what is to be kept as it is, and return it in the order of `KEEPS`.

    Raises:
        UsageError: nothing is named, or what cannot be kept, or one thing twice.
    """
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        if name not in KEEPS:
            listing = f"What can be kept is {', '.join(KEEPS)}, as in faces,edges"
            raise errors.unknown("part to keep", shown(name[:40]), KEEPS, listing)
        if names.count(name) > 1:
            raise UsageError(f"'{shown(text)}' names '{name}' twice.", "Name each once.")
    return tuple(name for name in KEEPS if name in names)


def parse_region(text: str) -> tuple[Mask, str]:
    """Read a region, `MASK=TARGET`: return its mask, and the text of its target.

    Raises:
        UsageError: there is no "=" outside quotes, a side of it is empty, or the mask is none.
    """
    form = f"Write MASK=TARGET, as in {REGION}."
    match = re.match(r'((?:[^"=]|"[^"]*")*)=(.*)', text, re.DOTALL)
    if match is None:
        raise UsageError(f"The region '{shown(text[:80])}' has no '='.", form)
    mask, target = match[1].strip(), match[2].strip()
    if not mask or not target:
        missing = "target" if mask else "mask"
        raise UsageError(f"The region '{shown(text[:80])}' has no {missing}.", form)
    return parse(mask), target


def without_folder(mask: Mask) -> Mask:
    """Name a mask's file by its name only."""
    return replace(mask, path=file_name(mask.path)) if mask.kind == "file" else mask


def _where(text: str) -> Mask:
    """Read a mask that is neither empty nor inverted."""
    lower = text.lower()
    for word in _WORDS:
        if lower == word:
            return Mask(word)
    if lower.startswith(_ELLIPSE):
        return Mask("ellipse", ellipse=_ellipse(text))
    if lower.startswith(_FILE):
        return Mask("file", _unquoted(text[len(_FILE) :].strip()))
    if text.startswith('"') or any(mark in text for mark in "./\\"):
        return Mask("file", _unquoted(text))
    names = (*_WORDS, _ELLIPSE.rstrip(":"))
    listing = f"A mask is {KINDS}; a file without a dot is written ./{shown(text[:40])}"
    raise errors.unknown("mask", shown(text[:80]), names, listing)


def _ellipse(text: str) -> Ellipse:
    words = [word.strip() for word in text[len(_ELLIPSE) :].split(",")]
    if len(words) != 4 or not all(map(_NUMBER.fullmatch, words)):
        raise _no_ellipse(text, "it has no four numbers")
    x, y, rx, ry = map(float, words)
    return x, y, rx, ry


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    return text


def _check_ellipse(values: tuple[float, ...]) -> None:
    text = _ELLIPSE + ",".join(map(_shortest, values))
    if len(values) != 4 or not all(map(math.isfinite, values)):
        raise _no_ellipse(text, "it has no four numbers")
    if not all(0 < radius <= LARGEST_RADIUS for radius in values[2:]):
        raise _no_ellipse(text, f"its radii have to be above 0, and at most {LARGEST_RADIUS:g}")
    if not all(FARTHEST[0] <= centre <= FARTHEST[1] for centre in values[:2]):
        raise _no_ellipse(text, f"its centre has to lie within {FARTHEST[0]:g} to {FARTHEST[1]:g}")


def _no_ellipse(text: str, why: str) -> UsageError:
    return UsageError(
        f"'{shown(text[:80])}' is no ellipse: {why}.",
        "Write its centre and radii as shares of the width and height: ellipse:0.5,0.4,0.3,0.35.",
    )


def _check_path(path: str) -> None:
    if not path or '"' in path or _CONTROL.search(path):
        raise UsageError(
            f"'{shown(path[:80])}' is no path of a mask.",
            'Write it as mask.png or "my mask.png"; quotes cannot be a part of it.',
        )


def _shortest(number: float) -> str:
    return repr(float(number) + 0.0).removesuffix(".0")  # + 0.0: no negative zero
