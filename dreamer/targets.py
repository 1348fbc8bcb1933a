"""Targets: what a dream maximises, written as text.

One grammar for flags, presets and Python:

    target  = [sign] term { sign term }          0.7*parts + 0.3*class:zebra - 0.2*block3
    term    = [number "*"] subject               a term without a number weighs 1
    subject = level                              parts            a detail level
            | layer                              block8           mean of squared activations
            | layer ":" channel                  block8:37        one channel
            | layer ":" channel "@" y "," x      block8:37@4,5    one neuron, from the top left
            | "class:" (name | index)            class:zebra, class:340, class:"tiger cat"

Spaces around signs and "*" are optional. Layer and class names may hold dashes: a dash between two
letters or digits belongs to the name, unless a number and "*" follow it. So `block1-0` is a name,
while `a - b`, `a -b` and `a-2*b` are differences.

A weight is a number from a millionth to a million, of either sign. Negative weights make the
picture respond less; a target may hold only negative terms. Class names are those of
`dreamer.networks.imagenet`, in any case, with `_`, `-` or, in quotes, spaces between the words.

`parse` needs no network. `resolve` looks the names up in the row of one network and gives the
weighted sum of layers, channels and neurons that an objective is built from.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dreamer import errors
from dreamer.networks import imagenet
from dreamer.networks.rows import LEVELS

if TYPE_CHECKING:
    from dreamer.networks.rows import Layer, Row

KINDS = f"{', '.join(LEVELS)}, LAYER, LAYER:37 (a channel), LAYER:37@4,5 (a neuron), class:NAME"

LONGEST = 2000  # characters of a target
LARGEST_WEIGHT = 1e6

_SIGNS = r"\s*(?P<sign>[+-])?\s*(?P<own_sign>[+-])?\s*"
_WEIGHT = r"(?:(?P<weight>(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*\*\s*)?"
_NAME = r"\w(?:[\w.]|-(?=\w))*"
_CLASS = r"class:(?:\"(?P<quoted>[^\"]*)\"|(?P<bare>\w(?:[\w.']|-(?=\w))*))"
_LAYER = rf"(?P<name>{_NAME})(?::(?P<channel>\d{{1,9}})(?:@(?P<y>\d{{1,9}}),\s*(?P<x>\d{{1,9}}))?)?"
_FLAGS = re.ASCII | re.IGNORECASE
_TERM = re.compile(rf"{_SIGNS}{_WEIGHT}(?:{_CLASS}|{_LAYER})\s*(?=[+-]|$)", _FLAGS)

_OPENING = re.compile(_SIGNS + _WEIGHT, _FLAGS)
_HINTS = (
    (
        re.compile(r"class:", _FLAGS),
        'Write a class of several words as class:tiger_cat or class:"tiger cat".',
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
        kind: "level", "layer" (a whole layer, a channel or a neuron) or "class".
        name: the level's or layer's name, or the class's name in ImageNet's own spelling.
        channel: the channel of a layer, or the index 0..999 of a class.
        at: the neuron's (y, x) in the layer's map, counted from the top left.

    Raises:
        UsageError: the weight is zero, too small or large to compute with, or not a number.
    """

    weight: float
    kind: Literal["level", "layer", "class"]
    name: str
    channel: int | None = None
    at: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not 1 / LARGEST_WEIGHT <= abs(self.weight) <= LARGEST_WEIGHT:
            raise errors.UsageError(
                f"'{self.label}' has the weight {self.weight + 0.0!r}.",
                f"Give it a weight from {1 / LARGEST_WEIGHT:f} to {LARGEST_WEIGHT:.0f}, of either "
                "sign, or leave the term out.",
            )

    @property
    def label(self) -> str:
        """The term without its weight, as `parse` reads it."""
        if self.kind == "class":
            return f"class:{self.name.replace(' ', '_')}"
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
        label: how to show it, such as "block8:37" or "class:zebra".
    """

    weight: float
    layer: str
    channel: int | None
    at: tuple[int, int] | None
    label: str


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


def resolve(target: Target, row: Row) -> tuple[Resolved, ...]:
    """Look a target's names up in one network.

    A detail level becomes its layers, which share its weight equally. Terms that mean the same
    layer, channel and neuron become one with the sum of their weights.

    Returns:
        At least one term, in the order of the target's text.

    Raises:
        UsageError: the network has no such layer or channel, or the terms cancel out.
    """
    weights: dict[tuple[str, int | None, tuple[int, int] | None], list[float]] = {}
    labels: dict[tuple[str, int | None, tuple[int, int] | None], str] = {}
    for term in target.terms:
        for found in _resolve_term(term, row):
            key = (found.layer, found.channel, found.at)
            weights.setdefault(key, []).append(found.weight)
            labels.setdefault(key, found.label)
    resolved = []
    for key, parts in weights.items():
        weight = math.fsum(parts)
        # 0.1 + 0.2 - 0.3 is not quite zero in floating point, but it is meant to be.
        if abs(weight) > 1e-9 * math.fsum(map(abs, parts)):
            resolved.append(Resolved(weight, *key, labels[key]))
    if not resolved:
        raise errors.UsageError(
            f"The terms of '{target}' cancel each other out on {row.name}.",
            "Change the weights so that something is left to maximise.",
        )
    return tuple(resolved)


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
    if match["name"] is None:
        quoted = match["quoted"]
        index = imagenet.index(match["bare"] if quoted is None else quoted)
        return Term(weight, "class", imagenet.name(index), index)
    name = match["name"]
    channel = None if match["channel"] is None else int(match["channel"])
    at = None if match["y"] is None else (int(match["y"]), int(match["x"]))
    if name not in LEVELS:
        return Term(weight, "layer", name, channel, at)
    if channel is not None:
        raise errors.UsageError(
            f"'{name}:{channel}' asks for a channel of a detail level.",
            f"Name one of the layers of '{name}' instead; `dreamer layers` shows them.",
        )
    return Term(weight, "level", name)


def _resolve_term(term: Term, row: Row) -> Iterator[Resolved]:
    if term.kind == "level":
        layers = row.level(term.name)
        for name in layers:
            yield Resolved(term.weight / len(layers), name, None, None, name)
        return
    if term.kind == "class":
        yield Resolved(term.weight, "logits", term.channel, None, term.label)
        return
    layer = _layer(term.name, row)
    if term.channel is not None and term.channel >= layer.channels:
        raise errors.UsageError(
            f"Layer '{layer.name}' of {row.name} has no channel {term.channel}.",
            f"Its channels are 0 to {layer.channels - 1}.",
        )
    label = _layer_label(layer.name, term.channel, term.at)
    yield Resolved(term.weight, layer.name, term.channel, term.at, label)


def _layer(name: str, row: Row) -> Layer:
    """Find a layer by name or alias; levels are offered too, as they stand in the same place."""
    try:
        return row.layer(name)
    except errors.UsageError as error:
        names = [*LEVELS, *(layer.name for layer in row.layers), *row.aliases]
        listing = f"`dreamer layers --network {row.name}` shows them all"
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
        return errors.unknown("kind of target", kind["kind"], ["class"], f"A target can be {KINDS}")
    return errors.UsageError(
        f"The target '{text}' cannot be read at '{rest}'.",
        advice or "A target is a sum such as 0.7*parts + 0.3*class:zebra - 0.2*block3.",
    )


def _weighted_sum(terms: Iterable[tuple[float, str]]) -> str:
    """Write (weight, label) pairs as a sum; weights of 1 are left out."""
    text = ""
    for weight, label in terms:
        sign = "-" if weight < 0 else "+"
        number = "" if abs(weight) == 1 else f"{repr(abs(weight)).removesuffix('.0')}*"
        text += f" {sign} {number}{label}" if text else f"{sign}{number}{label}".lstrip("+")
    return text


def _layer_label(name: str, channel: int | None, at: tuple[int, int] | None) -> str:
    label = name if channel is None else f"{name}:{channel}"
    return label if at is None else f"{label}@{at[0]},{at[1]}"
