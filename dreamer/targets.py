"""Targets: what a dream maximises, written as text.

One grammar for flags, presets and Python:

    target  = [sign] term { sign term }          0.7*parts + 0.3*class:zebra - 0.2*block3
    term    = [number "*"] subject               a term without a number weighs 1
    subject = level                              parts            a detail level
            | layer                              block8           mean of squared activations
            | layer ":" channel                  block8:37        one channel
            | layer ":" channel { "," channel }  block8:3,17,40   some of its channels
            | layer ":all-" channel { "," channel }   block8:all-12   all but those
            | (layer | level) ":" rank           parts:strong5    what the photo shows the most of
            | layer ":" channel "@" y "," x      block8:37@4,5    one neuron, from the top left
            | layer ":[" share { "," share } "]" block8:[37, -0.5*12]   a direction among channels
            | "direction:" path "@" layer        direction:smile.npy@block8   one from a file
            | "like:" path "@" place             like:photo.jpg@parts   a caricature of a photo
            | "guide:" path "@" place [":means"] guide:photo.jpg@parts   towards another picture
            | "style:" path "@" place            style:painting.jpg@textures   how it is painted
            | "class:" (name | index)            class:zebra, class:340, class:"tiger cat"
    place   = layer | level
    rank    = ("strong" | "weak") count ["@step"]   the channels with the most, or least, to say
    share   = [sign] [number "*"] channel        each channel once

A rank is of the channels of a layer, of each layer of a level, by how far they vary over the photo:
found once for a picture, or at each step. A guide draws every place to the most similar place of
the other picture, or with ":means" the means of the channels to those of it. A style is of the
levels up to the one it names.

Spaces around signs and "*" are optional. Layer and class names may hold dashes: a dash between two
letters or digits belongs to the name, unless a number and "*" follow it. So `block1-0` is a name,
while `a - b`, `a -b` and `a-2*b` are differences.

A weight is a number from a millionth to a million, of either sign. Negative weights make the
picture respond less; a target may hold only negative terms. Class names are those of
`dreamer.networks.imagenet`, in any case, with `_`, `-` or, in quotes, spaces between the words.
A path with spaces, "@" or "'" stands in quotes: like:"my photo.jpg"@block8. It counts from the
folder one is in.

`parse` needs no network and reads no file. `resolve` looks the names up in the row of one network,
reads the files, and gives the weighted sum of terms that an objective is built from.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from dreamer import errors
from dreamer.networks import imagenet
from dreamer.networks.rows import LEVELS, LOGITS
from dreamer.target_files import Files, Like, apart, file_name

if TYPE_CHECKING:
    from dreamer.networks.rows import Layer, Row

KINDS = (
    f"{', '.join(LEVELS)}, LAYER, LAYER:37 (a channel), LAYER:3,17 (channels), LAYER:strong5 (what "
    "the photo shows most), LAYER:37@4,5 (a neuron), LAYER:[37, -2*12] or direction:FILE@LAYER "
    "(a direction), like:PHOTO@LAYER (a caricature), guide:PHOTO@LAYER (towards a picture), "
    "style:PHOTO@LEVEL (how it is painted), class:NAME"
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
_FILE = rf"(?P<kind>like|direction|guide|style):{_PATH}@(?P<place>{_NAME})(?::(?P<form>means))?"
_SHARE = rf"\s*[+-]?\s*(?:{_NUMBER}\s*\*\s*)?\d{{1,9}}\s*"
_DIRECTION = rf"\[(?P<shares>{_SHARE}(?:,{_SHARE})*)\]"
_CHANNEL = r"(?P<channel>\d{1,9})(?:@(?P<y>\d{1,9}),\s*(?P<x>\d{1,9}))?"
_LIST = r"\d{1,9}(?:\s*,\s*\d{1,9})*"
_SOME = rf"(?P<but>all\s*-\s*)?(?P<channels>{_LIST})"
_RANK = r"(?P<rank>strong|weak)(?P<count>\d{1,9})(?P<anew>@step)?"
_END = r"(?=\s*(?:[+-]|$))"
_LAYER = rf"(?P<name>{_NAME})(?::(?:{_DIRECTION}|{_RANK}|{_CHANNEL}{_END}|{_SOME}))?"
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
        re.compile(r"(?:guide|style):", _FLAGS),
        'A guide is written guide:photo.jpg@parts, guide:"my photo.jpg"@block8 or '
        "guide:photo.jpg@block8:means, a style style:painting.jpg@textures.",
    ),
    (
        re.compile(rf"{_NAME}:(?:all|strong|weak)", _FLAGS),
        "Channels are chosen as block8:strong5, block8:weak5@step or block8:all-12,40.",
    ),
    (
        re.compile(rf"{_NAME}:\s*\[", _FLAGS),
        "A direction is written block8:[37, -0.5*12]: channels, with weights or without.",
    ),
    (
        re.compile(rf"{_NAME}:\d", _FLAGS),
        "A channel is written block8:37, some channels block8:3,17,40, and a neuron block8:37@4,5 "
        "(row 4, column 5).",
    ),
    (
        re.compile(r"[^+*]*\*"),
        "A weight is a plain number before one asterisk, as in 0.7*parts - 0.2*block3.",
    ),
)
_SPACED = re.compile(
    r"(like|direction|guide|style):\s*([^\"@]*\s[^\"@]*?)\s*@([\w.:-]+)", re.IGNORECASE
)
_KIND = re.compile(rf"(?P<kind>{_NAME}):", _FLAGS)


@dataclass(frozen=True)
class Choice:
    """Which channels of a layer, in so many words.

    Attributes:
        rank: "strong" or "weak": those that have the most or the least to say about the photo; ""
            for those that are named.
        count: how many, with a rank.
        anew: whether they are ranked at each step, not once for a picture.
        channels: those that are named, by their numbers.
        but: whether it is all others that are meant.
    """

    rank: Literal["strong", "weak", ""] = ""
    count: int = 0
    anew: bool = False
    channels: tuple[int, ...] = ()
    but: bool = False

    def __str__(self) -> str:
        if self.rank:
            return f"{self.rank}{self.count}{'@step' if self.anew else ''}"
        return f"{'all-' if self.but else ''}{','.join(map(str, self.channels))}"

    def among(self, count: int) -> tuple[int, ...]:
        """Return those that are named, or the others, of `count` channels."""
        if not self.but:
            return self.channels
        return tuple(channel for channel in range(count) if channel not in self.channels)


def choice(text: str) -> Choice | None:
    """Read a choice as `str` writes it; None if it is not one."""
    match = re.fullmatch(rf"{_RANK}|{_SOME}", text, _FLAGS)
    return None if match is None else _choice(match)


@dataclass(frozen=True)
class Term:
    """One weighted term of a target.

    Attributes:
        weight: from a millionth to a million, of either sign.
        kind: "level", "layer" (a whole layer, channels, a neuron or a direction), "direction" (one
            from a file), "like" (a caricature), "guide", "style" or "class".
        name: the level's or layer's name, or the class's name in ImageNet's own spelling.
        channel: the channel of a layer, or the index 0..999 of a class.
        at: the neuron's (y, x) in the layer's map, counted from the top left.
        direction: channels of a layer with their shares, by their numbers.
        path: of the file of a direction, or of the picture of a caricature, guide or style.
        choice: which channels of a layer, or of each layer of a level.
        means: whether a guide is followed in the means of its channels.

    Raises:
        UsageError: the weight, or a share of a direction, is zero, too small or large to compute
            with, or not a number; a channel is named twice; or a rank is of no channel.
    """

    weight: float
    kind: Literal["level", "layer", "direction", "like", "guide", "style", "class"]
    name: str
    channel: int | None = None
    at: tuple[int, int] | None = None
    direction: tuple[tuple[int, float], ...] = ()
    path: str = ""
    choice: Choice | None = None
    means: bool = False

    def __post_init__(self) -> None:
        _check_weight(self.weight, self.label, "term")
        channels = [channel for channel, _ in self.direction]
        channels += () if self.choice is None else self.choice.channels
        for channel in channels:
            if channels.count(channel) > 1:
                raise errors.UsageError(
                    f"'{self.label}' names channel {channel} twice.", "Name each channel once."
                )
        for channel, share in self.direction:
            _check_weight(share, f"channel {channel} of {self.name}", "channel")
        if self.choice is not None and self.choice.count == 0 and not self.choice.channels:
            raise errors.UsageError(
                f"'{self.label}' chooses no channel.", "Give a number from 1, as in block8:strong5."
            )

    @property
    def label(self) -> str:
        """The term without its weight, as `parse` reads it."""
        if self.kind == "class":
            return f"class:{self.name.replace(' ', '_')}"
        if self.path:
            bare = re.fullmatch(_BARE_PATH, self.path, _FLAGS)
            path = self.path if bare else f'"{self.path}"'
            return f"{self.kind}:{path}@{self.name}{':means' if self.means else ''}"
        if self.choice is not None:
            return f"{self.name}:{self.choice}"
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
        choice: which channels, as `Choice` writes it; "" for those that `channel` says.
        guide: the picture to go towards.
        by: how: "best" match, "means" or "style"; "" without a guide.
        region: the index of the region that it is for; None for all of the picture.
    """

    weight: float
    layer: str
    channel: int | None
    at: tuple[int, int] | None
    label: str
    direction: tuple[tuple[int, float], ...] = ()
    like: Like | None = None
    choice: str = ""
    guide: Like | None = None
    by: Literal["best", "means", "style", ""] = ""
    region: int | None = None


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
    apart(paths(target))
    return Target(tuple(replace(term, path=file_name(term.path)) for term in target.terms))


def paths(target: Target) -> tuple[str, ...]:
    """Return the paths of the files that are read when it is resolved, each once."""
    return tuple(dict.fromkeys(term.path for term in target.terms if term.path))


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
        return _file_term(match, weight)
    if match["name"] is None:
        quoted = match["quoted"]
        index = imagenet.index(match["bare"] if quoted is None else quoted)
        return Term(weight, "class", imagenet.name(index), index)
    name, shares = match["name"], match["shares"]
    channel = None if match["channel"] is None else int(match["channel"])
    at = None if match["y"] is None else (int(match["y"]), int(match["x"]))
    some = _choice(match)
    if name not in LEVELS:
        direction = _direction(shares) if shares else ()
        return Term(weight, "layer", name, channel, at, direction, choice=some)
    if channel is not None:
        raise _of_a_level(f"{name}:{channel}", "channel", name)
    if some is not None and not some.rank:
        raise _of_a_level(f"{name}:{some}", "channel", name)
    if shares:
        raise _of_a_level(f"{name}:[{shares}]", "direction", name)
    return Term(weight, "level", name, choice=some)


def _file_term(match: re.Match[str], weight: float) -> Term:
    """Build a term that names a file."""
    kind, path = match["kind"].lower(), match["quoted_path"] or match["bare_path"]
    place, means = match["place"], match["form"] is not None
    if means and kind != "guide":
        raise errors.UsageError(
            f"'{kind}:{path}@{place}:means' asks for the means of a {kind}.",
            "Only a guide has them: guide:photo.jpg@block8:means.",
        )
    for each in ("like", "guide", "style"):
        if kind == each:
            return Term(weight, each, place, path=path, means=means)
    return Term(weight, "direction", place, path=path)


def _choice(match: re.Match[str]) -> Choice | None:
    """Read which channels are chosen."""
    if match["rank"] is not None:
        rank: Literal["strong", "weak"] = "weak"
        if match["rank"].lower() == "strong":
            rank = "strong"
        return Choice(rank, int(match["count"]), match["anew"] is not None)
    if match["channels"] is None:
        return None
    numbers = sorted(int(number) for number in match["channels"].split(","))
    return Choice(channels=tuple(numbers), but=match["but"] is not None)


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
    layers = [_layer(name, row) for name in _places(term, row)]
    for layer in layers:
        _check_channels(term, layer, row)
    photo = files.photo(term.path) if term.kind in ("like", "guide", "style") else None
    kind = "layer" if term.kind == "level" else term.kind
    for layer in layers:
        direction = term.direction
        if term.kind == "direction":
            direction = files.direction(term.path, layer)
        named = replace(term, kind=kind, name=layer.name, path=file_name(term.path))
        yield Resolved(
            weight=term.weight / len(layers),
            layer=layer.name,
            channel=term.channel,
            at=term.at,
            label=named.label,
            direction=direction,
            like=photo if term.kind == "like" else None,
            choice="" if term.choice is None else str(term.choice),
            guide=None if term.kind == "like" else photo,
            by=_by(term),
        )


def _by(term: Term) -> Literal["best", "means", "style", ""]:
    if term.kind == "style":
        return "style"
    if term.kind == "guide":
        return "means" if term.means else "best"
    return ""


def _places(term: Term, row: Row) -> tuple[str, ...]:
    """Name the layers of a term: a style's level is the last of those it is told by."""
    if term.name not in LEVELS:
        return (term.name,)
    if term.kind != "style":
        return row.level(term.name)
    levels = LEVELS[: LEVELS.index(term.name) + 1]
    names = [name for level in levels for name in row.level(level) if row.layer(name).stride]
    return tuple(dict.fromkeys(names))


def _check_channels(term: Term, layer: Layer, row: Row) -> None:
    """Refuse channels that a layer does not have, or cannot rank or match: `UsageError`."""
    some = term.choice or Choice()
    last = layer.channels - 1
    for channel in (term.channel, *(channel for channel, _ in term.direction), *some.channels):
        if channel is not None and channel > last:
            raise errors.UsageError(
                f"Layer '{layer.name}' of {row.name} has no channel {channel}.",
                f"Its channels are 0 to {last}.",
            )
    if some.count > layer.channels:
        raise errors.UsageError(
            f"'{term.label}' asks for {some.count} channels; layer '{layer.name}' of {row.name} "
            f"has {layer.channels}.",
            f"Give a number from 1 to {layer.channels}.",
        )
    if some.but and not some.among(layer.channels):
        raise errors.UsageError(
            f"'{term.label}' leaves no channel of '{layer.name}'.", "Leave out fewer of them."
        )
    if not layer.stride and (some.rank or term.kind in ("guide", "style")):
        what = "ranks channels over" if some.rank else "compares places of"
        raise errors.UsageError(
            f"'{term.label}' {what} a picture, and '{layer.name}' of {row.name} sees it as one.",
            f"Name an earlier layer: {row.listing} shows them.",
        )


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
    spaced = _SPACED.match(rest)
    if spaced is not None:
        right = f'{spaced[1]}:"{spaced[2]}"@{spaced[3]}'
        return errors.UsageError(
            f"The target '{text}' cannot be read at '{rest}'.",
            f"A name with spaces stands in double quotes: {right}.",
        )
    advice = next((advice for hint, advice in _HINTS if hint.match(rest)), None)
    kind = _KIND.match(rest)
    if advice is None and kind is not None:
        kinds = ["class", "like", "direction", "guide", "style"]
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
