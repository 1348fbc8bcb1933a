"""Targets: what a dream maximises, written as text.

One grammar for flags, presets and Python:

    target  = [sign] term { sign term }          0.7*parts + 0.3*class:zebra - 0.2*block3
    term    = [number "*"] subject               a term without a number weighs 1
    subject = level                              parts            a detail level
            | layer                              block8           mean of squared activations
            | layer ":" channel                  block8:37        one channel
            | layer ":" channel "@" y "," x      block8:37@4,5    one neuron, from the top left
            | layer ":[" share { "," share } "]" block8:[37, -0.5*12]   a direction among channels
            | "direction:" path "@" layer        direction:smile.npy@block8   one from a file
            | "like:" path "@" (layer | level)   like:photo.jpg@parts   a caricature of a photo
            | "class:" (name | index)            class:zebra, class:340, class:"tiger cat"
    share   = [sign] [number "*"] channel        each channel once

Spaces around signs and "*" are optional. Layer and class names may hold dashes: a dash between two
letters or digits belongs to the name, unless a number and "*" follow it. So `block1-0` is a name,
while `a - b`, `a -b` and `a-2*b` are differences.

A weight is a number from a millionth to a million, of either sign. Negative weights make the
picture respond less; a target may hold only negative terms. Class names are those of
`dreamer.networks.imagenet`, in any case, with `_`, `-` or, in quotes, spaces between the words.
A path with spaces, "@" or "'" stands in quotes: like:"my photo.jpg"@block8. It counts from the
folder one is in.

`parse` needs no network and reads no file. `resolve` looks the names up in the row of one network,
reads the files, and gives the weighted sum of layers, channels, neurons, directions and caricatures
that an objective is built from.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from dreamer import errors
from dreamer.media.files import shown
from dreamer.networks import imagenet
from dreamer.networks.rows import LEVELS, LOGITS
from dreamer.target_files import Files, Like, file_name

if TYPE_CHECKING:
    from dreamer.networks.rows import Layer, Row

KINDS = (
    f"{', '.join(LEVELS)}, LAYER, LAYER:37 (a channel), LAYER:37@4,5 (a neuron), LAYER:[37, -2*12] "
    "or direction:FILE@LAYER (a direction), like:PHOTO@LAYER (a caricature), class:NAME"
)

LONGEST = 2000  # characters of a target
LARGEST_WEIGHT = 1e6

_SIGNS = r"\s*(?P<sign>[+-])?\s*(?P<own_sign>[+-])?\s*"
_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
_WEIGHT = rf"(?:(?P<weight>{_NUMBER})\s*\*\s*)?"
_NAME = r"\w(?:[\w.]|-(?=\w))*"
_CLASS = r"class:(?:\"(?P<quoted>[^\"]*)\"|(?P<bare>\w(?:[\w.']|-(?=\w))*))"
_BARE_PATH = r"[^\s@\"'\x00-\x1f\x7f]+"
_PATH = rf"(?:\"(?P<quoted_path>[^\"\x00-\x1f\x7f]+)\"|(?P<bare_path>{_BARE_PATH}))"
_FILE = rf"(?P<kind>like|direction):{_PATH}@(?P<place>{_NAME})"
_SHARE = rf"\s*[+-]?\s*(?:{_NUMBER}\s*\*\s*)?\d{{1,9}}\s*"
_DIRECTION = rf"\[(?P<shares>{_SHARE}(?:,{_SHARE})*)\]"
_CHANNEL = r"(?P<channel>\d{1,9})(?:@(?P<y>\d{1,9}),\s*(?P<x>\d{1,9}))?"
_LAYER = rf"(?P<name>{_NAME})(?::(?:{_DIRECTION}|{_CHANNEL}))?"
_FLAGS = re.ASCII | re.IGNORECASE
_TERM = re.compile(rf"{_SIGNS}{_WEIGHT}(?:{_CLASS}|{_FILE}|{_LAYER})\s*(?=[+-]|$)", _FLAGS)
_ONE_SHARE = re.compile(rf"\s*(?P<sign>[+-])?\s*{_WEIGHT}(?P<channel>\d+)\s*", _FLAGS)

_OPENING = re.compile(_SIGNS + _WEIGHT, _FLAGS)
_HINTS = (
    (
        re.compile(r"class:", _FLAGS),
        'Write a class of several words as class:tiger_cat or class:"tiger cat".',
    ),
    (
        re.compile(r"(?:like|direction):", _FLAGS),
        'A caricature is written like:photo.jpg@parts or like:"my photo.jpg"@block8, a direction '
        "from a file direction:numbers.npy@block8.",
    ),
    (
        re.compile(rf"{_NAME}:\s*\[", _FLAGS),
        "A direction is written block8:[37, -0.5*12]: channels, with weights or without.",
    ),
    (
        re.compile(rf"{_NAME}:\d", _FLAGS),
        "A channel is written block8:37 and a neuron block8:37@4,5 (row 4, column 5).",
    ),
    (
        re.compile(r"[^+*]*\*"),
        "A weight is a plain number before one asterisk, as in 0.7*parts - 0.2*block3.",
    ),
)
_KIND = re.compile(rf"(?P<kind>{_NAME}):", _FLAGS)


@dataclass(frozen=True)
class Term:
    """One weighted term of a target.

    Attributes:
        weight: from a millionth to a million, of either sign.
        kind: "level", "layer" (a whole layer, a channel, a neuron or a direction), "direction" (one
            from a file), "like" (a caricature) or "class".
        name: the level's or layer's name, or the class's name in ImageNet's own spelling.
        channel: the channel of a layer, or the index 0..999 of a class.
        at: the neuron's (y, x) in the layer's map, counted from the top left.
        direction: channels of a layer with their shares, by their numbers.
        path: of the file of a direction, or of a caricature's photo.

    Raises:
        UsageError: the weight, or a share of a direction, is zero, too small or large to compute
            with, or not a number; or a direction names a channel twice.
    """

    weight: float
    kind: Literal["level", "layer", "direction", "like", "class"]
    name: str
    channel: int | None = None
    at: tuple[int, int] | None = None
    direction: tuple[tuple[int, float], ...] = ()
    path: str = ""

    def __post_init__(self) -> None:
        _check_weight(self.weight, self.label, "term")
        channels = [channel for channel, _ in self.direction]
        for channel, share in self.direction:
            _check_weight(share, f"channel {channel} of {self.name}", "channel")
            if channels.count(channel) > 1:
                raise errors.UsageError(
                    f"'{self.label}' names channel {channel} twice.", "Name each channel once."
                )

    @property
    def label(self) -> str:
        """The term without its weight, as `parse` reads it."""
        if self.kind == "class":
            return f"class:{self.name.replace(' ', '_')}"
        if self.path:
            bare = re.fullmatch(_BARE_PATH, self.path, _FLAGS)
            path = self.path if bare else f'"{self.path}"'
            return f"{self.kind}:{path}@{self.name}"
        if self.direction:
            return f"{self.name}:[{_shares(self.direction)}]"
        return _layer_label(self.name, self.channel, self.at)


@dataclass(frozen=True)
class Target:
    """A weighted sum of terms; `str` gives its canonical text, which parses to the same target."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return _weighted_sum((term.weight, term.label) for term in self.terms)


@dataclass(frozen=True)
class Resolved:
    """One term of a target in one network: nothing left to look up.

    Attributes:
        weight: finite, not zero.
        layer: a layer of the network by its own name, never an alias; "logits" for a class.
        channel: None for the whole layer.
        at: the neuron's (y, x), or None for the whole channel.
        label: how to show it, such as "block8:37" or "class:zebra"; files without their folders.
        direction: the channels that are not zero, in their order, with their shares.
        like: the photo that it is a caricature of.
    """

    weight: float
    layer: str
    channel: int | None
    at: tuple[int, int] | None
    label: str
    direction: tuple[tuple[int, float], ...] = ()
    like: Like | None = None


def parse(text: str) -> Target:
    """Read a target; the grammar is at the top of this module.

    Layer names are kept as they are written, since no network is known yet.

    Raises:
        UsageError: the text is not a target, a class is unknown or ambiguous, or a weight is zero
            or not finite.
    """
    if len(text) > LONGEST:
        raise errors.UsageError(
            f"The target '{text[:40]}...' is {len(text)} characters long.",
            f"At most {LONGEST} are read.",
        )
    terms: list[Term] = []
    position = 0
    while position < len(text) or not terms:
        match = _TERM.match(text, position)
        if match is None:
            raise _unreadable(text, position)
        terms.append(_term(match))
        position = match.end()
    return Target(tuple(terms))


def resolve(target: Target, row: Row, files: Files | None = None) -> tuple[Resolved, ...]:
    """Look a target's names up in one network, and read the files that it names.

    A detail level becomes its layers, which share its weight equally. Terms that mean the same
    become one with the sum of their weights.

    Args:
        target: what to look up.
        row: the network's.
        files: what was read before, if anything was; filled with what is read now.

    Returns:
        At least one term, in the order of the target's text.

    Raises:
        UsageError: the network has no such layer or channel, or the terms cancel out.
        InputError: a file that is not there or not what it should be.
    """
    files = Files() if files is None else files
    weights: dict[Resolved, list[float]] = {}
    labels: dict[Resolved, str] = {}
    for term in target.terms:
        for found in _resolve_term(term, row, files):
            key = replace(found, weight=1.0, label="")
            weights.setdefault(key, []).append(found.weight)
            labels.setdefault(key, found.label)
    resolved = []
    for key, parts in weights.items():
        weight = math.fsum(parts)
        # 0.1 + 0.2 - 0.3 is not quite zero in floating point, but it is meant to be.
        if abs(weight) > 1e-9 * math.fsum(map(abs, parts)):
            resolved.append(replace(key, weight=weight, label=labels[key]))
    if not resolved:
        raise errors.UsageError(
            f"The terms of '{target}' cancel each other out on {row.name}.",
            "Change the weights so that something is left to maximise.",
        )
    return tuple(resolved)


def without_folders(target: Target) -> Target:
    """Return a target that names its files without their folders, as recipes do.

    Raises:
        UsageError: two files in different folders have one name.
    """
    paths: dict[str, str] = {}
    for term in target.terms:
        path = paths.setdefault(file_name(term.path), term.path)
        if os.path.abspath(path) != os.path.abspath(term.path):
            raise errors.UsageError(
                f"'{shown(path)}' and '{shown(term.path)}' have one name.",
                "Rename one of them: a recipe knows files by their names.",
            )
    return Target(tuple(replace(term, path=file_name(term.path)) for term in target.terms))


def names_files(target: Target) -> bool:
    """Whether files are read when it is resolved."""
    return any(term.path for term in target.terms)


def deepest(resolved: Iterable[Resolved], row: Row) -> Layer:
    """Return the last layer in execution order that any of the terms needs."""
    wanted = {term.layer for term in resolved}
    return next(layer for layer in reversed(row.layers) if layer.name in wanted)


def describe(resolved: Iterable[Resolved]) -> str:
    """Return the weighted sum as text, such as "0.5*block8 + 0.5*block9 - 0.2*class:zebra"."""
    return _weighted_sum((term.weight, term.label) for term in resolved)


def _term(match: re.Match[str]) -> Term:
    """Build one term from a match of `_TERM`."""
    negative = (match["sign"] == "-") != (match["own_sign"] == "-")
    weight = float(match["weight"] or 1) * (-1 if negative else 1)
    if match["kind"] is not None:
        path = match["quoted_path"] or match["bare_path"]
        if match["kind"].lower() == "like":
            return Term(weight, "like", match["place"], path=path)
        return Term(weight, "direction", match["place"], path=path)
    if match["name"] is None:
        quoted = match["quoted"]
        index = imagenet.index(match["bare"] if quoted is None else quoted)
        return Term(weight, "class", imagenet.name(index), index)
    name, shares = match["name"], match["shares"]
    channel = None if match["channel"] is None else int(match["channel"])
    at = None if match["y"] is None else (int(match["y"]), int(match["x"]))
    if name not in LEVELS:
        return Term(weight, "layer", name, channel, at, _direction(shares) if shares else ())
    if channel is not None:
        raise _of_a_level(f"{name}:{channel}", "channel", name)
    if shares:
        raise _of_a_level(f"{name}:[{shares}]", "direction", name)
    return Term(weight, "level", name)


def _of_a_level(label: str, what: str, level: str) -> errors.UsageError:
    """Build the error for what only a layer has."""
    return errors.UsageError(
        f"'{label}' asks for a {what} of a detail level.",
        f"Name one of the layers of '{level}' instead; `dreamer layers` shows them.",
    )


def _direction(text: str) -> tuple[tuple[int, float], ...]:
    """Read what stands between the brackets of a direction."""
    shares = []
    for match in map(_ONE_SHARE.fullmatch, text.split(",")):
        assert match is not None
        share = float(match["weight"] or 1) * (-1 if match["sign"] == "-" else 1)
        shares.append((int(match["channel"]), share))
    return tuple(sorted(shares))


def _resolve_term(term: Term, row: Row, files: Files) -> Iterator[Resolved]:
    if term.kind == "class":
        _check_class(term, row)
        yield Resolved(term.weight, LOGITS, term.channel, None, term.label)
        return
    if term.kind == "direction" and term.name in LEVELS:
        raise _of_a_level(term.label, "direction", term.name)
    names = row.level(term.name) if term.name in LEVELS else (term.name,)
    layers = [_layer(name, row) for name in names]
    for layer in layers:
        for channel in (term.channel, *(channel for channel, _ in term.direction)):
            if channel is not None and channel >= layer.channels:
                raise errors.UsageError(
                    f"Layer '{layer.name}' of {row.name} has no channel {channel}.",
                    f"Its channels are 0 to {layer.channels - 1}.",
                )
    like = files.photo(term.path) if term.kind == "like" else None
    kind = "layer" if term.kind == "level" else term.kind
    for layer in layers:
        direction = term.direction
        if term.kind == "direction":
            direction = files.direction(term.path, layer)
        named = replace(term, kind=kind, name=layer.name, path=file_name(term.path))
        weight = term.weight / len(layers)
        yield Resolved(weight, layer.name, term.channel, term.at, named.label, direction, like)


def _check_class(term: Term, row: Row) -> None:
    """Refuse a class that the network does not tell apart: `UsageError`."""
    last = row.layers[-1]
    count = last.channels if last.name == LOGITS else 0
    if term.channel is not None and term.channel < count:
        return
    said = f"tells {count} classes apart" if count else "has no classes"
    raise errors.UsageError(
        f"'{term.label}' is class {term.channel}, and {row.name} {said}.",
        f"Give an index from 0 to {count - 1}." if count else "Name one of its layers.",
    )


def _layer(name: str, row: Row) -> Layer:
    """Find a layer by name or alias; levels are offered too, as they stand in the same place."""
    try:
        return row.layer(name)
    except errors.UsageError as error:
        names = [*LEVELS, *(layer.name for layer in row.layers), *row.aliases]
        listing = f"{row.listing} shows them all"
        if imagenet.known(name):
            listing = f"Or class:{name}? {listing}"
        elif any(name.startswith(f"{known}-") for known in names):
            listing = f"A minus needs a space before it; {listing}"
        raise errors.unknown(f"level or layer of {row.name}", name, names, listing) from error


def _unreadable(text: str, position: int) -> errors.UsageError:
    """Explain why no term can be read from `text` at `position`."""
    if not text.strip():
        return errors.UsageError("The target is empty.", f"A target is a sum of {KINDS}.")
    opening = _OPENING.match(text, position)
    rest = text[position if opening is None else opening.end() :].strip()
    if not rest:
        return errors.UsageError(
            f"The target '{text}' ends where a name should follow.", f"Its terms can be {KINDS}."
        )
    advice = next((advice for hint, advice in _HINTS if hint.match(rest)), None)
    kind = _KIND.match(rest)
    if advice is None and kind is not None:
        kinds = ["class", "like", "direction"]
        return errors.unknown("kind of target", kind["kind"], kinds, f"A target can be {KINDS}")
    return errors.UsageError(
        f"The target '{text}' cannot be read at '{rest}'.",
        advice or "A target is a sum such as 0.7*parts + 0.3*class:zebra - 0.2*block3.",
    )


def _check_weight(weight: float, label: str, what: str) -> None:
    if not 1 / LARGEST_WEIGHT <= abs(weight) <= LARGEST_WEIGHT:
        raise errors.UsageError(
            f"'{label}' has the weight {weight + 0.0!r}.",
            f"Give it a weight from {1 / LARGEST_WEIGHT:f} to {LARGEST_WEIGHT:.0f}, of either "
            f"sign, or leave the {what} out.",
        )


def _weighted_sum(terms: Iterable[tuple[float, str]]) -> str:
    """Write (weight, label) pairs as a sum; weights of 1 are left out."""
    text = ""
    for weight, label in terms:
        sign = "-" if weight < 0 else "+"
        one = f"{_factor(weight)}{label}"
        text += f" {sign} {one}" if text else f"{sign}{one}".lstrip("+")
    return text


def _shares(direction: Iterable[tuple[int, float]]) -> str:
    """Write what stands between the brackets of a direction."""
    return ", ".join(
        f"{'-' if share < 0 else ''}{_factor(share)}{channel}" for channel, share in direction
    )


def _factor(weight: float) -> str:
    """Write the size of a weight before what it weighs; 1 is left out."""
    return "" if abs(weight) == 1 else f"{repr(abs(weight)).removesuffix('.0')}*"


def _layer_label(name: str, channel: int | None, at: tuple[int, int] | None) -> str:
    label = name if channel is None else f"{name}:{channel}"
    return label if at is None else f"{label}@{at[0]},{at[1]}"
