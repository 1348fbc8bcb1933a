"""How much memory a picture takes, and how much there is."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from dreamer.errors import DeviceError
from dreamer.recipe import Recipe

if TYPE_CHECKING:
    from dreamer.core.tiles import Tiling
    from dreamer.networks.network import Network

WORKER = 600_000_000
"""Bytes that a process with a network takes before it has a picture."""

# Bytes that a pixel takes in the largest octave, measured at 512 to 1024 px with `parts` and
# `objects` as targets; and for networks that were not measured, the most of those that were.
PER_PIXEL = {
    "efficientnet_lite0": 950,
    "mobilenet_v3_large": 850,
    "googlenet": 1150,
    "inception_v3": 1250,
    "resnet50": 1200,
    "convnext_tiny": 2000,
    "vgg16": 2150,
    "vgg19": 2250,
    "densenet121": 2600,
}
PER_PIXEL_AT_MOST = 2600
# The same on other devices, which have their own memory: the photo, the result and its file.
PER_PIXEL_BESIDE = 100
DECODED = 26  # bytes that a pixel of a photo takes while it is read: WebP, or 16 bits and alpha
# Bytes that a pixel takes of a picture that is seen in tiles, by the canvas: the photo, what is
# dreamed, the gradient and where it went, each 12, and the gradient's coarser versions. Waves need
# the Fourier transform of the whole picture, and fourier that of one four times as large.
PER_PIXEL_TILED = {"pixel": 60, "maco": 200, "fourier": 400}
PER_GOAL, PER_LIKENESS = 12, 12  # for the gradients of each region but one, and of the likeness
WHOLE = 1 << 22
"""A picture of so many pixels is seen whole, if there is the memory for it."""
TILE = 1_100_000_000
"""Bytes that a tile may take. Larger ones have fewer seams to see twice; with this a picture of 48
megapixels takes less than 4 GB."""
SIDES = 64  # a tile's side is a multiple of it
LEAST_SIDE = 256
SHARE = 0.85  # of the memory that is free

_CGROUP = Path("/sys/fs/cgroup")
_LIMITS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)


def needed(recipe: Recipe, own: tuple[int, int] | None = None) -> int:
    """Return about how many bytes a process takes to make a picture.

    Args:
        recipe: the picture's.
        own: the photo's own width and height, px: a large one takes much before it is small.
    """
    per_pixel = PER_PIXEL.get(recipe.network, PER_PIXEL_AT_MOST)
    if recipe.device != "cpu":
        per_pixel = PER_PIXEL_BESIDE
    decoded = DECODED * math.prod(own) if own is not None else 0
    dreamed = math.prod(recipe.size) * per_pixel
    if recipe.tile and recipe.device == "cpu":
        more = PER_GOAL * max(0, len(recipe.by_region) - 1)
        more += PER_LIKENESS * (recipe.settings.likeness.amount > 0)
        kept = PER_PIXEL_TILED[recipe.settings.ascent.canvas] + more
        dreamed = min(dreamed, math.prod(recipe.size) * kept + recipe.tile**2 * per_pixel)
    return WORKER + max(decoded, dreamed)


def tile(network: str, size: tuple[int, int], device: str = "cpu") -> int:
    """Return the side of the tiles that suits a picture, px; 0 if it is best seen whole.

    As large as `TILE` has it, so that a recipe is the same everywhere; but smaller on a machine
    with little memory. It does not depend on what is free just now: no picture of a batch may
    depend on the others.

    Args:
        network: its name.
        size: the picture's width and height, px.
        device: the kind of device.
    """
    per_pixel = PER_PIXEL.get(network, PER_PIXEL_AT_MOST)
    pixels = math.prod(size)
    left = capacity() - WORKER if device == "cpu" else math.inf
    if pixels <= WHOLE and pixels * per_pixel <= left:
        return 0
    room = min(TILE, left - pixels * PER_PIXEL_TILED["pixel"])
    side = math.isqrt(int(max(0, room) / per_pixel))
    return max(LEAST_SIDE, side // SIDES * SIDES)


def tiling(network: Network, layers: Iterable[str], side: int) -> Tiling:
    """Return how views are cut into tiles.

    Args:
        network: loaded.
        layers: those that are used.
        side: of the tiles, px; 0 to cut views only if the memory does not suffice.
    """
    from dreamer.core import tiles

    row = network.row
    strides = {layer.name: layer.stride for layer in row.layers}
    last = max(list(strides).index(row.layer(name).name) for name in layers)
    stride = math.lcm(*filter(None, list(strides.values())[: last + 1]))
    return tiles.Tiling(
        side=side,
        halo=tiles.halo(stride),
        stride=stride,
        strides=strides,
        least=max(row.minimum, network.published.window or 0),
    )


def free() -> int:
    """Return how many bytes may be used: a share of what is free here, containers included."""
    left: int = psutil.virtual_memory().available
    for folder, names in itertools.product(_groups(), _LIMITS):
        with contextlib.suppress(OSError, ValueError):
            limit, used, told = ((folder / name).read_text() for name in names)
            # What is kept of files that were read counts as used, and is given up when needed.
            kept = max(map(int, re.findall(r"inactive_file (\d+)", told)), default=0)
            left = min(left, int(limit) - int(used) + kept)
    return round(max(left, 0) * SHARE)


@functools.cache
def capacity() -> int:
    """Return how many bytes could be used if nothing else was: see `free`."""
    most: int = psutil.virtual_memory().total
    for folder, (name, _, _) in itertools.product(_groups(), _LIMITS):
        with contextlib.suppress(OSError, ValueError):
            most = min(most, int((folder / name).read_text()))
    return round(most * SHARE)


def _groups() -> list[Path]:
    """Return the control groups that this process is in, the innermost first."""
    own = ""
    with contextlib.suppress(OSError):
        found = re.search(r"^0::/(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
        own = found[1] if found else ""
    inner = _CGROUP / own
    return [inner, *(each for each in inner.parents if each.is_relative_to(_CGROUP))]


def check(recipe: Recipe, what: str) -> None:
    """Refuse what would take more memory than there is, before the system ends the process for it.

    Args:
        recipe: a picture's.
        what: it in words, such as "A frame of 7680x4320 pixels".

    Raises:
        DeviceError: the memory does not suffice.
    """
    need, left = needed(recipe), free()
    if recipe.device == "cpu" and need > left:
        raise DeviceError(
            f"{what} needs about {need / 1e9:.1f} GB of memory, and {left / 1e9:.1f} GB are free.",
            "Make it smaller with --size.",
        )
