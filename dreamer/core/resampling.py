"""Resample pictures between octaves, and see them without their detail."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def resample(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample `(N, C, H, W)` to `(height, width)` bicubically, antialiased when it shrinks.

    A picture of that size is returned as it is.
    """
    if picture.shape[2:] == size:
        return picture
    return F.interpolate(picture, size=size, mode="bicubic", align_corners=False, antialias=True)


def enlarge(picture: Tensor, like: Tensor) -> Tensor:
    """Resample `(N, C, H, W)` bilinearly to the height and width of another picture."""
    return F.interpolate(picture, size=like.shape[2:], mode="bilinear", align_corners=False)


def lowpass(picture: Tensor, cells: int = 32) -> Tensor:
    """What is left of `(N, C, H, W)` when its longer side is seen through `cells` cells."""
    height, width = picture.shape[2:]
    scale = min(1.0, cells / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return enlarge(F.interpolate(picture, size=size, mode="area"), picture)
