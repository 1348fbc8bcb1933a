"""How much memory a picture takes, and how much there is."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from pathlib import Path

import psutil

from dreamer.errors import DeviceError
from dreamer.recipe import Recipe

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
DECODED = 32  # bytes that a pixel of a photo takes while it is read; measured at 96 megapixels
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
    decoded = DECODED * math.prod(own) if own is not None else 0
    return WORKER + max(decoded, math.prod(recipe.size) * per_pixel)


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
