"""The picture formats that can be written: one row each.

Imports only the standard library, so that a wrong suffix is refused at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dreamer.errors import OutputError, UsageError, nearest
from dreamer.media import files


@dataclass(frozen=True)
class Format:
    """A format that pictures are written in.

    Attributes:
        name: what Pillow calls it.
        suffixes: the file names that mean it, lower case, with their dot.
        alpha: whether it holds transparency.
        longest: the most pixels that a side may have.
        depths: the bits of a channel that it is written with.
        options: how Pillow is to write it: as good as the format allows at a sensible size.
    """

    name: str
    suffixes: tuple[str, ...]
    alpha: bool
    longest: int
    depths: tuple[int, ...] = (8,)
    options: Mapping[str, object] = field(default_factory=dict)


FORMATS = (
    Format("PNG", (".png",), alpha=True, longest=2**31 - 1, depths=(8, 16)),
    # Full-resolution colour: a dream lives from small saturated detail, which 4:2:0 smears.
    Format(
        "JPEG",
        (".jpg", ".jpeg"),
        alpha=False,
        longest=65_500,
        options={"quality": 95, "subsampling": "4:4:4"},
    ),
    # `exact` keeps the colours under transparent pixels, as every other format here does.
    Format(
        "WEBP",
        (".webp",),
        alpha=True,
        longest=16_383,
        options={"quality": 95, "alpha_quality": 100, "exact": True},
    ),
    # Its header has room for sides of 65,535, but what most programs read it with refuses them.
    # Left alone, the encoder uses as many threads as there are cores, and its bytes depend on it.
    Format(
        "AVIF",
        (".avif",),
        alpha=True,
        longest=32_768,
        options={"quality": 90, "subsampling": "4:4:4", "autotiling": False, "max_threads": 4},
    ),
    Format("TIFF", (".tif", ".tiff"), alpha=True, longest=2**31 - 1, depths=(8, 16)),
)

SUFFIXES = tuple(suffix for row in FORMATS for suffix in row.suffixes)


def by_suffix(path: str | os.PathLike[str]) -> Format:
    """Return the format that the suffix of `path` (or a bare suffix such as ".png") asks for.

    Raises:
        UsageError: no suffix, or not one of `SUFFIXES`.
    """
    text = os.fspath(path)
    suffix = text.lower() if text.lower() in SUFFIXES else Path(text).suffix.lower()
    for row in FORMATS:
        if suffix in row.suffixes:
            return row
    near = nearest(suffix, SUFFIXES, count=1)
    offer = f"Did you mean {near[0]}? " if near else ""
    wrong = f"'{files.shown(suffix)}' is no format to write" if suffix else "It has no suffix"
    raise UsageError(
        f"Cannot tell how to write '{files.shown(path)}': {wrong}.",
        f"{offer}The suffix chooses the format: {', '.join(SUFFIXES)}.",
    )


def check_size(path: str | os.PathLike[str], width: int, height: int) -> None:
    """Refuse a picture whose sides (in pixels) are longer than the format of `path` holds.

    Raises:
        OutputError: naming the size and the limit.
    """
    row = by_suffix(path)
    if max(width, height) > row.longest:
        raise OutputError(
            f"{row.name} holds at most {row.longest} pixels a side: '{files.shown(path)}' "
            f"would be {width}x{height}.",
            "Write a PNG or TIFF, or make a smaller picture.",
        )


def check_depth(path: str | os.PathLike[str], depth: int) -> None:
    """Refuse bits of a channel that the format of `path` is not written with.

    Raises:
        UsageError: naming those that there are, or the formats that hold so many.
    """
    row = by_suffix(path)
    if depth in row.depths:
        return
    able = [each for each in FORMATS if depth in each.depths]
    if not able:
        known = sorted({bits for each in FORMATS for bits in each.depths})
        raise UsageError(
            f"{depth!r} is not valid for depth.", f"It can be {' or '.join(map(str, known))}."
        )
    raise UsageError(
        f"{row.name} does not hold {depth} bits a colour: '{files.shown(path)}'.",
        f"Write a {' or '.join(each.name for each in able)} instead, or leave the depth out.",
    )


def check_target(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Refuse a picture file that could not be written, before any work is done for it.

    Raises:
        UsageError: its suffix is not one of `SUFFIXES`.
        OutputError: its folder cannot be written or made, it is a folder itself, or it exists
            and `overwrite` is False.
    """
    by_suffix(path)
    files.check(path, overwrite=overwrite)
