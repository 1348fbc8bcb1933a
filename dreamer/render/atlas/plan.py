"""What an atlas is to hold: layers, channels, and the fixed batches that these are made in.

Nothing here imports torch before `plan` has checked all names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dreamer import methods
from dreamer.errors import OutputError, UsageError
from dreamer.media import files
from dreamer.networks.rows import LEVELS, Layer, Row
from dreamer.recipe import TermRecord
from dreamer.render import visual_job
from dreamer.render.look import Look, Request, look
from dreamer.targets import Resolved
from dreamer.visual_recipe import VisualRecipe

if TYPE_CHECKING:
    from dreamer.networks.network import Network

SIZE = 128
ALL = "all"
BATCH = 8
"""Channels made together, at most: few, since what is missing of a batch makes all of it again."""
MOST_VARIANTS = 16
_RANGE = re.compile(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?")


@dataclass(frozen=True)
class Wanted:
    """What was asked for; None is "not said".

    Attributes:
        folder: where the atlas goes, or is.
        network: the name of one, or one that was loaded.
        weights: a checkpoint, or the name of published weights.
        layers: names of layers, detail levels, or "all"; one a detail level by default.
        channels: such as "0-15,37", the same of all layers; every one by default.
        size: the side of the pictures, px.
        steps: of gradient ascent.
        variants: pictures of each channel, that avoid each other.
        photos: files, folders and patterns of photos to look for each channel's favourites in.
        seed: decides all that is random.
        device: where to compute.
        threads: to compute a batch with; as many batches are made at once as there are processors
            for.
        offline: never fetch weights.
        overwrite: whether an atlas of other settings is replaced.
    """

    folder: Path
    network: str | Network | None = None
    weights: str | Path | None = None
    layers: Sequence[str] | None = None
    channels: str | None = None
    size: int = SIZE
    steps: int | None = None
    variants: int = 1
    photos: Sequence[str] = ()
    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    offline: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Part:
    """A layer's share of an atlas.

    Attributes:
        layer: the layer.
        folder: what its folder is called.
        channels: the channels that were asked for, in order.
        batches: all batches that one of these is in, of whole runs of channels.
    """

    layer: Layer
    folder: str
    channels: tuple[int, ...]
    batches: tuple[tuple[int, ...], ...]

    def picture(self, channel: int, variant: int = 0) -> str:
        """Name a channel's picture."""
        return f"{self.stem(channel)}{f'-{variant + 1}' if variant else ''}.png"

    def crop(self, channel: int, number: int) -> str:
        """Name the crop of a photo, counted from 0."""
        return f"{self.stem(channel)}-photo-{number + 1}.jpg"

    def stem(self, channel: int) -> str:
        """Return the number of a channel, as files are named and sorted by it."""
        return f"{channel:0{max(3, len(str(self.layer.channels - 1)))}}"


@dataclass(frozen=True)
class Plan:
    """An atlas that passed all checks but those of the folder.

    Attributes:
        wanted: what was asked for.
        look: the network, and where to compute.
        recipe: what all pictures have in common: of no target, and of the first variant.
        parts: the layers, in execution order.
        photos: the photos to look through.
        notes: what the user should know.
    """

    wanted: Wanted
    look: Look
    recipe: VisualRecipe
    parts: tuple[Part, ...]
    photos: tuple[Path, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def recipes(self, layer: str, channel: int) -> list[VisualRecipe]:
        """Return the recipes of a channel's pictures."""
        term = TermRecord(**vars(Resolved(1.0, layer, channel, None, f"{layer}:{channel}")))
        return [
            self.recipe.model_copy(update={"terms": (term,), "variant": variant})
            for variant in range(self.recipe.group)
        ]


def plan(wanted: Wanted) -> Plan:
    """Resolve and check what was asked for.

    Raises:
        UsageError: names and values that are not valid.
        NetworkError: weights that cannot be had.
        InputError: photos that are not there.
        OutputError: the atlas would land among the photos.
        DeviceError: the device does not work.
    """
    _check_number("size", wanted.size, 4096)
    _check_number("variants", wanted.variants, MOST_VARIANTS)
    if wanted.steps is not None:
        _check_number("steps", wanted.steps, 100_000)
    request = Request(
        network=wanted.network,
        weights=wanted.weights,
        seed=wanted.seed,
        device=wanted.device,
        threads=wanted.threads,
        offline=wanted.offline,
        to_file=False,
    )
    chosen = look(request, threads=1)
    row = chosen.row
    layers = chosen_layers(row, wanted.layers)
    numbers = [chosen_channels(row, layer, wanted.channels) for layer in layers]
    if wanted.size < row.minimum:
        raise UsageError(
            f"{row.name} needs pictures of at least {row.minimum} pixels.",
            f"Give --size {row.minimum} or more.",
        )
    photos, notes = _photos(wanted)
    chosen = chosen.placed()
    recipe = _recipe(wanted, chosen)
    folders = folder_names(row)
    parts = tuple(
        Part(
            layer,
            folders[layer.name],
            channels,
            tuple(batches(layer.channels, channels, BATCH)),
        )
        for layer, channels in zip(layers, numbers, strict=True)
    )
    _check_apart(wanted.folder, parts, photos)
    return Plan(wanted, chosen, recipe, parts, photos, (*chosen.notes, *notes))


def chosen_layers(row: Row, names: Sequence[str] | None) -> list[Layer]:
    """Return layers in execution order, each once.

    Layers of which a channel has a single neuron, such as the classes' logits, are taken only if
    they are named.

    Args:
        row: the network's.
        names: of layers, detail levels, or "all"; None for those of all detail levels.

    Raises:
        UsageError: an unknown name, or none.
    """
    found: set[str] = set()
    known = {layer.name for layer in row.layers} | set(row.aliases)
    for name in LEVELS if names is None else [name.strip() for name in names]:
        if name in known:
            found.add(row.layer(name).name)
        elif name in LEVELS:
            found.update(row.level(name))
        elif name == ALL:
            found.update(layer.name for layer in row.layers if layer.stride)
        else:
            row.layer(name)  # says which there are
    if not found:
        raise UsageError("No layers are named.", "Name some, or leave --layers out.")
    return [layer for layer in row.layers if layer.name in found]


def chosen_channels(row: Row, layer: Layer, text: str | None) -> tuple[int, ...]:
    """Read the numbers of channels, such as "0-15,37"; None for all of a layer.

    Raises:
        UsageError: it is not written so, or the layer does not have them.
    """
    if text is None:
        return tuple(range(layer.channels))
    found: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        first, last = (match[1], match[2] or match[1]) if match else ("1", "0")
        if int(first) > int(last):
            raise UsageError(
                f"'{files.shown(part.strip())}' names no channels.",
                "Write --channels like 0-15,37.",
            )
        if int(last) >= layer.channels:
            raise UsageError(
                f"Layer '{layer.name}' of {row.name} has no channel {last}.",
                f"Its channels are 0 to {layer.channels - 1}; --layers chooses other layers.",
            )
        found.update(range(int(first), int(last) + 1))
    return tuple(sorted(found))


def batches(count: int, wanted: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """Return the batches that the wanted ones of `count` channels are in.

    They are runs of `size` channels from the first on, whatever is wanted: the last bits of a
    picture depend on how many are made with it, and so do not depend on what there is already.
    """
    firsts = sorted({channel // size * size for channel in wanted})
    return [tuple(range(first, min(first + size, count))) for first in firsts]


def folder_names(row: Row) -> dict[str, str]:
    """Name the folders of all layers: like them, as far as every file system allows."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for layer in row.layers:
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", layer.name).strip(".")[:100] or "layer"
        name, count = plain, 1
        while name.casefold() in taken:
            count += 1
            name = f"{plain}-{count}"
        taken.add(name.casefold())
        names[layer.name] = name
    return names


def _recipe(wanted: Wanted, chosen: Look) -> VisualRecipe:
    """Return what the recipes of all pictures have in common."""
    method = methods.method(methods.DEFAULT)
    settings = visual_job.settings_of(method, {"steps": wanted.steps})
    return VisualRecipe(
        method=methods.DEFAULT,
        size=(wanted.size, wanted.size),
        network=chosen.row.name,
        weights=chosen.weights,
        settings=settings,
        terms=(),
        group=wanted.variants,
        seed=chosen.seed,
        threads=chosen.threads,
        device=chosen.device.partition(":")[0],
    )


def _photos(wanted: Wanted) -> tuple[tuple[Path, ...], list[str]]:
    if not wanted.photos:
        return (), []
    from dreamer.render.atlas import photos

    found, notes = photos.find(wanted.photos, without=wanted.folder)
    return tuple(found), notes


def _check_apart(folder: Path, parts: Sequence[Part], photos: Sequence[Path]) -> None:
    """Refuse to write among the photos that are looked through."""
    there = {os.path.realpath(photo.parent) for photo in photos}
    for part in parts:
        if os.path.realpath(folder / part.folder) in there:
            raise OutputError(
                f"There are photos in '{files.shown(folder / part.folder)}', where pictures of "
                f"{part.layer.name} would go.",
                "Choose another folder with -o.",
            )


def _check_number(name: str, value: int, most: int) -> None:
    if type(value) is not int or not 1 <= value <= most:
        raise UsageError(
            f"{value!r} is not valid for {name}.",
            f"It can be a whole number from 1 to {most}.",
        )
