"""Resample pictures between octaves, and see them without their detail."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dreamer.core import bands

_BICUBIC: dict[str, Any] = {"mode": "bicubic", "align_corners": False, "antialias": True}
_HALVING: dict[str, Any] = {"mode": "bilinear", "align_corners": False, "antialias": True}
_BILINEAR: dict[str, Any] = {"mode": "bilinear", "align_corners": False}


def resample(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample `(N, C, H, W)` to `(height, width)` bicubically, antialiased when it shrinks.

    A picture of that size is returned as it is. A large one is made in bands of rows.
    """
    if picture.shape[2:] == size:
        return picture
    if size[0] * size[1] <= bands.LARGE:
        return F.interpolate(picture, size=size, **_BICUBIC)
    resampled = bands.zeros(picture, size)
    rows = _Rows(picture, size, reach=2.0, options=_BICUBIC)
    for part in bands.bands(resampled):
        resampled[:, :, part] = rows[part]
    return resampled


def enlarge(picture: Tensor, like: Tensor) -> Tensor:
    """Resample `(N, C, H, W)` bilinearly to the height and width of another picture."""
    return F.interpolate(picture, size=like.shape[2:], **_BILINEAR)


class _Rows:
    """What `F.interpolate` returns, row by row: `_Rows(picture, size)[10:20]` has only those.

    Args:
        picture: `(N, C, h, w)`.
        size: height and width to resample to.
        reach: how many rows of the smaller of the two pictures the kernel reaches.
        options: of `F.interpolate`.
    """

    def __init__(
        self, picture: Tensor, size: tuple[int, int], reach: float, options: dict[str, Any]
    ) -> None:
        self._picture = picture
        self._size = size
        self._reach = reach
        self._options = options

    def __getitem__(self, rows: slice) -> Tensor:
        (height, width), length = self._size, self._picture.shape[2]
        ratio = length / height
        reach = self._reach * max(1.0, ratio) + 1
        first = max(0, math.floor((rows.start + 0.5) * ratio - 0.5 - reach))
        last = min(length, math.ceil((rows.stop - 0.5) * ratio + 0.5 + reach))
        part, count = self._picture[:, :, first:last], last - first
        wide = F.interpolate(part, size=(count, width), **self._options)
        # What each row has of those it is made from: what becomes of a one in each of them.
        ones = part.new_zeros(1, 1, length, count)
        ones[0, 0, torch.arange(first, last), torch.arange(count)] = 1
        shares = F.interpolate(ones, size=(height, count), **self._options)
        return shares[0, 0, rows] @ wide


class Enlarged(_Rows):
    """What `enlarge` returns, row by row.

    Args:
        picture: `(N, C, h, w)`.
        like: of the height and width to enlarge to.
    """

    def __init__(self, picture: Tensor, like: Tensor) -> None:
        super().__init__(picture, (like.shape[2], like.shape[3]), reach=1.0, options=_BILINEAR)

    def __getitem__(self, rows: slice) -> Tensor:
        (height, width), length = self._size, self._picture.shape[2]
        if height != 2 * length:
            return super().__getitem__(rows)
        # Twice as high, every part is as the whole but for its first and last row: quicker.
        first, last = max(0, rows.start // 2 - 1), min(length, (rows.stop + 1) // 2 + 1)
        part = self._picture[:, :, first:last]
        wide = F.interpolate(part, size=(2 * (last - first), width), **_BILINEAR)
        return wide[:, :, rows.start - 2 * first : rows.stop - 2 * first]


def halved(picture: Tensor) -> Tensor:
    """Return `(N, C, H, W)` bilinearly at half its height and width, rounded up, antialiased."""
    height, width = picture.shape[2:]
    size = ((height + 1) // 2, (width + 1) // 2)
    if len(bands.bands(picture)) == 1:
        return F.interpolate(picture, size=size, **_HALVING)
    found = picture.new_empty((*picture.shape[:2], *size))
    rows = _Rows(picture, size, reach=1.0, options=_HALVING)
    for part in bands.bands(found):
        if height % 2:
            found[:, :, part] = rows[part]
            continue
        # Of an even height, every part is as the whole but for its first and last row: quicker.
        first, last = max(0, part.start - 2), min(size[0], part.stop + 2)
        seen = picture[:, :, 2 * first : 2 * last]
        half = F.interpolate(seen, size=(last - first, size[1]), **_HALVING)
        found[:, :, part] = half[:, :, part.start - first : part.stop - first]
    return found


def lowpass(picture: Tensor, cells: int = 32) -> Tensor:
    """What is left of `(N, C, H, W)` when its longer side is seen through `cells` cells."""
    return enlarge(seen_through(picture, cells), picture)


def seen_through(picture: Tensor, cells: int = 32) -> Tensor:
    """Return the means of `(N, C, H, W)` in cells, `cells` of them on its longer side."""
    height, width = picture.shape[2:]
    scale = min(1.0, cells / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return F.interpolate(picture, size=size, mode="area")
